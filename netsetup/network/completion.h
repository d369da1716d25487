// What a person may leave open in a network, filled in.

#pragma once

#include <span>

#include "netsetup/network/network.h"
#include "proxy/mapping/error.h"

namespace fairlead {

/// Fills in the bridge's name, a subnet that overlaps nothing of `taken`, gateways, and of every
/// container the name of its link, an address of each family the network has, its MAC address, and
/// the host binding of its ports. What `present` has (null: the network is new) is kept wherever it
/// still fits, so that completing twice gives the same. Error: nothing is free, or a gateway lies
/// in no subnet. Whether it all holds together is for check_networks().
Result<void> complete_network(Network& network, const Network* present,
                              std::span<const Subnet> taken);

}  // namespace fairlead
