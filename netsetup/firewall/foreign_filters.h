// What the rules of others do with forwarded packets that they do not know: where they drop them,
// an accept of ours counts only in the same chain.

#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "netsetup/firewall/nft_session.h"
#include "netsetup/rules/rule_set.h"

namespace fairlead {

/// A chain of others, in the hook of forwarded packets, that drops what no rule of it accepts.
struct ForeignFilter {
  enum class Kind : std::uint8_t {
    /// Chain FORWARD of iptables or ip6tables, kept in nf_tables.
    iptables_nft,
    /// The same, in the old tables.
    iptables_legacy,
    /// A chain of any other nftables table.
    nftables,
  };

  Kind kind = Kind::nftables;
  /// As "table inet filter, chain forward".
  std::string place;

  bool operator==(const ForeignFilter&) const = default;
};

/// `objects`: chains and rules in the form of libnftables-json(5). What concerns only a family that
/// `rules` has no prefix of is left out.
std::vector<ForeignFilter> nft_foreign_filters(const nlohmann::json& objects, const RuleSet& rules);

/// Whether chain FORWARD in the output of iptables-save drops what no rule of it accepts.
bool forward_drops(std::string_view iptables_save);

/// Of this network namespace.
Result<std::vector<ForeignFilter>> foreign_filters(NftSession& session, const RuleSet& rules);

}  // namespace fairlead
