#include "netsetup/network/network_edit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "netsetup/network/network_check.h"
#include "tests/unit/netsetup_samples.h"

namespace fairlead {
namespace {

using ::testing::HasSubstr;

Network named(std::string name) {
  Network network;
  network.name = std::move(name);
  return network;
}

Container open_container(std::string name) {
  Container container;
  container.name = std::move(name);
  container.ifname.clear();
  container.netns = "/run/netns/" + container.name;
  container.netns_inode = 1;
  return container;
}

std::vector<PublishedPort> ports(std::initializer_list<std::string_view> texts) {
  std::vector<PublishedPort> ports;
  for (const std::string_view text : texts) ports.push_back(PublishedPort::parse(text).value());
  return ports;
}

std::string error_of(const Result<void>& result) {
  return result ? "accepted" : result.error().message;
}

TEST(NetworkEdit, CompletesANewNetworkBesideRoutesAndOthers) {
  Networks networks;
  const std::vector<Subnet> taken = {Subnet::parse("10.210.0.0/24").value()};
  ASSERT_TRUE(create_network(networks, named("b"), taken));
  ASSERT_TRUE(create_network(networks, named("a"), taken));
  ASSERT_EQ(networks.size(), 2U);
  EXPECT_EQ(networks[0].name, "a");
  EXPECT_EQ(networks[0].subnets[0].to_string(), "10.210.2.0/24");
  EXPECT_EQ(networks[1].subnets[0].to_string(), "10.210.1.0/24");
  EXPECT_EQ(networks[1].gateways[0], ip("10.210.1.1"));
  EXPECT_EQ(networks[1].bridge, "fl-b");
}

TEST(NetworkEdit, PutsGatewaysInTheOrderOfTheSubnets) {
  Networks networks;
  Network wanted = named("a");
  wanted.subnets = {Subnet::parse("10.1.0.0/24").value(), Subnet::parse("fd00:1::/64").value()};
  wanted.gateways = {ip("fd00:1::5")};
  ASSERT_TRUE(create_network(networks, wanted, {}));
  EXPECT_EQ(networks[0].gateways, (std::vector<IpAddress>{ip("10.1.0.1"), ip("fd00:1::5")}));
  wanted.name = "b";
  wanted.gateways = {ip("10.9.0.1")};
  EXPECT_THAT(error_of(create_network(networks, wanted, {})), HasSubstr("gateway 10.9.0.1"));
}

TEST(NetworkEdit, CreatingWhatIsThereChangesNothing) {
  Networks networks = sample_networks(Mode::both);
  const Networks before = networks;
  Network again = networks[1];
  again.containers.clear();
  again.subnets.clear();
  again.gateways.clear();
  again.bridge.clear();
  EXPECT_EQ(error_of(create_network(networks, again, {})), "accepted");
  EXPECT_EQ(networks, before);
  again.icc = false;
  EXPECT_THAT(error_of(create_network(networks, again, {})), HasSubstr("other settings"));
  EXPECT_EQ(networks, before);
}

TEST(NetworkEdit, AttachesWithTheNextAddressOfEachFamily) {
  Networks networks = sample_networks(Mode::both);
  ASSERT_TRUE(attach_container(networks, "web", open_container("c3")));
  const Container& container = networks[1].containers.back();
  EXPECT_EQ(container.addresses, (std::vector<IpAddress>{ip("10.1.0.4"), ip("fd00:1::3")}));
  EXPECT_EQ(container.mac.to_string(), "02:f1:0a:01:00:04");
  EXPECT_EQ(container.ifname, "eth0");
  EXPECT_EQ(container.host_ifname.size(), 15U);
  EXPECT_TRUE(check_networks(networks));
  EXPECT_EQ(error_of(attach_container(networks, "wbe", open_container("c3"))),
            "there is no network wbe");
}

TEST(NetworkEdit, AContainerComesBackWithItsAddressesAndPorts) {
  Networks networks = sample_networks(Mode::both);
  const Container before = networks[1].containers[0];
  Container again = open_container("c1");
  again.netns_inode = 2;
  ASSERT_TRUE(attach_container(networks, "web", again));
  Container expected = before;
  expected.netns_inode = 2;
  EXPECT_EQ(networks[1].containers[0], expected);
  again.addresses = {ip("10.1.0.77")};
  EXPECT_THAT(error_of(attach_container(networks, "web", again)), HasSubstr("detach it first"));
}

TEST(NetworkEdit, PublishesOnceAndOnTheHostBinding) {
  Networks networks = sample_networks(Mode::both);
  networks[1].host_binding = ip("192.0.2.1");
  const std::size_t before = networks[1].containers[1].ports.size();
  for (int time = 0; time < 2; ++time) {
    ASSERT_TRUE(publish_ports(networks, "web", "c2", ports({"7000:70", "[::1]:7001:71"})));
    EXPECT_EQ(networks[1].containers[1].ports.size(), before + 2);
  }
  ASSERT_TRUE(unpublish_ports(networks, "web", "c2", ports({"192.0.2.1:7000:70"})));
  ASSERT_TRUE(unpublish_ports(networks, "web", "c2", ports({"[::1]:7001:71"})));
  EXPECT_EQ(error_of(unpublish_ports(networks, "web", "c2", ports({"7000:70"}))),
            "network web: container c2 does not publish 192.0.2.1:7000:70/tcp");
  ASSERT_TRUE(unpublish_ports(networks, "web", "c2", {}));
  EXPECT_TRUE(networks[1].containers[1].ports.empty());
}

TEST(NetworkEdit, AWholeStateKeepsWhatItDoesNotName) {
  Networks networks = sample_networks(Mode::both);
  Network web = named("web");
  web.containers = {open_container("c1"), open_container("c3")};
  web.containers[0].ifname = web.containers[1].ifname = "eth0";
  Networks wanted = {named("new"), web};
  ASSERT_TRUE(replace_networks(networks, wanted, {}));
  ASSERT_EQ(networks.size(), 2U);
  EXPECT_EQ(networks[0].subnets[0].to_string(), "10.210.0.0/24");
  EXPECT_EQ(networks[1].subnets, sample_networks(Mode::both)[1].subnets);
  EXPECT_EQ(networks[1].containers[0].addresses,
            (std::vector<IpAddress>{ip("10.1.0.2"), ip("fd00:1::2")}));
  EXPECT_TRUE(networks[1].containers[0].ports.empty());
  EXPECT_EQ(networks[1].containers[1].addresses[0], ip("10.1.0.3"));
  const Networks once = networks;
  ASSERT_TRUE(replace_networks(networks, std::move(wanted), {}));
  EXPECT_EQ(networks, once);
}

}  // namespace
}  // namespace fairlead
