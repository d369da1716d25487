#include "netsetup/network/network_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "netsetup/network/interface_names.h"
#include "tests/unit/netsetup_samples.h"

namespace fairlead {
namespace {

using testing::HasSubstr;

std::string refusal(const Networks& networks) {
  const auto checked = check_networks(networks);
  return checked ? "accepted" : checked.error().message;
}

TEST(NetworkCheck, AcceptsTheSamples) {
  for (const Mode mode : {Mode::proxy, Mode::dnat, Mode::both}) {
    EXPECT_EQ(refusal(sample_networks(mode)), "accepted");
  }
}

TEST(NetworkCheck, RefusesOverlappingSubnets) {
  EXPECT_EQ(refusal({sample_network("a", {"10.0.0.0/8"}), sample_network("b", {"10.1.0.0/24"})}),
            "network b: subnet 10.1.0.0/24 overlaps 10.0.0.0/8 of network a");
}

TEST(NetworkCheck, RefusesSubnetsThatAreNotForHosts) {
  for (const auto* subnet :
       {"224.0.0.0/8", "127.0.0.0/8", "10.1.0.0/31", "0.0.0.0/8", "ff00::/8"}) {
    EXPECT_NE(refusal({sample_network("a", {subnet})}), "accepted") << subnet;
  }
}

TEST(NetworkCheck, RefusesAGatewayOutsideItsSubnet) {
  Networks networks = {sample_network("a", {"10.1.0.0/24"})};
  networks[0].gateways = {ip("10.2.0.1")};
  EXPECT_EQ(refusal(networks), "network a: gateway 10.2.0.1 is no host address of 10.1.0.0/24");
}

TEST(NetworkCheck, RefusesNamesThatTheKernelOrAShellWouldNotTake) {
  for (const auto* name : {"", "-x", "a b", "a/b", "..", "a;b", "ä"}) {
    EXPECT_FALSE(check_name("network", name)) << name;
  }
  for (const auto* name :
       {"", "a-name-too-long1", "all", "default", ".", "..", "a/b", "a b", "lo"}) {
    EXPECT_FALSE(check_interface_name(name)) << name;
  }
}

TEST(NetworkCheck, RefusesTwoLinksOfOneName) {
  Networks networks = sample_networks(Mode::both);
  networks[1].containers[1].host_ifname = networks[1].containers[0].host_ifname;
  EXPECT_THAT(refusal(networks), HasSubstr("two links named"));
}

TEST(NetworkCheck, RefusesAddressesThatAreTaken) {
  Networks networks = sample_networks(Mode::both);
  networks[1].containers[1].addresses = networks[1].containers[0].addresses;
  EXPECT_EQ(refusal(networks), "network web: two containers have address 10.1.0.2");
  networks[1].containers[1].addresses = {ip("10.1.0.1")};
  EXPECT_THAT(refusal(networks), HasSubstr("the gateway"));
}

TEST(NetworkCheck, RefusesPortsThatMeet) {
  Networks networks = sample_networks(Mode::both);
  networks[0].containers = {sample_container("x", {"10.2.0.2"}, {"9050:1/udp"})};
  EXPECT_EQ(refusal(networks),
            "9000-9099:9000-9099/udp of container c1 (web) and 9050:1/udp of container x (db) both "
            "publish the same host port");
  networks[0].containers[0].ports = {PublishedPort::parse("9050:1/tcp").value()};
  EXPECT_EQ(refusal(networks), "accepted");
}

TEST(NetworkCheck, RefusesWhatTheKernelCannotTranslate) {
  Networks networks = sample_networks(Mode::dnat);
  networks[1].containers[0].ports = {PublishedPort::parse("[::1]:1:1").value()};
  EXPECT_THAT(refusal(networks), HasSubstr("mode both or proxy can"));
  networks[1].containers[0].ports.clear();
  networks[1].containers[1].ports = {PublishedPort::parse("[2001:db8::1]:1:1").value()};
  EXPECT_THAT(refusal(networks), HasSubstr("between IPv4 and IPv6"));
  networks[1].mode = Mode::both;
  EXPECT_EQ(refusal(networks), "accepted");
}

TEST(NetworkCheck, RefusesAllowingAnUnknownNetwork) {
  Networks networks = sample_networks(Mode::both);
  networks[1].allow_networks = {"nothing"};
  EXPECT_EQ(refusal(networks), "network web: allows \"nothing\", which is no other network");
}

TEST(NetworkCheck, TenThousandPortsAreNoBurden) {
  Networks networks = sample_networks(Mode::both);
  for (std::uint16_t port = 20000; port < 30000; ++port) {
    networks[1].containers[1].ports.push_back(
        {Protocol::tcp, std::nullopt, {port, port}, {port, port}});
  }
  EXPECT_EQ(refusal(networks), "accepted");
}

TEST(InterfaceNames, FitTheKernelAndStayApart) {
  EXPECT_EQ(bridge_name("web"), "fl-web");
  EXPECT_EQ(bridge_name("twelve-chars"), "fl-twelve-chars");
  EXPECT_EQ(bridge_name("a-name-that-is-too-long").size(), kInterfaceNameLimit);
  EXPECT_EQ(host_link_name("web", "c1").size(), kInterfaceNameLimit);
  EXPECT_NE(host_link_name("web", "c1"), host_link_name("web", "c2"));
}

TEST(MacAddress, ReadsWhatAnInterfaceCanHave) {
  EXPECT_EQ(MacAddress::parse("02:f1:0a:d2:00:02").value().to_string(), "02:f1:0a:d2:00:02");
  EXPECT_EQ(MacAddress::from_address(ip("10.210.0.2")).to_string(), "02:f1:0a:d2:00:02");
  for (const auto* text : {"", "02:f1:0a:d2:00", "01:00:00:00:00:01", "00:00:00:00:00:00",
                           "02-f1-0a-d2-00-02", "02:f1:0a:d2:00:0g", "02:f1:0a:d2:00:022"}) {
    EXPECT_FALSE(MacAddress::parse(text)) << text;
  }
}

}  // namespace
}  // namespace fairlead
