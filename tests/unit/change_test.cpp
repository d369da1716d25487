// Every step of a change fails once, and is the last one of a killed run once: the host has to be
// where it was, with the same proxies running.

#include "netsetup/host/change.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "netsetup/network/network_check.h"
#include "netsetup/rules/rule_plan.h"
#include "tests/unit/netsetup_samples.h"

namespace fairlead {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

/// Thrown where a run is killed.
struct Killed {};

/// What a step is made to do.
enum class Trouble : std::uint8_t { fails, killed_before, killed_after };

struct ScriptedProxy {
  std::string link;
  std::vector<Mapping> mappings;
  bool drains = false;
};

/// A host in memory.
class ScriptedHost final : public Host {
 public:
  // What there is.
  std::map<std::string, std::string> bridges;
  std::map<std::string, std::string> links;
  std::map<std::string, std::string> sysctls = {{"ip_forward", "0"}};
  std::optional<RuleSet> rules;
  std::map<pid_t, ScriptedProxy> proxies;
  std::set<std::string> lost_namespaces;
  bool has_backend = true;
  State saved;
  std::optional<Unfinished> unfinished;

  // What happened.
  std::vector<std::string> steps;
  std::vector<PublishedPort> forgotten;
  /// Counted down by every step; what happens at 0.
  int steps_left = -1;
  Trouble trouble = Trouble::fails;
  /// After the first failure every step fails.
  bool fails_for_good = false;

  Result<void> check(const Networks& /*from*/, const Networks& /*to*/) override { return {}; }

  Result<void> change_link(const LinkChange& change) override {
    const std::string text = change.to_string();
    return step(text.substr(0, text.find(':')), [&] {
      using Action = LinkChange::Action;
      if (change.action == Action::make_bridge) bridges[change.network->bridge] = text;
      if (change.action == Action::remove_bridge) bridges.erase(change.network->bridge);
      if (change.action == Action::attach) links[change.container->host_ifname] = text;
      if (change.action == Action::detach) links.erase(change.container->host_ifname);
    });
  }

  bool has_namespace(const Container& container) override {
    return !lost_namespaces.contains(container.name);
  }

  Result<std::vector<SysctlSetting>> wanted_sysctls(
      const Networks& networks, const std::vector<SysctlRecord>& /*records*/) override {
    if (networks.empty()) return std::vector<SysctlSetting>();
    return std::vector<SysctlSetting>{{"ip_forward", "1"}};
  }

  Result<std::vector<SysctlRecord>> record_sysctls(
      const std::vector<SysctlSetting>& wanted, const std::vector<SysctlRecord>& records) override {
    if (wanted.empty() || !records.empty()) return records;
    return std::vector<SysctlRecord>{{"ip_forward", sysctls["ip_forward"], "1"}};
  }

  Result<std::vector<SysctlRecord>> apply_sysctls(
      const std::vector<SysctlSetting>& wanted, const std::vector<SysctlRecord>& records) override {
    auto applied = step("sysctls", [&] {
      if (!wanted.empty()) sysctls["ip_forward"] = "1";
      if (wanted.empty() && !records.empty()) sysctls["ip_forward"] = records[0].before;
    });
    if (!applied) return std::unexpected(applied.error());
    return wanted.empty() ? std::vector<SysctlRecord>() : records;
  }

  Result<Backend> choose_backend(const RuleSet& /*present*/, const RuleSet& /*wanted*/) override {
    if (!has_backend) return failed("there is no back end");
    return Backend::nftables;
  }

  Result<void> install_rules(const RuleSet* from, const RuleSet& to) override {
    return step("rules", [&] {
      EXPECT_TRUE(from == nullptr || rules == *from) << "a difference to what is not there";
      rules = to;
    });
  }

  Result<void> remove_rules() override {
    return step("no rules", [&] { rules.reset(); });
  }

  Result<void> forget_udp(std::span<const PublishedPort> ports) override {
    return step("forget", [&] { forgotten.assign(ports.begin(), ports.end()); });
  }

  Result<ProxyProcess> start_proxy(const Network& /*network*/, const Container& container,
                                   std::span<const Mapping> mappings,
                                   const Predecessor& predecessor) override {
    const pid_t pid = next_pid_++;
    auto started = step("start " + container.name, [&] {
      for (auto& [other, proxy] : proxies) {
        if (proxy.drains) continue;
        const bool same = proxy.link == container.host_ifname;
        EXPECT_FALSE(is_in_the_way(proxy.mappings, mappings, same)) << "a port would be in use";
        if (!same) continue;
        EXPECT_EQ(predecessor.process.value_or(ProxyProcess{other, 0}).pid, other);
        proxy.drains = true;
      }
      proxies[pid] = {container.host_ifname, {mappings.begin(), mappings.end()}};
    });
    if (!started) return std::unexpected(started.error());
    return ProxyProcess{.pid = pid, .start_time = 1};
  }

  Result<void> stop_proxy(const ProxyProcess& process) override {
    if (!is_running(process)) return {};
    return step("stop", [&] { proxies.erase(process.pid); });
  }

  bool is_running(const ProxyProcess& process) override { return proxies.contains(process.pid); }
  bool serves(const ProxyProcess& process, std::size_t /*mappings*/) override {
    return is_running(process) && !proxies[process.pid].drains;
  }

  Result<void> stop_other_proxies(std::span<const ProxyProcess> known) override {
    return step("stop others", [&] {
      std::erase_if(proxies, [&](const auto& entry) {
        return std::ranges::none_of(
            known, [&](const ProxyProcess& process) { return process.pid == entry.first; });
      });
    });
  }

  Result<void> save_unfinished(const Unfinished& begun) override {
    return step("begin", [&] { unfinished = begun; });
  }
  Result<void> remove_unfinished() override {
    return step("end", [&] { unfinished.reset(); });
  }
  Result<void> save_host(const State& state) override {
    return step("save host", [&] {
      saved.backend = state.backend;
      saved.sysctls = state.sysctls;
    });
  }
  Result<void> save_networks(const Networks& from, const Networks& to) override {
    return step("save", [&] {
      for (const Network& network : from) {
        std::erase_if(saved.networks, [&](const Network& n) { return n.name == network.name; });
      }
      for (const Network& network : to) {
        std::erase_if(saved.networks, [&](const Network& n) { return n.name == network.name; });
        saved.networks.push_back(network);
      }
      std::ranges::sort(saved.networks, {}, &Network::name);
    });
  }

 private:
  /// `take_over`: sockets with one address and port are no obstacle.
  static bool is_in_the_way(const std::vector<Mapping>& listening, std::span<const Mapping> wanted,
                            bool take_over) {
    const auto on_all = [](const Mapping& mapping) {
      return !mapping.host_ip || mapping.host_ip->is_unspecified();
    };
    return std::ranges::any_of(listening, [&](const Mapping& mapping) {
      return std::ranges::any_of(wanted, [&](const Mapping& other) {
        return mapping.protocol == other.protocol &&
               host_addresses_overlap(mapping.host_ip, other.host_ip) &&
               mapping.host_ports.overlaps(other.host_ports) &&
               !(take_over && on_all(mapping) == on_all(other));
      });
    });
  }

  template <typename Effect>
  Result<void> step(const std::string& name, const Effect& effect) {
    const bool troubled = steps_left >= 0 && steps_left-- == 0;
    if (fails_for_good && steps_left < 0 && !troubled && steps.back() == "trouble") {
      return failed(name + " fails, too");
    }
    if (troubled) {
      if (trouble == Trouble::killed_after) effect();
      steps.emplace_back("trouble");
      if (trouble == Trouble::fails) return failed(name + " fails");
      throw Killed{};
    }
    effect();
    steps.push_back(name);
    return {};
  }

  pid_t next_pid_ = 100;
};

/// What has to be the same afterwards: everything but which number a proxy has.
void expect_same(const ScriptedHost& host, const ScriptedHost& before, const std::string& where) {
  EXPECT_EQ(host.bridges, before.bridges) << where;
  EXPECT_EQ(host.links, before.links) << where;
  EXPECT_EQ(host.sysctls, before.sysctls) << where;
  EXPECT_EQ(host.rules, before.rules) << where;
  EXPECT_EQ(host.unfinished, std::nullopt) << where;
  EXPECT_EQ(host.saved.sysctls, before.saved.sysctls) << where;
  EXPECT_EQ(host.saved.backend, before.saved.backend) << where;
  std::size_t expected = 0;
  for (const Network& network : host.saved.networks) {
    for (const Container& container : network.containers) {
      const auto mappings = plan_proxy(network, container);
      EXPECT_EQ(container.proxy.has_value(), !mappings.empty()) << where;
      if (!container.proxy) continue;
      ++expected;
      const auto running = host.proxies.find(container.proxy->pid);
      ASSERT_NE(running, host.proxies.end()) << where;
      EXPECT_EQ(running->second.mappings, mappings) << where;
      EXPECT_FALSE(running->second.drains) << where;
      for (const ProxyProcess& proxy : container.draining) {
        const auto draining = host.proxies.find(proxy.pid);
        if (draining == host.proxies.end()) continue;
        ++expected;
        EXPECT_TRUE(draining->second.drains) << where;
      }
    }
  }
  EXPECT_EQ(host.proxies.size(), expected) << where;
  Networks now = host.saved.networks;
  Networks then = before.saved.networks;
  for (Networks* networks : {&now, &then}) {
    for (Network& network : *networks) {
      for (Container& container : network.containers) {
        container.proxy.reset();
        container.draining.clear();
      }
    }
  }
  EXPECT_EQ(now, then) << where;
}

struct Transition {
  std::string name;
  Networks from;
  Networks to;
};

std::vector<Transition> transitions() {
  const Networks both = sample_networks(Mode::both);
  Networks proxied = both;
  proxied[1].mode = Mode::proxy;
  Networks fewer = both;
  fewer[1].containers.pop_back();
  fewer[1].containers[0].ports.resize(2);
  Networks moved = both;
  moved[1].containers[0].addresses[0] = ip("10.1.0.77");
  moved[1].mtu = 1400;
  const Networks one = {both[0]};
  Networks alone = both;
  alone[1].containers.pop_back();
  Networks unpublished = both;
  unpublished[1].containers[1].ports.clear();
  Networks swapped = both;
  std::swap(swapped[1].containers[0].ports, swapped[1].containers[1].ports);
  Networks on_all = both;
  std::vector<PublishedPort>& ports = on_all[1].containers[0].ports;
  *std::ranges::find(ports, PublishedPort::parse("127.0.0.1:8081:81/tcp").value()) =
      PublishedPort::parse("8081:81/tcp").value();
  std::ranges::sort(ports);
  return {{"everything is made", {}, both},
          {"everything goes", both, {}},
          {"another mode", both, proxied},
          {"a container and ports go", both, fewer},
          {"ports come", fewer, both},
          {"a container moves", both, moved},
          {"a network comes", one, both},
          {"a network goes", both, one},
          {"a container comes", alone, unpublished},
          {"a container goes", unpublished, alone},
          {"its first ports come", unpublished, both},
          {"its last ports go", both, unpublished},
          {"from kernel to proxy", sample_networks(Mode::dnat), proxied},
          {"from proxy to kernel", proxied, sample_networks(Mode::dnat)},
          {"ports go to another container", both, swapped},
          {"a port comes on all addresses", both, on_all}};
}

/// A host that has been brought to `networks`.
ScriptedHost host_at(const Networks& networks, State& state) {
  ScriptedHost host;
  Notes notes;
  EXPECT_TRUE(check_networks(networks));
  EXPECT_TRUE(change(host, state, networks, Extent::differences, notes));
  EXPECT_EQ(host.saved, state);
  host.steps.clear();
  return host;
}

TEST(Change, AFailureOfAnyStepLeavesWhatWasThere) {
  for (const Transition& transition : transitions()) {
    for (int step = 0;; ++step) {
      State state;
      ScriptedHost host = host_at(transition.from, state);
      const ScriptedHost before = host;
      host.steps_left = step;
      Notes notes;
      const auto changed = change(host, state, transition.to, Extent::differences, notes);
      const std::string where = transition.name + ", step " + std::to_string(step);
      EXPECT_EQ(host.saved, state) << where;
      if (changed) {
        ASSERT_EQ(host.steps_left, step - int(host.steps.size()));
        break;
      }
      EXPECT_THAT(changed.error().message, HasSubstr(" fails")) << where;
      expect_same(host, before, where);
      ASSERT_LT(step, 100);
    }
  }
}

TEST(Change, ABackEndThatIsNotThereIsMissedBeforeTheFirstStep) {
  for (const Transition& transition : transitions()) {
    State state;
    ScriptedHost host = host_at(transition.from, state);
    host.has_backend = false;
    Notes notes;
    ASSERT_FALSE(change(host, state, transition.to, Extent::differences, notes));
    EXPECT_THAT(host.steps, IsEmpty()) << transition.name;
  }
}

TEST(Change, AReloadThatFailsAnywhereIsMadeGoodByTheNext) {
  const Networks networks = sample_networks(Mode::both);
  bool failed_once = true;
  for (int step = 0; failed_once; ++step) {
    State state;
    ScriptedHost host = host_at(networks, state);
    const ScriptedHost before = host;
    host.links.erase(host.links.begin());
    host.rules.reset();
    host.proxies.erase(host.proxies.begin());
    host.steps_left = step;
    Notes notes;
    failed_once = !change(host, state, networks, Extent::everything, notes);
    const std::string where = "step " + std::to_string(step);
    EXPECT_EQ(host.unfinished, std::nullopt) << where;
    host.steps_left = -1;
    ASSERT_TRUE(change(host, state, networks, Extent::everything, notes)) << where;
    expect_same(host, before, where);
    EXPECT_EQ(host.saved, state) << where;
    ASSERT_LT(step, 100);
  }
}

TEST(Change, AKilledRunIsTakenBack) {
  for (const Trouble trouble : {Trouble::killed_before, Trouble::killed_after}) {
    for (const Transition& transition : transitions()) {
      bool killed = true;
      for (int step = 0; killed; ++step) {
        State state;
        ScriptedHost host = host_at(transition.from, state);
        const ScriptedHost before = host;
        host.steps_left = step;
        host.trouble = trouble;
        Notes notes;
        try {
          ASSERT_TRUE(change(host, state, transition.to, Extent::differences, notes));
          killed = false;
        } catch (const Killed&) {
          const std::string where = transition.name + ", killed at step " + std::to_string(step);
          // The next run knows what was saved, and no more.
          State found = host.saved;
          const bool done = !host.unfinished && step > 0;
          if (host.unfinished) {
            const Unfinished unfinished = *host.unfinished;
            ASSERT_TRUE(recover(host, found, unfinished, notes)) << where;
          }
          if (!done) expect_same(host, before, where);
          EXPECT_EQ(host.saved, found) << where;
        }
        ASSERT_LT(step, 100);
      }
    }
  }
}

TEST(Change, ProxiesThatHaveNothingToDoWithItKeepRunning) {
  State state;
  Networks to = sample_networks(Mode::both);
  ScriptedHost host = host_at(to, state);
  const auto c1 = *state.networks[1].containers[0].proxy;
  const auto c2 = *state.networks[1].containers[1].proxy;
  to[1].containers[0].ports.resize(1);
  Notes notes;
  // Also where the change fails before it comes to the proxies.
  host.steps_left = 1;
  ASSERT_FALSE(change(host, state, to, Extent::differences, notes));
  EXPECT_EQ(state.networks[1].containers[0].proxy, c1);
  ASSERT_TRUE(change(host, state, to, Extent::differences, notes));
  EXPECT_EQ(state.networks[1].containers[1].proxy, c2);
  EXPECT_NE(state.networks[1].containers[0].proxy, c1);
}

TEST(Change, ANewProxyTakesOverFromTheOldOneWhichDrains) {
  State state;
  Networks to = sample_networks(Mode::both);
  ScriptedHost host = host_at(to, state);
  Container& c1 = to[1].containers[0];
  const auto now = [&]() -> const Container& { return state.networks[1].containers[0]; };
  const ProxyProcess first = *now().proxy;
  c1.ports.resize(2);
  Notes notes;
  ASSERT_TRUE(change(host, state, to, Extent::differences, notes));
  const ProxyProcess second = *now().proxy;
  EXPECT_THAT(now().draining, ElementsAre(first));
  c1.ports.resize(1);
  ASSERT_TRUE(change(host, state, to, Extent::differences, notes));
  EXPECT_THAT(now().draining, ElementsAre(first, second));
  EXPECT_THAT(host.steps, Not(Contains("stop")));

  // Reloading ends none of them, and who has ended is forgotten with the next change.
  host.proxies.erase(first.pid);
  ASSERT_TRUE(change(host, state, state.networks, Extent::everything, notes));
  EXPECT_THAT(now().draining, ElementsAre(second));
  EXPECT_TRUE(host.is_running(second));

  // With the last port all of them end.
  c1.ports.clear();
  ASSERT_TRUE(change(host, state, to, Extent::differences, notes));
  EXPECT_THAT(now().draining, IsEmpty());
  EXPECT_EQ(host.proxies.size(), 1U);
}

TEST(Change, AProxyThatHoldsWhatAnotherOneIsToOpenEndsFirst) {
  for (const Transition& transition : transitions()) {
    State state;
    ScriptedHost host = host_at(transition.from, state);
    Notes notes;
    ASSERT_TRUE(change(host, state, transition.to, Extent::differences, notes));
    const bool in_the_way = transition.name == "ports go to another container" ||
                            transition.name == "a port comes on all addresses";
    if (!in_the_way) continue;
    EXPECT_THAT(host.steps, Contains("stop")) << transition.name;
    EXPECT_THAT(state.networks[1].containers[0].draining, IsEmpty()) << transition.name;
  }
}

TEST(Change, GoesFromTheLinksToWhatLeadsToThemAndBack) {
  State state;
  ScriptedHost host;
  Networks networks = {sample_network("web", {"10.1.0.0/24"})};
  networks[0].containers = {sample_container("c1", {"10.1.0.2"}, {"80:80"})};
  Notes notes;
  ASSERT_TRUE(change(host, state, networks, Extent::differences, notes));
  EXPECT_THAT(host.steps, ElementsAre("begin", "make bridge fl-web", "attach web/c1", "save host",
                                      "sysctls", "rules", "save host", "start c1", "save", "end"));
  host.steps.clear();
  ASSERT_TRUE(change(host, state, {}, Extent::differences, notes));
  EXPECT_THAT(host.steps,
              ElementsAre("begin", "sysctls", "save host", "no rules", "save host", "stop",
                          "detach web/c1", "delete bridge fl-web", "save", "end"));
}

TEST(Change, EverythingBringsBackWhatWasLost) {
  State state;
  const Networks networks = sample_networks(Mode::both);
  ScriptedHost host = host_at(networks, state);
  const ScriptedHost before = host;
  host.links.clear();
  host.bridges.erase("fl-web");
  host.rules.reset();
  host.sysctls["ip_forward"] = "0";
  host.proxies.erase(host.proxies.begin());
  host.proxies[77] = {};
  host.lost_namespaces = {"c2"};
  Notes notes;
  ASSERT_TRUE(change(host, state, state.networks, Extent::everything, notes));
  ASSERT_EQ(notes.size(), 2U);
  EXPECT_THAT(notes[0], HasSubstr("container c2: its namespace /run/netns/c2 is gone"));
  EXPECT_THAT(notes[1], HasSubstr("its proxy had ended; started anew"));
  host.lost_namespaces.clear();
  ASSERT_TRUE(change(host, state, state.networks, Extent::everything, notes));
  expect_same(host, before, "reload");
}

TEST(Change, ForgetsTheFlowsOfUdpPortsThatComeAndGo) {
  State state;
  Networks networks = sample_networks(Mode::both);
  ScriptedHost host = host_at(networks, state);
  std::erase_if(networks[1].containers[0].ports, [](const PublishedPort& port) {
    return port.to_string() == "192.0.2.1:8082:82/udp";
  });
  Notes notes;
  ASSERT_TRUE(change(host, state, networks, Extent::differences, notes));
  ASSERT_EQ(host.forgotten.size(), 1U);
  EXPECT_EQ(host.forgotten[0].to_string(), "192.0.2.1:8082:82/udp");
}

TEST(Change, WhatCannotBeTakenBackIsSaidAndTriedAgain) {
  State state;
  const Networks networks = sample_networks(Mode::both);
  ScriptedHost host = host_at({networks[0]}, state);
  const ScriptedHost before = host;
  host.steps_left = 3;
  host.fails_for_good = true;
  Notes notes;
  const auto changed = change(host, state, networks, Extent::differences, notes);
  ASSERT_FALSE(changed);
  EXPECT_THAT(changed.error().message, HasSubstr("; and taking back what was done failed, too: "));
  ASSERT_TRUE(host.unfinished);
  host.fails_for_good = false;
  const Unfinished unfinished = *host.unfinished;
  State found = host.saved;
  ASSERT_TRUE(recover(host, found, unfinished, notes));
  expect_same(host, before, "recovered");
}

}  // namespace
}  // namespace fairlead
