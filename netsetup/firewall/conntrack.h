// What the kernel remembers of flows that began before a port was published or unpublished.

#pragma once

#include <span>

#include "netsetup/network/published_port.h"
#include "proxy/mapping/error.h"

namespace fairlead {

/// Forgets the UDP flows to these host ports (ports of other protocols are passed over), whose
/// datagrams would go on where they went before: rules of translation are asked once for a flow,
/// and one that never pauses would never meet the new ones. To be called after the rules have
/// changed. Needs CAP_NET_ADMIN.
Result<void> forget_udp(std::span<const PublishedPort> ports);

}  // namespace fairlead
