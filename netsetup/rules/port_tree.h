// Finding one rule among thousands where rules can only be tried in turn: iptables.

#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "netsetup/rules/rule_set.h"

namespace fairlead {

/// What the tree finds by protocol and host port. They must outlive its making.
using TreeTranslations = std::vector<const Translation*>;

/// The rule for one of them as after `-A CHAIN`, complete with its matches.
using TranslationRule = std::string (*)(const Translation& translation);

/// Chains by name, each a list of rules as after `-A CHAIN`.
using ChainRules = std::map<std::string, std::vector<std::string>>;

constexpr std::size_t kPortTreeFanOut = 16;

/// Hangs a rule for each translation below chain `root`, whose own rules come first, as a tree over
/// the port space: where more than kPortTreeFanOut rules share a chain, each of the sixteen equal
/// parts of its ports that has any rule is a chain of its own, named ROOT-p-FIRST (p: t, u or s for
/// the protocol; FIRST: its first port in hex, and the bits it spans). A rule stays at the deepest
/// chain whose ports enclose its own. With single ports a packet meets at most 3 + 4 * 16 +
/// kPortTreeFanOut rules, whatever their number; and a rule more changes one chain, or adds a level
/// below one.
///
/// `like`: another tree below the same root, or nullptr; a chain below the root that is the same in
/// both with all that it leads to is left out, and none of its rules are written down.
void add_port_tree(ChainRules& chains, std::string_view root, const TreeTranslations& translations,
                   TranslationRule rule, const TreeTranslations* like);

}  // namespace fairlead
