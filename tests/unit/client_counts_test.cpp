#include "proxy/relay/client_counts.h"

#include <gtest/gtest.h>

#include <utility>

namespace fairlead {
namespace {

IpAddress ip(const char* text) { return *IpAddress::parse(text); }

TEST(ClientCounts, EachClientHasItsOwnLimit) {
  ClientCounts counts(2);
  auto first = counts.take(ip("192.0.2.1"));
  auto second = counts.take(ip("192.0.2.1"));
  EXPECT_TRUE(first && second);
  EXPECT_FALSE(counts.take(ip("192.0.2.1")));
  EXPECT_TRUE(counts.take(ip("192.0.2.2")));
  first.reset();
  EXPECT_TRUE(counts.take(ip("192.0.2.1")));
}

TEST(ClientCounts, ClientsWithoutConnectionsAreForgotten) {
  ClientCounts counts(2);
  {
    const auto one = counts.take(ip("192.0.2.1"));
    const auto two = counts.take(ip("2001:db8::1"));
    EXPECT_EQ(counts.size(), 2U);
  }
  EXPECT_EQ(counts.size(), 0U);
}

TEST(ClientCounts, AnIpv6ClientIsItsSubscribersNetwork) {
  ClientCounts counts(1);
  const auto one = counts.take(ip("2001:db8:0:1::1"));
  EXPECT_TRUE(one);
  EXPECT_FALSE(counts.take(ip("2001:db8:0:1:ffff::2")));
  EXPECT_TRUE(counts.take(ip("2001:db8:0:2::1")));
}

TEST(ClientCounts, APlaceIsGivenBackOnce) {
  ClientCounts counts(2);
  auto taken = counts.take(ip("192.0.2.1"));
  ClientPlace place = std::move(*taken);
  taken.reset();
  EXPECT_EQ(counts.size(), 1U);
  ClientPlace other;
  other = std::move(place);
  EXPECT_EQ(counts.size(), 1U);
  other = {};
  EXPECT_EQ(counts.size(), 0U);
}

TEST(ClientCounts, WithoutALimitNothingIsCounted) {
  ClientCounts counts(0);
  EXPECT_FALSE(counts.limited());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(counts.take(ip("192.0.2.1")));
  EXPECT_EQ(counts.size(), 0U);
}

}  // namespace
}  // namespace fairlead
