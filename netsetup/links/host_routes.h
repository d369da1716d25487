// Where the host's routes lead, and which bridges are others': what networks of ours have to keep
// clear of. In the network namespace that the calling thread is in; needs no privilege.

#pragma once

#include <string>
#include <vector>

#include "netsetup/links/netlink.h"
#include "proxy/mapping/error.h"
#include "proxy/mapping/subnet.h"

namespace fairlead {

/// A route of the host, less default routes.
struct HostRoute {
  Subnet destination;
  /// Empty where it has none. A route with several is several of these.
  std::string interface;
};

/// Of every table.
Result<std::vector<HostRoute>> host_routes(SocketSource open_socket = open_route_netlink);
/// The interfaces with a default route, sorted.
Result<std::vector<std::string>> uplinks(SocketSource open_socket = open_route_netlink);
/// Bridges of others, sorted: all but these and the uplinks.
Result<std::vector<std::string>> other_bridges(const std::vector<std::string>& own,
                                               SocketSource open_socket = open_route_netlink);

}  // namespace fairlead
