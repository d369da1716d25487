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
// where the mappings have become others, and start_proxies() records the new one. That one takes
// over the listening sockets of the old one, which keeps its connections and is recorded as
// draining. After a failure or a kill nobody knows whether it has: so the proxies of the networks
// that are gone back to are asked whether they serve (Host::serves()), and of one that has handed
// over the sockets are taken back by a new one, in the same way.
//
// Where a port goes to another container, or from one address to all of them, its proxy has to end
// before the new ones start.

#include "netsetup/host/change.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
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

/// Where a container was, if it was there.
struct Earlier {
  const Network* network = nullptr;
  const Container* container = nullptr;
};

Earlier find_earlier(const Networks& from, const Network& network, const Container& container) {
  const Network* home = find_network(from, network.name);
  return {home, home != nullptr ? find_container(*home, container.name) : nullptr};
}

void prepare(Host& host, const Networks& from, Networks& wanted) {
  for (Network& network : wanted) {
    for (Container& container : network.containers) {
      container.proxy.reset();
      container.draining.clear();
      const auto [home, earlier] = find_earlier(from, network, container);
      const std::vector<Mapping> mappings = plan_proxy(network, container);
      // Who has no proxy any more has none that drains either.
      if (earlier == nullptr || mappings.empty()) continue;
      if (plan_proxy(*home, *earlier) == mappings) container.proxy = earlier->proxy;
      std::ranges::copy_if(earlier->draining, std::back_inserter(container.draining),
                           [&](const ProxyProcess& proxy) { return host.is_running(proxy); });
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
      processes.insert(processes.end(), container.draining.begin(), container.draining.end());
    }
  }
  return processes;
}

/// Whether a port of `to` cannot be opened while the proxy of `earlier` listens. `heir` is the same
/// container in `to`, whose proxy takes the sockets over.
bool is_in_the_way(const Course& course, const Container& earlier, const Container& heir) {
  for (const Network& network : course.to) {
    if (network.mode == Mode::dnat) continue;
    for (const Container& container : network.containers) {
      const Container* before = find_earlier(course.from, network, container).container;
      std::vector<PublishedPort> ports = container.ports;
      if (before != nullptr) {
        ports.clear();
        std::ranges::set_difference(container.ports, before->ports, std::back_inserter(ports));
      }
      const auto meets = [&](const PublishedPort& port) {
        return std::ranges::any_of(earlier.ports, [&](const PublishedPort& listening) {
          return listening.overlaps(port) &&
                 (&container != &heir || !listening.shares_sockets(port));
        });
      };
      if (std::ranges::any_of(ports, meets)) return true;
    }
  }
  return false;
}

/// The proxies from which new ones take over.
std::vector<ProxyProcess> predecessors(const Course& course) {
  std::vector<ProxyProcess> predecessors;
  for (const Network& network : course.to) {
    for (const Container& container : network.containers) {
      const Container* earlier = find_earlier(course.from, network, container).container;
      if (earlier == nullptr || !earlier->proxy || earlier->proxy == container.proxy) continue;
      if (plan_proxy(network, container).empty()) continue;
      if (!is_in_the_way(course, *earlier, container)) predecessors.push_back(*earlier->proxy);
    }
  }
  return predecessors;
}

Result<void> stop_proxies(Host& host, const Course& course) {
  std::vector<ProxyProcess> kept = processes(course.to);
  std::ranges::copy(predecessors(course), std::back_inserter(kept));
  for (const ProxyProcess& process : processes(course.from)) {
    if (std::ranges::find(kept, process) != kept.end()) continue;
    if (auto stopped = host.stop_proxy(process); !stopped) return stopped;
  }
  if (course.extent == Extent::differences) return {};
  return host.stop_other_proxies(kept);
}

bool drains(const Container& container, const ProxyProcess& proxy) {
  return std::ranges::find(container.draining, proxy) != container.draining.end();
}

Result<void> start_proxies(Host& host, const Course& course, Notes& notes) {
  for (Network& network : course.to) {
    for (Container& container : network.containers) {
      const std::vector<Mapping> mappings = plan_proxy(network, container);
      if (mappings.empty()) continue;
      const std::optional<ProxyProcess> present = std::exchange(container.proxy, std::nullopt);
      if (present &&
          (course.extent == Extent::differences || host.serves(*present, mappings.size()))) {
        container.proxy = present;
        continue;
      }
      if (present && !host.is_running(*present)) {
        notes.push_back(fmt::format("network {}: container {}: its proxy had ended; started anew",
                                    network.name, container.name));
      }
      const auto [home, earlier] = find_earlier(course.from, network, container);
      Predecessor predecessor;
      if (earlier != nullptr) predecessor = {earlier->proxy, plan_proxy(*home, *earlier)};
      auto started = host.start_proxy(network, container, mappings, predecessor);
      if (!started) return std::unexpected(started.error());
      container.proxy = *started;
      for (const std::optional<ProxyProcess>& old : {present, predecessor.process}) {
        if (old && host.is_running(*old) && !drains(container, *old)) {
          container.draining.push_back(*old);
        }
      }
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
  prepare(host, state.networks, wanted);
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
