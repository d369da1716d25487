// What must hold for the desired state before anything is done for it.

#pragma once

#include "netsetup/network/network.h"
#include "proxy/mapping/error.h"

namespace fairlead {

/// Names and interface names are legal and unique, subnets do not overlap, addresses lie where they
/// may and are no one else's, allowed networks exist, published ports do not meet one another, and
/// each can be served in its network's mode. The error names the objects. O(n log n) in ports.
Result<void> check_networks(const Networks& networks);

}  // namespace fairlead
