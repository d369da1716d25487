// Finding one rule among thousands where rules can only be tried in turn: iptables.

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/mapping/port_range.h"
#include "proxy/mapping/protocol.h"

namespace fairlead {

/// A rule that concerns some destination ports of one protocol.
struct PortRule {
  Protocol protocol = Protocol::tcp;
  PortRange ports;
  /// As after `-A CHAIN`, complete with its matches.
  std::string text;
};

/// Chains by name, each a list of rules as after `-A CHAIN`.
using ChainRules = std::map<std::string, std::vector<std::string>>;

constexpr std::size_t kPortTreeFanOut = 16;

/// Hangs `rules` below chain `root`, whose own rules come first, as a tree over the port space:
/// where more than kPortTreeFanOut rules share a chain, each of the sixteen equal parts of its
/// ports that has any rule is a chain of its own, named ROOT-p-FIRST (p: t, u or s for the
/// protocol; FIRST: its first port in hex, and the bits it spans). A rule stays at the deepest
/// chain whose ports enclose its own. With single ports a packet meets at most 3 + 4 * 16 +
/// kPortTreeFanOut rules, whatever their number; and a rule more changes one chain, or adds a level
/// below one.
void add_port_tree(ChainRules& chains, std::string_view root, const std::vector<PortRule>& rules);

}  // namespace fairlead
