// The addresses of this host.

#pragma once

#include <vector>

#include "proxy/mapping/ip_address.h"

namespace fairlead {

/// Of all interfaces of this network namespace, at this moment; empty when they cannot be had.
std::vector<IpAddress> own_addresses();

/// Which of them the kernel takes as the source of what is sent to `address`; the unspecified
/// address of its family when there is no way there.
IpAddress own_address_towards(const IpAddress& address);

}  // namespace fairlead
