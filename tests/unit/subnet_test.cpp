#include "proxy/mapping/subnet.h"

#include <gtest/gtest.h>

namespace fairlead {
namespace {

Subnet subnet(std::string_view text) { return Subnet::parse(text).value(); }
IpAddress address(std::string_view text) { return IpAddress::parse(text).value(); }

TEST(Subnet, ReadsAndWritesBothFamilies) {
  for (const auto* text : {"10.1.0.0/24", "0.0.0.0/0", "192.0.2.1/32", "fd00:1::/64", "::/0"}) {
    EXPECT_EQ(subnet(text).to_string(), text);
  }
}

TEST(Subnet, SaysWhatWasMeantWhereHostBitsAreSet) {
  EXPECT_EQ(Subnet::parse("10.1.0.9/24").error().message,
            "\"10.1.0.9/24\": host bits are set; did you mean 10.1.0.0/24?");
}

TEST(Subnet, RefusesWhatIsNoSubnet) {
  for (const auto* text : {"", "10.1.0.0", "10.1.0.0/", "10.1.0.0/33", "10.1.0.0/-1", "fd00::/129",
                           "10.1.0/24", "10.1.0.0/24x", "/24"}) {
    EXPECT_FALSE(Subnet::parse(text)) << text;
  }
}

TEST(Subnet, KnowsItsLastAddress) {
  EXPECT_EQ(subnet("10.1.0.0/22").last(), address("10.1.3.255"));
  EXPECT_EQ(subnet("fd00::/126").last(), address("fd00::3"));
}

TEST(Subnet, ContainsAddressesOfItsFamilyAlone) {
  EXPECT_TRUE(subnet("10.1.0.0/24").contains(address("10.1.0.255")));
  EXPECT_FALSE(subnet("10.1.0.0/24").contains(address("10.1.1.0")));
  EXPECT_FALSE(subnet("0.0.0.0/0").contains(address("::1")));
}

TEST(Subnet, OverlapsWhatEnclosesItAndWhatItEncloses) {
  EXPECT_TRUE(subnet("10.1.0.0/24").overlaps(subnet("10.0.0.0/8")));
  EXPECT_TRUE(subnet("10.0.0.0/8").overlaps(subnet("10.1.0.0/24")));
  EXPECT_FALSE(subnet("10.1.0.0/24").overlaps(subnet("10.1.1.0/24")));
}

TEST(NextAddress, CarriesAndEnds) {
  EXPECT_EQ(next_address(address("10.1.0.255")), address("10.1.1.0"));
  EXPECT_EQ(next_address(address("fd00::ffff")), address("fd00::1:0"));
  EXPECT_EQ(next_address(address("255.255.255.255")), std::nullopt);
}

}  // namespace
}  // namespace fairlead
