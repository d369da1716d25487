// A RuleSet as input of iptables-restore(8) and ip6tables-restore(8).

#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "netsetup/rules/port_tree.h"
#include "netsetup/rules/rule_set.h"

namespace fairlead {

/// What the user puts in it is never touched.
constexpr std::string_view kIptablesUserChain = "FAIRLEAD-USER";

/// Tables by name ("filter", "nat", "raw"), each with all of our chains and no one else's; the
/// rules are written as iptables-save prints them, so that the two can be compared.
using IptablesTables = std::map<std::string, ChainRules>;

/// `other_bridges`: what is on them is for the rules of others to protect; see the head of
/// iptables_text.cpp. `like`, where it is given: chains of published ports that are the same for it
/// are left out, so that for a change from one rule set to the other little more is written down
/// than what differs.
IptablesTables iptables_tables(const RuleSet& rules, Family family, const RuleSet* like = nullptr,
                               const std::vector<std::string>& other_bridges = {});

/// A rule of a built-in chain that leads to one of ours, always the first of its chain.
struct IptablesHook {
  std::string_view table;
  std::string_view chain;
  /// As after `-A CHAIN`.
  std::string_view rule;
};

/// The hooks of every rule set; fixed.
const std::vector<IptablesHook>& iptables_hooks();

/// Why a rule of ours drops packets, from its comment; nothing for other rules.
std::optional<std::string_view> iptables_drop_reason(std::string_view rule);

/// What iptables-save shows of ours: our chains, and the hooks that are there.
struct IptablesPresent {
  IptablesTables tables;
  /// Indices into iptables_hooks(); one twice if it is there twice.
  std::vector<std::size_t> hooks;
};

/// The text of iptables-save, all tables, without counters.
IptablesPresent parse_iptables_save(std::string_view text);

/// Input for `iptables-restore --noflush` that turns `present` into `wanted`, writing anew only the
/// chains that differ, or of nat only what such a chain has more, removing the ones that are too
/// many, and hooking each chain once. FAIRLEAD-USER is made where it is missing and otherwise left
/// alone. A table fails as a whole where a hook of `present` is not there. Empty: nothing to do.
std::string iptables_change_text(const IptablesPresent& present, const IptablesTables& wanted);

/// What a completed change leaves: `wanted`, hooked.
IptablesPresent iptables_all_present(const IptablesTables& wanted);

/// Input that removes the hooks and every chain of ours but FAIRLEAD-USER, which goes too if it is
/// empty. Empty: nothing of ours is there.
std::string iptables_remove_text(const IptablesPresent& present);

}  // namespace fairlead
