// The nftables back end: table `inet fairlead`, by libnftables.

#pragma once

#include <memory>

#include "netsetup/firewall/firewall.h"
#include "netsetup/firewall/nft_session.h"

namespace fairlead {

Result<std::unique_ptr<Firewall>> make_nftables_firewall();

/// Whether the kernel has all that the table needs: family inet with nat (5.2), intervals in
/// concatenations (5.6), counters of elements (5.7).
Result<void> try_out_nftables(NftSession& session);

/// Removes the table, if it is there. For the other back ends, which do not live beside it.
Result<void> remove_nftables();

}  // namespace fairlead
