// A RuleSet in the language of nft(8), for libnftables.

#pragma once

#include <map>
#include <string>

#include "netsetup/rules/rule_set.h"

namespace fairlead {

/// The elements of table `inet fairlead`: set name -> key -> data (empty for a plain set). All that
/// depends on the rule set is here; the chains of the table are the same for every rule set.
using NftablesElements = std::map<std::string, std::map<std::string, std::string>>;

NftablesElements nftables_elements(const RuleSet& rules);

/// Every chain of the table but the user's, and how many rules it has.
std::map<std::string, std::size_t> nftables_chain_sizes();

/// One transaction that makes the table as it has to be, whatever was in it before; the chain
/// `user` is made where it is missing and otherwise left alone.
std::string nftables_load_text(const NftablesElements& elements);

/// One transaction that turns `from` into `to`, touching only the elements that differ; empty where
/// none does. It fails as a whole where the table is not what `from` says.
std::string nftables_change_text(const RuleSet& from, const RuleSet& to);

/// Removes the table. Fails where there is none.
std::string nftables_remove_text();

}  // namespace fairlead
