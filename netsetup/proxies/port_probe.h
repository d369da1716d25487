// Whether something else on this host listens where a port is to be published.

#pragma once

#include "netsetup/network/network.h"
#include "proxy/mapping/error.h"

namespace fairlead {

/// Looks for a socket on each port that is published in `to` and by nobody in `from`, and where a
/// proxy is to bind, whether the host has the address. The error names the published port, and what
/// to do. It can only say what is so now: whoever takes a port later makes the proxy fail to start.
Result<void> probe_new_ports(const Networks& from, const Networks& to);

}  // namespace fairlead
