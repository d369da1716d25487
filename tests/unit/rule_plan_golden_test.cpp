// Every mode, icc, masquerade and internal setting, from the desired state to the text of both
// firewall back ends, held against tests/unit/goldens. With FAIRLEAD_UPDATE_GOLDENS=1 in the
// environment the files are written instead, for `git diff` to show what a change does.

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "netsetup/network/network_check.h"
#include "netsetup/rules/iptables_text.h"
#include "netsetup/rules/nftables_text.h"
#include "netsetup/rules/rule_plan.h"
#include "tests/unit/netsetup_samples.h"

namespace fairlead {
namespace {

void expect_golden(const std::string& name, const std::string& text) {
  const std::string path = FAIRLEAD_GOLDENS "/" + name;
  if (std::getenv("FAIRLEAD_UPDATE_GOLDENS") != nullptr) {
    std::ofstream(path) << text;
    return;
  }
  std::ostringstream golden;
  golden << std::ifstream(path).rdbuf();
  EXPECT_EQ(golden.str(), text) << "in " << path;
}

std::string proxies_text(const Networks& networks) {
  std::string text;
  for (const Network& network : networks) {
    for (const Container& container : network.containers) {
      for (const Mapping& mapping : plan_proxy(network, container)) {
        text += container.name + ": " + mapping.to_string() + "\n";
      }
    }
  }
  return text;
}

std::string all_text(const Networks& networks) {
  const RuleSet rules = plan(networks);
  std::string text = "# proxy\n" + proxies_text(networks);
  text += "# nftables\n" + nftables_change_text({}, rules);
  for (const Family family : {Family::v4, Family::v6}) {
    text += family == Family::v4 ? "# iptables\n" : "# ip6tables\n";
    text += iptables_change_text({}, iptables_tables(rules, family));
  }
  return text;
}

std::string flag(const char* name, bool value) { return std::string(value ? "," : ",no-") + name; }

TEST(RulePlanGolden, EveryModeIccAndMasquerade) {
  for (const Mode mode : {Mode::proxy, Mode::dnat, Mode::both}) {
    for (const bool icc : {true, false}) {
      for (const bool masquerade : {true, false}) {
        Networks networks = sample_networks(mode);
        networks[1].icc = icc;
        networks[1].masquerade = masquerade;
        ASSERT_EQ(check_networks(networks), Result<void>());
        expect_golden("mode=" + std::string(mode_name(mode)) + flag("icc", icc) +
                          flag("masquerade", masquerade) + ".txt",
                      all_text(networks));
      }
    }
  }
}

TEST(RulePlanGolden, Internal) {
  for (const bool icc : {true, false}) {
    Networks networks = sample_networks(Mode::both);
    networks[1].internal = true;
    networks[1].icc = icc;
    for (Container& container : networks[1].containers) container.ports.clear();
    ASSERT_EQ(check_networks(networks), Result<void>());
    expect_golden("internal" + flag("icc", icc) + ".txt", all_text(networks));
  }
}

TEST(RulePlanGolden, NftablesTable) { expect_golden("nftables-table.txt", nftables_load_text({})); }

TEST(RulePlanGolden, NoNetwork) { expect_golden("no-network.txt", all_text({})); }

}  // namespace
}  // namespace fairlead
