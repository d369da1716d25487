#include "netsetup/network/document.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "netsetup/network/completion.h"
#include "tests/unit/netsetup_samples.h"

namespace fairlead {
namespace {

using ::testing::HasSubstr;

std::string refusal(std::string_view text) {
  const auto read = parse_networks(text, "desired.json");
  return read ? "accepted" : read.error().message;
}

TEST(Document, WritesEverythingAndReadsItBack) {
  for (const Mode mode : {Mode::proxy, Mode::dnat, Mode::both}) {
    Networks networks = sample_networks(mode);
    networks[0].internal = true;
    networks[1].ip_range = Subnet::parse("10.1.0.128/25").value();
    networks[1].mtu = 1400;
    networks[1].host_binding = ip("192.0.2.1");
    networks[1].forwarding = Forwarding::interface;
    networks[1].containers[0].netns_inode = 4026532247;
    networks[1].containers[0].proxy = ProxyProcess{.pid = 17, .start_time = 123456789012345};
    networks[1].containers[0].draining = {{.pid = 15, .start_time = 1}, {.pid = 16}};
    EXPECT_EQ(parse_networks(networks_text(networks), "x").value(), networks);
    EXPECT_EQ(parse_network(network_text(networks[1]), "x").value(), networks[1]);
  }
}

TEST(Document, LeavesDefaultsToWhatIsNotThere) {
  const Networks read =
      parse_networks(R"({"networks": [{"name": "b"}, {"name": "a"}]})", "x").value();
  ASSERT_EQ(read.size(), 2U);
  EXPECT_EQ(read[0].name, "a");
  EXPECT_EQ(read[0].mode, Mode::both);
  EXPECT_TRUE(read[0].icc);
  EXPECT_TRUE(read[0].subnets.empty());
}

TEST(Document, WhatIsNotCompleteYetCanBeWrittenToo) {
  const Networks read =
      parse_networks(R"({"networks": [{"name": "a", "containers": [{"name": "c"}]}]})", "x")
          .value();
  EXPECT_EQ(parse_networks(networks_text(read), "x").value(), read);
}

/// Such a document is refused for it later on, by what it says first.
TEST(Document, NetworksAndContainersOfOneNameKeepTheirOrder) {
  constexpr std::uint32_t kEach = 40;
  Networks networks;
  for (std::uint32_t i = 0; i < kEach; ++i) {
    Network network;
    network.name = i % 2 == 0 ? "b" : "a";
    network.mtu = 1000 + i;
    for (std::uint32_t j = 0; j < kEach; ++j) {
      Container container;
      container.name = j % 2 == 0 ? "d" : "c";
      container.netns_inode = j + 1;
      network.containers.push_back(container);
    }
    ASSERT_TRUE(complete_network(network, nullptr, {}));
    const Network once = network;
    ASSERT_TRUE(complete_network(network, &once, {}));
    EXPECT_EQ(network, once);
    networks.push_back(network);
  }
  const Networks read = parse_networks(networks_text(networks), "x").value();
  EXPECT_EQ(parse_networks(networks_text(read), "x").value(), read);
  for (std::size_t i = 0; i < kEach / 2; ++i) EXPECT_EQ(read[i].mtu, 1001 + 2 * i);
}

TEST(Document, ErrorsNameThePlace) {
  EXPECT_THAT(refusal("{"), HasSubstr("desired.json: parse error at line 1"));
  EXPECT_EQ(refusal(R"({"networks": 1e999})"), "desired.json: number overflow parsing '1e999'");
  EXPECT_EQ(refusal("[]"), "desired.json: an object in braces is wanted");
  EXPECT_EQ(refusal(R"({"network": []})"), "desired.json: network: there is no such field");
  EXPECT_EQ(refusal(R"({"networks": {}})"), "desired.json: networks: a list is wanted");
  EXPECT_EQ(refusal(R"({"networks": [{"mtu": -1}]})"),
            "desired.json: networks[0].mtu: a whole number up to 4294967295 is wanted");
  EXPECT_EQ(refusal(R"({"networks": [{"containers": [{"proxy": {"pid": 2147483648}}]}]})"),
            "desired.json: networks[0].containers[0].proxy.pid: a whole number up to 2147483647 is "
            "wanted");
  EXPECT_EQ(refusal(R"({"networks": [{}, {"mode": "nat"}]})"),
            "desired.json: networks[1].mode: \"nat\": accepted: proxy, dnat, both");
  EXPECT_EQ(refusal(R"({"networks": [{"containers": [{"names": 1}]}]})"),
            "desired.json: networks[0].containers[0].names: there is no such field");
  EXPECT_THAT(refusal(R"({"networks": [{"containers": [{"ports": ["80"]}]}]})"),
              HasSubstr("desired.json: networks[0].containers[0].ports[0]: \"80\": "));
  EXPECT_EQ(refusal(R"({"networks": [{"subnets": [7]}]})"),
            "desired.json: networks[0].subnets[0]: text in quotes is wanted");
}

}  // namespace
}  // namespace fairlead
