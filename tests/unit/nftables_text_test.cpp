#include "netsetup/rules/nftables_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "netsetup/rules/rule_plan.h"
#include "tests/unit/netsetup_samples.h"

namespace fairlead {
namespace {

using testing::HasSubstr;

Networks with_ports(Mode mode, unsigned first, unsigned count, unsigned step) {
  Networks networks = {sample_network("n", {"10.1.0.0/24"})};
  networks[0].mode = mode;
  networks[0].containers = {sample_container("c", {"10.1.0.2"}, {})};
  for (unsigned i = 0; i < count; ++i) {
    const auto port = static_cast<std::uint16_t>(first + i * step);
    networks[0].containers[0].ports.push_back(
        {Protocol::tcp, std::nullopt, {port, port}, {80, 80}});
  }
  return networks;
}

TEST(NftablesText, NothingIsWrittenWhereNothingDiffers) {
  const RuleSet rules = plan(sample_networks(Mode::both));
  EXPECT_EQ(nftables_change_text(rules, rules), "");
}

TEST(NftablesText, OnePortMoreIsOneElement) {
  EXPECT_EQ(nftables_change_text(plan(with_ports(Mode::dnat, 8000, 100, 1)),
                                 plan(with_ports(Mode::dnat, 8000, 101, 1))),
            "add element inet fairlead dnat_any4 {\n  tcp . 8100 : 10.1.0.2 . 80,\n}\n");
}

TEST(NftablesText, ARangeIsOneElementWhateverItsLength) {
  Networks networks = with_ports(Mode::dnat, 1, 0, 1);
  networks[0].containers[0].ports = {PublishedPort::parse("20000-29999:20000-29999").value()};
  const auto elements = nftables_elements(plan(networks));
  EXPECT_EQ(elements.at("dnat_range4").size(), 1U);
  EXPECT_FALSE(elements.contains("dnat_any4"));
}

TEST(NftablesText, NeighbouringPortsOfTheProxyAreOneElement) {
  const auto neighbours = nftables_elements(plan(with_ports(Mode::both, 8000, 100, 1)));
  EXPECT_EQ(neighbours.at("own_range4").size(), 2U);  // the bridge's clients, and loopback's
  EXPECT_FALSE(neighbours.contains("own_any4"));
  const auto apart = nftables_elements(plan(with_ports(Mode::both, 8000, 100, 2)));
  EXPECT_EQ(apart.at("own_any4").size(), 200U);
}

TEST(NftablesText, KnowsTheSizesOfItsChains) {
  const auto sizes = nftables_chain_sizes();
  EXPECT_EQ(sizes.size(), 7U);
  EXPECT_EQ(sizes.at("nat-prerouting"), 1U);
  EXPECT_EQ(sizes.at("bridged"), 8U);
}

TEST(NftablesText, APortThatLeadsElsewhereIsReplaced) {
  const Networks before = with_ports(Mode::dnat, 8000, 2, 1);
  Networks after = before;
  after[0].containers[0].ports[1].container_ports = {81, 81};
  EXPECT_EQ(nftables_change_text(plan(before), plan(after)),
            "delete element inet fairlead dnat_any4 {\n  tcp . 8001,\n}\n"
            "add element inet fairlead dnat_any4 {\n  tcp . 8001 : 10.1.0.2 . 81,\n}\n");
}

TEST(NftablesText, WhatGoesIsDeletedBeforeWhatComesIsAdded) {
  const std::string text = nftables_change_text(plan(with_ports(Mode::both, 8000, 2, 1)),
                                                plan(with_ports(Mode::both, 8000, 3, 1)));
  EXPECT_THAT(text, HasSubstr("delete element inet fairlead own_range4"));
  EXPECT_LT(text.find("delete"), text.find("add"));
  EXPECT_EQ(text.rfind("delete"), text.find("delete"));
}

}  // namespace
}  // namespace fairlead
