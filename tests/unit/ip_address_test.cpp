#include "proxy/mapping/ip_address.h"

#include <gtest/gtest.h>

namespace fairlead {
namespace {

TEST(IpAddress, ParsesBothFamilies) {
  EXPECT_EQ(IpAddress::parse("192.0.2.1")->to_string(), "192.0.2.1");
  EXPECT_EQ(IpAddress::parse("2001:DB8:0:0::1")->to_string(), "2001:db8::1");
  EXPECT_EQ(*IpAddress::parse("0.0.0.0"), IpAddress::any(Family::v4));
  EXPECT_EQ(*IpAddress::parse("::"), IpAddress::any(Family::v6));
  EXPECT_EQ(*IpAddress::parse("::1"), IpAddress::loopback(Family::v6));
}

TEST(IpAddress, MappedAddressIsIpv4) {
  const auto mapped = IpAddress::parse("::ffff:1.2.3.4");
  ASSERT_TRUE(mapped);
  EXPECT_TRUE(mapped->is_v4());
  EXPECT_EQ(mapped->to_string(), "1.2.3.4");
}

TEST(IpAddress, RefusesWhatIsNoAddress) {
  for (const char* text : {"", "1.2.3", "1.2.3.4.5", "01.2.3.4", "256.0.0.1", "1.2.3.4/24", "[::1]",
                           "fe80::1%eth0", "localhost", " 1.2.3.4",
                           ":::", "1111:2222:3333:4444:5555:6666:7777:8888:9999:0000:1111:2222"}) {
    EXPECT_FALSE(IpAddress::parse(text)) << text;
  }
  EXPECT_FALSE(IpAddress::parse(std::string_view("1.2.3.4\0", 8)));
}

TEST(IpAddress, KnowsItsKind) {
  EXPECT_TRUE(IpAddress::parse("127.8.9.1")->is_loopback());
  EXPECT_TRUE(IpAddress::parse("::1")->is_loopback());
  EXPECT_FALSE(IpAddress::parse("::2")->is_loopback());
  EXPECT_TRUE(IpAddress::parse("239.1.1.1")->is_multicast());
  EXPECT_TRUE(IpAddress::parse("ff02::1")->is_multicast());
  EXPECT_FALSE(IpAddress::parse("240.0.0.1")->is_multicast());
}

}  // namespace
}  // namespace fairlead
