// What each command makes of the desired state. Pure; nothing changes after an error.
//
// Asking for what is so already changes nothing, so that a command that was cut short may be given
// again. Whether the result holds together is for check_networks().

#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "netsetup/network/network.h"
#include "proxy/mapping/error.h"

namespace fairlead {

/// `wanted` may be open where complete_network() fills in; `taken` are the host's routes. Error: it
/// is there already with other settings.
Result<void> create_network(Networks& networks, Network wanted, std::span<const Subnet> taken);
/// With its containers.
Result<void> remove_network(Networks& networks, std::string_view name);

/// `wanted` with the namespace's inode, and open where complete_network() fills in; an empty
/// `ifname` is eth0. A container that is there already may come back in another namespace, and
/// keeps its addresses and ports. Error: it is there with other addresses than those asked for.
Result<void> attach_container(Networks& networks, std::string_view network, Container wanted);
Result<void> detach_container(Networks& networks, std::string_view network,
                              std::string_view container);

Result<void> publish_ports(Networks& networks, std::string_view network, std::string_view container,
                           std::span<const PublishedPort> ports);
/// No ports: all of them. Error: one is not published.
Result<void> unpublish_ports(Networks& networks, std::string_view network,
                             std::string_view container, std::span<const PublishedPort> ports);

/// A whole desired state: `wanted`, completed with what `networks` has and with free subnets.
Result<void> replace_networks(Networks& networks, Networks wanted, std::span<const Subnet> taken);

}  // namespace fairlead
