#include "netsetup/command/activity.h"

#include <gtest/gtest.h>

#include "netsetup/rules/rule_plan.h"
#include "tests/unit/netsetup_samples.h"

namespace fairlead {
namespace {

TEST(PortActivity, APortHasWhatTheRulesAndTheProxyHaveCounted) {
  Networks networks = sample_networks(Mode::both);
  FirewallCounters counters;
  std::uint64_t count = 0;
  for (const Translation& translation : plan(networks).translations) {
    counters.connections[translation] = ++count;
  }
  ProxyAnswers proxies;
  std::uint64_t accepted = 0;
  pid_t pid = 0;
  for (Network& network : networks) {
    for (Container& container : network.containers) {
      container.proxy = {.pid = ++pid, .start_time = 1};
      for (const Mapping& mapping : plan_proxy(network, container)) {
        proxies[pid][mapping.to_string()] = {++accepted, 1, 2, 3};
      }
    }
  }
  std::uint64_t translated_sum = 0;
  std::uint64_t accepted_sum = 0;
  for (const PortActivity& one : port_activities(networks, counters, proxies)) {
    translated_sum += one.translated.value_or(0);
    ASSERT_TRUE(one.proxied) << one.port.to_string();
    accepted_sum += one.proxied->accepted;
    EXPECT_FALSE(one.unanswered);
    // The kernel counts nothing for those that the proxy alone serves.
    if (one.port.host_ip && one.port.host_ip->is_loopback()) {
      EXPECT_EQ(one.translated, std::nullopt) << one.port.to_string();
    }
  }
  EXPECT_EQ(translated_sum, count * (count + 1) / 2);
  EXPECT_EQ(accepted_sum, accepted * (accepted + 1) / 2);
}

}  // namespace
}  // namespace fairlead
