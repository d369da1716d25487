// The addresses of this host.

#pragma once

#include <vector>

#include "proxy/mapping/ip_address.h"

namespace fairlead {

/// Of all interfaces of this network namespace, at this moment; empty when they cannot be had.
std::vector<IpAddress> own_addresses();

}  // namespace fairlead
