#include "netsetup/command/watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/netsetup_samples.h"

namespace fairlead {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;
using testing::Not;

PortActivity activity(std::string_view port, std::optional<std::uint64_t> translated) {
  return {"web", "c1", PublishedPort::parse(port).value(), Mode::dnat, translated, {}};
}

TEST(Watch, AProxyThatDoesNotAnswerIsShownSoAndTheKernelsPortsAreNot) {
  for (const Mode mode : {Mode::both, Mode::proxy, Mode::dnat}) {
    const PortActivities activities = port_activities(sample_networks(mode), std::nullopt, {});
    for (const PortActivity& one : activities) {
      EXPECT_EQ(one.proxied, std::nullopt);
      EXPECT_EQ(one.unanswered, one.mode != Mode::dnat);
    }
    const std::string text = activity_table(activities, activities, seconds(1), {});
    EXPECT_EQ(text.contains("no answer"), mode != Mode::dnat);
  }
}

TEST(Watch, WhatTheProxyHasRelayedHasRatesOfItsOwn) {
  PortActivity before = activity("8080:80", {});
  before.proxied = {.accepted = 10, .open = 1, .bytes_to_container = 0, .bytes_to_client = 500};
  PortActivity now = before;
  now.proxied = {
      .accepted = 30, .open = 4, .bytes_to_container = 2'400'000, .bytes_to_client = 20'500};
  EXPECT_THAT(activity_table({before}, {now}, seconds(2), {}),
              HasSubstr("8080:80/tcp  -           -   30       10  4     1.2 MB  10 kB\n"));
  // Started anew since.
  EXPECT_THAT(activity_table({now}, {before}, seconds(2), {}),
              HasSubstr("8080:80/tcp  -           -   10       -   1     -     -\n"));
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
  // No new connections, and much passes over those there are.
  before.push_back(activity("9000:80", {}));
  before.back().proxied.emplace();
  now.push_back(before.back());
  now.back().proxied->bytes_to_client = 1;
  before.push_back(activity("9001:80", {}));
  now.push_back(before.back());
  const std::string text = activity_table(before, now, seconds(1), {.rows = 6, .columns = 40});
  EXPECT_EQ(std::ranges::count(text, '\n'), 6);
  EXPECT_THAT(text, HasSubstr("8070:80/tcp"));
  EXPECT_THAT(text, HasSubstr("8000:80/tcp"));
  EXPECT_THAT(text, Not(HasSubstr("8099:80/tcp")));
  EXPECT_THAT(text, HasSubstr("and 98 more\n"));
  for (std::size_t begin = 0; begin < text.size(); begin = text.find('\n', begin) + 1) {
    EXPECT_LE(text.find('\n', begin) - begin, 40U);
  }
  EXPECT_EQ(
      std::ranges::count(activity_table(before, now, seconds(1), {.rows = 1, .columns = 0}), '\n'),
      2);
}

}  // namespace
}  // namespace fairlead
