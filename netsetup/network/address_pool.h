// Which addresses and subnets are free. Pure: what is in use is given.

#pragma once

#include <span>

#include "netsetup/network/network.h"
#include "proxy/mapping/error.h"

namespace fairlead {

/// The lowest address of the network's subnet of that family (of its ip-range, where that is of
/// the family) that is not the network or broadcast address, the gateway, or a container's.
/// Error: no subnet of the family, or none left.
Result<IpAddress> next_free_address(const Network& network, Family family);

/// Whether a container may be given this very address: within a subnet of the network, though not
/// necessarily in its ip-range, and none of the addresses that next_free_address() passes over.
Result<void> check_free_address(const Network& network, const IpAddress& address);

/// The first address of the subnet that a host can have.
IpAddress default_gateway(const Subnet& subnet);

/// An IPv4 /24 for a network that names no subnet: the first of 10.210.0.0/16, 10.211.0.0/16 and
/// 172.31.0.0/16 that overlaps nothing in `taken`: subnets of other networks and the host's routes.
Result<Subnet> pick_subnet(std::span<const Subnet> taken);

}  // namespace fairlead
