#include "netsetup/firewall/foreign_filters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "netsetup/rules/rule_plan.h"
#include "tests/unit/netsetup_samples.h"

namespace fairlead {
namespace {

using Json = nlohmann::json;
using Kind = ForeignFilter::Kind;
using testing::ElementsAre;
using testing::IsEmpty;

Json chain(const char* family, const char* table, const char* name, const char* policy) {
  return {{"chain",
           {{"family", family},
            {"table", table},
            {"name", name},
            {"type", "filter"},
            {"hook", "forward"},
            {"prio", 0},
            {"policy", policy}}}};
}

Json rule(const char* family, const char* table, const char* chain_name, Json expressions) {
  return {{"rule",
           {{"family", family},
            {"table", table},
            {"chain", chain_name},
            {"expr", std::move(expressions)}}}};
}

RuleSet both_families() { return plan(sample_networks(Mode::both)); }

RuleSet ipv4_alone() { return plan({sample_network("n", {"10.1.0.0/24"})}); }

TEST(ForeignFilters, APolicyThatDropsIsOneWhicheverTableItIsIn) {
  const Json objects = {chain("ip", "filter", "FORWARD", "drop"),
                        chain("inet", "mine", "forward", "drop"),
                        chain("ip", "other", "FORWARD", "accept")};
  EXPECT_THAT(nft_foreign_filters(objects, both_families()),
              ElementsAre(ForeignFilter{Kind::iptables_nft, "iptables, chain FORWARD"},
                          ForeignFilter{Kind::nftables, "table inet mine, chain forward"}));
}

TEST(ForeignFilters, ARuleThatDropsAllIsOne) {
  const Json all = {{{"counter", {{"packets", 0}, {"bytes", 0}}}},
                    {{"xt", {{"type", "target"}, {"name", "REJECT"}}}}};
  const Json some = {{{"match", {{"op", "=="}, {"left", 1}, {"right", 2}}}}, {{"drop", nullptr}}};
  const Json reject = {{{"reject", {{"type", "icmpx"}, {"expr", "admin-prohibited"}}}}};
  const Json objects = {chain("ip", "filter", "FORWARD", "accept"),
                        rule("ip", "filter", "FORWARD", all),
                        chain("ip", "mine", "forward", "accept"),
                        rule("ip", "mine", "forward", some),
                        rule("ip", "mine", "input", reject),
                        chain("inet", "firewalld", "filter_FORWARD", "accept"),
                        rule("inet", "firewalld", "filter_FORWARD", reject)};
  EXPECT_THAT(
      nft_foreign_filters(objects, both_families()),
      ElementsAre(ForeignFilter{Kind::iptables_nft, "iptables, chain FORWARD"},
                  ForeignFilter{Kind::nftables, "table inet firewalld, chain filter_FORWARD"}));
}

TEST(ForeignFilters, AFamilyThatNoNetworkHasIsNoneOfOurs) {
  const Json objects = {chain("ip6", "filter", "FORWARD", "drop")};
  EXPECT_THAT(nft_foreign_filters(objects, ipv4_alone()), IsEmpty());
  EXPECT_THAT(nft_foreign_filters(objects, both_families()),
              ElementsAre(ForeignFilter{Kind::iptables_nft, "ip6tables, chain FORWARD"}));
}

TEST(ForeignFilters, OurOwnTableIsNotForeign) {
  EXPECT_THAT(
      nft_foreign_filters({chain("inet", "fairlead", "filter-forward", "drop")}, both_families()),
      IsEmpty());
}

TEST(ForeignFilters, ReadsTheOutputOfIptablesSave) {
  EXPECT_TRUE(forward_drops("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [12:720]\nCOMMIT\n"));
  EXPECT_TRUE(
      forward_drops("*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j REJECT --reject-with "
                    "icmp-host-prohibited\nCOMMIT\n"));
  EXPECT_FALSE(forward_drops(
      "*mangle\n:FORWARD DROP [0:0]\nCOMMIT\n*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n"
      "-A FORWARD -i eth0 -j DROP\nCOMMIT\n"));
}

}  // namespace
}  // namespace fairlead
