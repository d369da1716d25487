#include "netsetup/network/address_pool.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/unit/netsetup_samples.h"

namespace fairlead {
namespace {

TEST(AddressPool, GivesTheLowestFreeAddressAndFillsGaps) {
  Network network = sample_network("n", {"10.1.0.0/29", "fd00::/64"});
  EXPECT_EQ(next_free_address(network, Family::v4), ip("10.1.0.2"));
  EXPECT_EQ(next_free_address(network, Family::v6), ip("fd00::2"));
  network.containers = {sample_container("a", {"10.1.0.2", "fd00::2"}, {}),
                        sample_container("b", {"10.1.0.4"}, {})};
  EXPECT_EQ(next_free_address(network, Family::v4), ip("10.1.0.3"));
  EXPECT_EQ(next_free_address(network, Family::v6), ip("fd00::3"));
}

TEST(AddressPool, NeverGivesGatewayNetworkOrBroadcast) {
  Network network = sample_network("n", {"10.1.0.0/30"});
  network.gateways = {ip("10.1.0.2")};
  EXPECT_EQ(next_free_address(network, Family::v4), ip("10.1.0.1"));
  network.containers = {sample_container("a", {"10.1.0.1"}, {})};
  EXPECT_EQ(next_free_address(network, Family::v4).error().message,
            "network n: no free address left in 10.1.0.0/30");
}

TEST(AddressPool, KeepsToTheRangeOfItsFamily) {
  Network network = sample_network("n", {"10.1.0.0/24", "fd00::/64"});
  network.ip_range = Subnet::parse("10.1.0.128/31").value();
  network.containers = {sample_container("a", {"10.1.0.128"}, {})};
  EXPECT_EQ(next_free_address(network, Family::v4), ip("10.1.0.129"));
  EXPECT_EQ(next_free_address(network, Family::v6), ip("fd00::2"));
  network.containers.push_back(sample_container("b", {"10.1.0.129"}, {}));
  EXPECT_FALSE(next_free_address(network, Family::v4));
}

TEST(AddressPool, ChecksAnAddressThatIsAskedFor) {
  Network network = sample_network("n", {"10.1.0.0/24"});
  network.containers = {sample_container("a", {"10.1.0.9"}, {})};
  EXPECT_TRUE(check_free_address(network, ip("10.1.0.10")));
  EXPECT_EQ(check_free_address(network, ip("10.1.0.9")).error().message,
            "address 10.1.0.9: container a has it");
  for (const auto* text : {"10.1.0.0", "10.1.0.255", "10.1.0.1", "10.1.1.2", "fd00::2"}) {
    EXPECT_FALSE(check_free_address(network, ip(text))) << text;
  }
}

TEST(AddressPool, ManyContainersAreNoBurden) {
  Network network = sample_network("n", {"10.0.0.0/8"});
  for (IpAddress address = ip("10.0.0.2"); network.containers.size() < 5000;) {
    Container container;
    container.addresses = {address};
    network.containers.push_back(container);
    address = next_address(address).value();
  }
  EXPECT_EQ(next_free_address(network, Family::v4), ip("10.0.19.138"));
}

TEST(PickSubnet, AvoidsWhatIsTaken) {
  EXPECT_EQ(pick_subnet({}), Subnet::parse("10.210.0.0/24"));
  const std::vector<Subnet> taken = {Subnet::parse("10.210.0.0/23").value(),
                                     Subnet::parse("10.210.2.128/25").value()};
  EXPECT_EQ(pick_subnet(taken), Subnet::parse("10.210.3.0/24"));
  const std::vector<Subnet> whole = {Subnet::parse("10.0.0.0/8").value()};
  EXPECT_EQ(pick_subnet(whole), Subnet::parse("172.31.0.0/24"));
  EXPECT_FALSE(pick_subnet(std::vector<Subnet>{Subnet()}));
}

}  // namespace
}  // namespace fairlead
