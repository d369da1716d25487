// Theory of operation
//
// A change goes forward in an order in which whatever is added is there before anything leads to
// it, and whatever is removed goes after nothing leads to it any more: links made, kernel settings,
// rules, proxies, links removed, state saved. Before the first step the networks that differ are
// saved as they are and as they are to become (`unfinished`); after the last, that is removed.
//
// Every step is idempotent. So a step that fails, and a run that was killed, are undone by one and
// the same means: a change with Extent::everything from the networks that were to be, of which
// anything or nothing may be there, to those that were. Nobody has to know how far it came.
//
// A proxy in a Container serves what plan_proxy() says for that very Container: prepare() drops it
// where the mappings have become others, and start_proxies() records the new one.

#include "netsetup/host/change.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "netsetup/rules/rule_plan.h"

namespace fairlead {
namespace {

/// Where a change leads.
struct Course {
  const Networks& from;
  Networks& to;
  Extent extent;
  RuleSet rules_before = plan(from);
  RuleSet rules_after = plan(to);
};

void prepare(const Networks& from, Networks& wanted) {
  for (Network& network : wanted) {
    const Network* before = find_network(from, network.name);
    for (Container& container : network.containers) {
      const Container* earlier =
          before != nullptr ? find_container(*before, container.name) : nullptr;
      container.proxy.reset();
      if (earlier != nullptr && plan_proxy(*before, *earlier) == plan_proxy(network, container)) {
        container.proxy = earlier->proxy;
      }
    }
  }
}

Result<void> change_links(Host& host, const std::vector<LinkChange>& changes, Extent extent,
                          Notes& notes) {
  for (const LinkChange& link : changes) {
    // Containers end as they like, and their namespaces with them; the others are to come back.
    if (extent == Extent::everything && link.action == LinkChange::Action::attach &&
        !host.has_namespace(*link.container)) {
      notes.push_back(
          fmt::format("network {}: container {}: its namespace {} is gone; attach it "
                      "again, or detach it",
                      link.network->name, link.container->name, link.container->netns));
      continue;
    }
    if (auto changed = host.change_link(link); !changed) return changed;
  }
  return {};
}

Result<void> change_sysctls(Host& host, State& state, const Networks& to) {
  const auto wanted = host.wanted_sysctls(to, state.sysctls);
  if (!wanted) return std::unexpected(wanted.error());
  auto recorded = host.record_sysctls(*wanted, state.sysctls);
  if (!recorded) return std::unexpected(recorded.error());
  if (*recorded != state.sysctls) {
    state.sysctls = std::move(*recorded);
    if (auto saved = host.save_host(state); !saved) return saved;
  }
  auto applied = host.apply_sysctls(*wanted, state.sysctls);
  if (!applied) return std::unexpected(applied.error());
  if (*applied == state.sysctls) return {};
  state.sysctls = std::move(*applied);
  return host.save_host(state);
}

/// A reload makes everything anew, and is told everything anew.
Result<Backend> choose_backend(Host& host, const Course& course) {
  const bool anew = course.extent == Extent::everything;
  return host.choose_backend(anew ? RuleSet{} : course.rules_before, course.rules_after);
}

Result<void> change_rules(Host& host, State& state, const Course& course) {
  const RuleSet& before = course.rules_before;
  const RuleSet& after = course.rules_after;
  const auto backend = choose_backend(host, course);
  if (!backend) return std::unexpected(backend.error());
  if (course.to.empty()) {
    if (auto removed = host.remove_rules(); !removed) return removed;
    state.backend.reset();
    return host.save_host(state);
  }
  const bool known = course.extent == Extent::differences && state.backend == *backend;
  if (known && before == after) return {};
  if (auto installed = host.install_rules(known ? &before : nullptr, after); !installed) {
    return installed;
  }
  if (state.backend == *backend) return {};
  state.backend = *backend;
  return host.save_host(state);
}

std::vector<ProxyProcess> processes(const Networks& networks) {
  std::vector<ProxyProcess> processes;
  for (const Network& network : networks) {
    for (const Container& container : network.containers) {
      if (container.proxy) processes.push_back(*container.proxy);
    }
  }
  return processes;
}

Result<void> stop_proxies(Host& host, const Course& course) {
  const std::vector<ProxyProcess> kept = processes(course.to);
  for (const ProxyProcess& process : processes(course.from)) {
    if (std::ranges::find(kept, process) != kept.end()) continue;
    if (auto stopped = host.stop_proxy(process); !stopped) return stopped;
  }
  if (course.extent == Extent::differences) return {};
  return host.stop_other_proxies(kept);
}

Result<void> start_proxies(Host& host, const Course& course, Notes& notes) {
  for (Network& network : course.to) {
    for (Container& container : network.containers) {
      const std::vector<Mapping> mappings = plan_proxy(network, container);
      if (mappings.empty()) continue;
      if (container.proxy) {
        if (course.extent == Extent::differences || host.is_running(*container.proxy)) continue;
        notes.push_back(fmt::format("network {}: container {}: its proxy had ended; started anew",
                                    network.name, container.name));
      }
      container.proxy.reset();
      auto started = host.start_proxy(network, container, mappings);
      if (!started) return std::unexpected(started.error());
      container.proxy = *started;
    }
  }
  return {};
}

/// A published UDP port, and to whom it leads.
using UdpLead = std::tuple<PublishedPort, std::vector<IpAddress>, Mode>;

std::set<UdpLead> udp_leads(const Networks& networks) {
  std::set<UdpLead> leads;
  for (const Network& network : networks) {
    for (const Container& container : network.containers) {
      for (const PublishedPort& port : container.ports) {
        if (port.protocol != Protocol::udp) continue;
        leads.emplace(port, container.addresses, network.mode);
      }
    }
  }
  return leads;
}

Result<void> forget_udp(Host& host, const Course& course) {
  const std::set<UdpLead> before = udp_leads(course.from);
  const std::set<UdpLead> after = udp_leads(course.to);
  std::vector<UdpLead> changed;
  std::ranges::set_symmetric_difference(before, after, std::back_inserter(changed));
  if (changed.empty()) return {};
  std::vector<PublishedPort> ports;
  ports.reserve(changed.size());
  for (const UdpLead& lead : changed) ports.push_back(std::get<PublishedPort>(lead));
  return host.forget_udp(ports);
}

Result<void> carry_out(Host& host, State& state, const Course& course, Notes& notes) {
  const LinkPlan links = plan_links(course.from, course.to, course.extent);
  if (auto done = change_links(host, links.first, course.extent, notes); !done) return done;
  if (auto done = change_sysctls(host, state, course.to); !done) return done;
  if (auto done = change_rules(host, state, course); !done) return done;
  if (auto done = stop_proxies(host, course); !done) return done;
  if (auto done = start_proxies(host, course, notes); !done) return done;
  if (auto done = forget_udp(host, course); !done) return done;
  if (auto done = change_links(host, links.last, course.extent, notes); !done) return done;
  return host.save_networks(course.from, course.to);
}

Networks without_those_equal(const Networks& networks, const Networks& others) {
  Networks different;
  for (const Network& network : networks) {
    const Network* other = find_network(others, network.name);
    if (other == nullptr || *other != network) different.push_back(network);
  }
  return different;
}

/// `networks` with those of `changed` in the place of the ones that `replaced` names.
Networks merged(const Networks& networks, const Networks& replaced, const Networks& changed) {
  Networks merged = changed;
  for (const Network& network : networks) {
    if (find_network(replaced, network.name) == nullptr &&
        find_network(changed, network.name) == nullptr) {
      merged.push_back(network);
    }
  }
  std::ranges::sort(merged, {}, &Network::name);
  return merged;
}

/// Back to `before`. What was started of `after` is in it.
Result<void> undo(Host& host, State& state, const Networks& after, Networks before, Notes& notes) {
  auto undone = carry_out(host, state, {after, before, Extent::everything}, notes);
  if (!undone) return undone;
  state.networks = std::move(before);
  return host.remove_unfinished();
}

}  // namespace

Result<void> change(Host& host, State& state, Networks wanted, Extent extent, Notes& notes) {
  if (auto checked = host.check(state.networks, wanted); !checked) return checked;
  prepare(state.networks, wanted);
  const Unfinished unfinished{without_those_equal(state.networks, wanted),
                              without_those_equal(wanted, state.networks)};
  const Networks before = state.networks;
  const Course course{before, wanted, extent};
  // Where it is not there, nothing could be taken back either.
  if (auto chosen = choose_backend(host, course); !chosen) {
    return std::unexpected(chosen.error());
  }
  if (auto saved = host.save_unfinished(unfinished); !saved) return saved;

  auto done = carry_out(host, state, course, notes);
  if (done) done = host.remove_unfinished();
  if (done) {
    state.networks = std::move(wanted);
    return {};
  }
  notes.clear();
  if (auto undone = undo(host, state, wanted, before, notes); !undone) {
    return failed(
        fmt::format("{}; and taking back what was done failed, too: {}; "
                    "`fairlead-net reload` tries again",
                    done.error().message, undone.error().message));
  }
  return done;
}

Result<void> recover(Host& host, State& state, const Unfinished& unfinished, Notes& notes) {
  const Networks after = merged(state.networks, unfinished.before, unfinished.after);
  Networks before = merged(state.networks, unfinished.after, unfinished.before);
  notes.emplace_back("a run that was cut short has been taken back");
  return undo(host, state, after, std::move(before), notes);
}

}  // namespace fairlead
