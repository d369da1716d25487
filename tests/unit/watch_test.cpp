#include "netsetup/command/watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "netsetup/rules/rule_plan.h"
#include "tests/unit/netsetup_samples.h"

namespace fairlead {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;
using testing::Not;

PortActivity activity(std::string_view port, std::optional<std::uint64_t> translated) {
  return {"web", "c1", PublishedPort::parse(port).value(), Mode::dnat, translated, {}};
}

TEST(Watch, APortHasWhatTheRulesAndTheProxyHaveCounted) {
  const Networks networks = sample_networks(Mode::both);
  FirewallCounters counters;
  std::uint64_t count = 0;
  for (const Translation& translation : plan(networks).translations) {
    counters.connections[translation] = ++count;
  }
  std::vector<std::uint32_t> open(65536);
  open[8080] = 3;
  open[9101] = 2;
  const PortActivities activities = port_activities(networks, counters, open);
  std::uint64_t sum = 0;
  for (const PortActivity& one : activities) {
    sum += one.translated.value_or(0);
    // The kernel counts nothing for those that the proxy alone serves.
    const bool proxied = one.port.host_ip && one.port.host_ip->is_loopback();
    if (proxied) {
      EXPECT_EQ(one.translated, std::nullopt) << one.port.to_string();
    }
    if (one.port.to_string() == "8080:80/tcp") {
      EXPECT_EQ(one.open, 3U);
    }
    if (one.port.to_string() == "9100-9102:7100-7102/tcp") {
      EXPECT_EQ(one.open, 2U);
    }
    if (one.port.protocol == Protocol::udp) {
      EXPECT_EQ(one.open, std::nullopt);
    }
  }
  EXPECT_EQ(sum, count * (count + 1) / 2);
}

TEST(Watch, ARateIsWhatHasComeSinceInTheTimeThatWas) {
  const PortActivities before = {activity("8080:80", 100), activity("8081:80", 100)};
  const PortActivities now = {activity("8079:80", 5), activity("8080:80", 300),
                              activity("8081:80", 7)};
  const std::string text = activity_table(before, now, seconds(2), {});
  EXPECT_THAT(text, HasSubstr("8080:80/tcp  300         100 "));
  // New, and counted anew.
  EXPECT_THAT(text, HasSubstr("8079:80/tcp  5           - "));
  EXPECT_THAT(text, HasSubstr("8081:80/tcp  7           - "));
}

TEST(Watch, ASmallScreenHasTheBusiestPorts) {
  PortActivities before;
  PortActivities now;
  for (unsigned i = 0; i < 100; ++i) {
    const std::string port = std::to_string(8000 + i) + ":80";
    before.push_back(activity(port, 0));
    now.push_back(activity(port, i == 70 ? 500 : 1));
  }
  const std::string text = activity_table(before, now, seconds(1), {.rows = 6, .columns = 40});
  EXPECT_EQ(std::ranges::count(text, '\n'), 6);
  EXPECT_THAT(text, HasSubstr("8070:80/tcp"));
  EXPECT_THAT(text, HasSubstr("8000:80/tcp"));
  EXPECT_THAT(text, Not(HasSubstr("8099:80/tcp")));
  EXPECT_THAT(text, HasSubstr("and 96 more\n"));
  for (std::size_t begin = 0; begin < text.size(); begin = text.find('\n', begin) + 1) {
    EXPECT_LE(text.find('\n', begin) - begin, 40U);
  }
  EXPECT_EQ(
      std::ranges::count(activity_table(before, now, seconds(1), {.rows = 1, .columns = 0}), '\n'),
      2);
}

}  // namespace
}  // namespace fairlead
