#include "netsetup/rules/iptables_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "netsetup/rules/rule_plan.h"
#include "tests/unit/netsetup_samples.h"

namespace fairlead {
namespace {

using testing::HasSubstr;
using testing::Not;

/// How many rules a packet to `port` meets below `chain`, at most.
std::size_t rules_met(const ChainRules& chains, const std::string& chain, unsigned port) {
  std::size_t met = 0;
  for (const std::string& rule : chains.at(chain)) {
    ++met;
    const std::size_t jump = rule.find(" -g ");
    if (jump == std::string::npos) continue;
    const std::size_t dport = rule.find("--dport ");
    unsigned first = 0;
    unsigned last = 65535;
    if (dport != std::string::npos) {
      const int read = std::sscanf(rule.c_str() + dport, "--dport %u:%u", &first, &last);
      if (read == 1) last = first;
    }
    if (first <= port && port <= last) return met + rules_met(chains, rule.substr(jump + 4), port);
  }
  return met;
}

std::vector<Translation> single_ports(unsigned first, unsigned count, unsigned step) {
  std::vector<Translation> translations(count);
  for (unsigned i = 0; i < count; ++i) {
    const auto port = static_cast<std::uint16_t>(first + i * step);
    translations[i].host_ports = {port, port};
  }
  return translations;
}

Translation range(unsigned first, unsigned last) {
  Translation translation;
  translation.host_ports = {static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(last)};
  return translation;
}

TreeTranslations pointers(const std::vector<Translation>& translations) {
  TreeTranslations pointers;
  for (const Translation& translation : translations) pointers.push_back(&translation);
  return pointers;
}

std::string ports_of(const Translation& translation) { return translation.host_ports.to_string(); }

/// With nothing but what differs from `like`, if that is given.
ChainRules tree(const std::vector<Translation>& translations,
                const std::vector<Translation>* like = nullptr) {
  ChainRules chains;
  const TreeTranslations others = like != nullptr ? pointers(*like) : TreeTranslations{};
  add_port_tree(chains, "ROOT", pointers(translations), ports_of,
                like != nullptr ? &others : nullptr);
  return chains;
}

TEST(PortTree, APacketMeetsFewRulesAmongTenThousand) {
  for (const unsigned step : {1U, 5U}) {
    const ChainRules chains = tree(single_ports(10000, 10000, step));
    std::size_t most = 0;
    for (unsigned port = 0; port < 65536; ++port) {
      most = std::max(most, rules_met(chains, "ROOT", port));
    }
    EXPECT_LE(most, 83U) << "step " << step;
  }
}

TEST(PortTree, FewRulesNeedNoTree) { EXPECT_EQ(tree(single_ports(80, 16, 1)).size(), 1U); }

TEST(PortTree, OneMoreRuleChangesOneChain) {
  const auto before = single_ports(10000, 1000, 3);
  auto after = before;
  after.insert(after.begin() + 500, range(11501, 11501));
  // The way to it is written down, too.
  const ChainRules there = tree(before, &after);
  const ChainRules wanted = tree(after, &before);
  EXPECT_LE(wanted.size(), 5U);
  std::size_t changed = 0;
  for (const auto& [chain, rules] : wanted) changed += there.at(chain) != rules ? 1U : 0U;
  EXPECT_EQ(changed, 1U);
}

TEST(PortTree, WhatIsLikeAnotherTreeIsLeftOutAndNothingElse) {
  // From few to many and back, so that chains split, join, come and go.
  const auto many = single_ports(10000, 1000, 3);
  std::vector<std::vector<Translation>> trees = {
      {}, single_ports(80, 16, 1), many, single_ports(10000, 500, 3), single_ports(11000, 17, 1)};
  trees.push_back(many);
  trees.back().push_back(range(1000, 60000));
  trees.push_back(many);
  trees.back()[700].container_ports = {443, 443};
  for (const auto& from : trees) {
    for (const auto& to : trees) {
      const ChainRules whole_from = tree(from);
      const ChainRules whole_to = tree(to);
      const ChainRules differing = tree(to, &from);
      for (const auto& [chain, rules] : whole_to) {
        const auto before = whole_from.find(chain);
        const bool differs = before == whole_from.end() || before->second != rules;
        ASSERT_TRUE(differing.contains(chain) || !differs) << chain;
        if (differing.contains(chain)) {
          ASSERT_EQ(differing.at(chain), rules) << chain;
        }
      }
      for (const auto& entry : differing) ASSERT_TRUE(whole_to.contains(entry.first));
      // Left out of the one only where it is left out of the other: nothing is taken for removed.
      const ChainRules gone = tree(from, &to);
      for (const auto& [chain, rules] : gone) {
        ASSERT_TRUE(differing.contains(chain) || !whole_to.contains(chain)) << chain;
      }
    }
  }
}

TEST(PortTree, ARangeStaysWhereItsBlockEnclosesIt) {
  auto translations = single_ports(8192, 20, 1);
  translations.push_back(range(1000, 60000));
  EXPECT_EQ(tree(translations).at("ROOT-t").front(), "1000-60000");
}

TEST(IptablesText, NothingIsWrittenWhereNothingDiffers) {
  const IptablesTables tables = iptables_tables(plan(sample_networks(Mode::both)), Family::v4);
  EXPECT_EQ(iptables_change_text(iptables_all_present(tables), tables), "");
}

TEST(IptablesText, OnePortMoreWritesItsRuleAlone) {
  Networks networks = sample_networks(Mode::dnat);
  const IptablesTables before = iptables_tables(plan(networks), Family::v4);
  networks[1].containers[0].ports.push_back(PublishedPort::parse("8099:99").value());
  const IptablesTables after = iptables_tables(plan(networks), Family::v4);
  const std::string text = iptables_change_text(iptables_all_present(before), after);
  // First that it is still hooked.
  EXPECT_THAT(text, HasSubstr("-C POSTROUTING -j FAIRLEAD-POSTROUTING\n-I FAIRLEAD-DNAT "));
  EXPECT_THAT(text, HasSubstr("--dport 8099 "));
  EXPECT_THAT(text, Not(HasSubstr("--dport 8080 ")));
  EXPECT_THAT(text, Not(HasSubstr("*filter")));
  EXPECT_THAT(text, Not(HasSubstr(":FAIRLEAD-")));
  // One less writes its chain whole.
  EXPECT_THAT(iptables_change_text(iptables_all_present(after), before),
              HasSubstr("-C POSTROUTING -j FAIRLEAD-POSTROUTING\n:FAIRLEAD-DNAT - [0:0]\n"));
}

TEST(IptablesText, WhatIsKnownToBeAlikeNeedNotBeWrittenDownToBeLeftAlone) {
  Networks networks = sample_networks(Mode::both);
  const auto texts = {"30000:80", "30001:80/udp", "20000-29999:20000-29999", "9500:80/sctp"};
  std::vector<RuleSet> sets = {plan(networks)};
  for (unsigned i = 0; i < 40; ++i) {
    networks[1].containers[0].ports.push_back(
        PublishedPort::parse("11" + std::to_string(100 + i) + ":80").value());
  }
  sets.push_back(plan(networks));
  for (const char* text : texts) {
    networks[1].containers[1].ports.push_back(PublishedPort::parse(text).value());
    sets.push_back(plan(networks));
  }
  networks[1].mode = Mode::dnat;
  networks[1].containers[0].ports.clear();
  sets.push_back(plan(networks));
  for (const RuleSet& from : sets) {
    for (const RuleSet& to : sets) {
      for (const Family family : {Family::v4, Family::v6}) {
        EXPECT_EQ(iptables_change_text(iptables_all_present(iptables_tables(from, family, &to)),
                                       iptables_tables(to, family, &from)),
                  iptables_change_text(iptables_all_present(iptables_tables(from, family)),
                                       iptables_tables(to, family)));
      }
    }
  }
}

TEST(IptablesText, ReadsBackWhatIptablesSaveShows) {
  const IptablesPresent present = parse_iptables_save(
      "# Generated by iptables-save\n*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n"
      ":FAIRLEAD - [0:0]\n:FAIRLEAD-USER - [0:0]\n:OTHER - [0:0]\n-A FORWARD -j OTHER\n"
      "-A FORWARD -j FAIRLEAD\n-A FORWARD -j FAIRLEAD\n-A FAIRLEAD -i fl-web -j FAIRLEAD-FORWARD\n"
      "-A FAIRLEAD-USER -s 192.0.2.0/24 -j DROP\nCOMMIT\n");
  EXPECT_EQ(present.hooks.size(), 2U);
  ASSERT_TRUE(present.tables.contains("filter"));
  EXPECT_EQ(present.tables.at("filter").size(), 2U);

  const IptablesTables wanted = iptables_tables(plan(sample_networks(Mode::both)), Family::v4);
  const std::string text = iptables_change_text(present, wanted);
  EXPECT_THAT(text, HasSubstr("-D FORWARD -j FAIRLEAD\n"));
  EXPECT_THAT(text, Not(HasSubstr(":FAIRLEAD-USER")));
  EXPECT_THAT(text, Not(HasSubstr("OTHER")));
}

TEST(IptablesText, EveryRuleThatDropsSaysWhy) {
  Networks networks = sample_networks(Mode::dnat);
  networks[0].internal = true;
  for (const auto& [table, chains] : iptables_tables(plan(networks), Family::v4)) {
    for (const auto& [chain, rules] : chains) {
      for (const std::string& rule : rules) {
        EXPECT_EQ(rule.ends_with("-j DROP"), iptables_drop_reason(rule).has_value()) << rule;
      }
    }
  }
  EXPECT_EQ(iptables_drop_reason("-i br0 -m comment --comment \"direct access\" -j DROP"),
            "direct access");
}

TEST(IptablesText, RemovalSparesTheUsersRules) {
  IptablesPresent present =
      iptables_all_present(iptables_tables(plan(sample_networks(Mode::both)), Family::v4));
  EXPECT_THAT(iptables_remove_text(present), HasSubstr("-X FAIRLEAD-USER\n"));
  present.tables["filter"]["FAIRLEAD-USER"] = {"-s 192.0.2.0/24 -j DROP"};
  EXPECT_THAT(iptables_remove_text(present), Not(HasSubstr("FAIRLEAD-USER\n")));
  EXPECT_EQ(iptables_remove_text({}), "");
}

TEST(IptablesText, BridgesOfOthersAreForTheirOwnRulesToOpen) {
  const RuleSet rules = plan({sample_network("web", {"10.1.0.0/24"})});
  const IptablesTables tables = iptables_tables(rules, Family::v4, nullptr, {"docker0", "fl-web"});
  EXPECT_THAT(tables.at("filter").at("FAIRLEAD-FORWARD"),
              testing::ElementsAre("-j FAIRLEAD-USER",
                                   "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                                   "-j FAIRLEAD-ISOLATION", "-o docker0 -j RETURN", "-j ACCEPT"));
}

}  // namespace
}  // namespace fairlead
