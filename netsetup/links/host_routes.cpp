#include "netsetup/links/host_routes.h"

#include <net/if.h>
#include <netlink/route/link/bridge.h>
#include <netlink/route/nexthop.h>

#include <algorithm>
#include <array>

namespace fairlead {
namespace {

using InterfaceName = std::array<char, IF_NAMESIZE>;

std::string interface_name(int index) {
  InterfaceName name{};
  return ::if_indextoname(static_cast<unsigned>(index), name.data()) != nullptr ? name.data() : "";
}

/// Calls `use` for each way of each route of every table: destination, type and interface.
template <typename Use>
Result<void> for_each_route(SocketSource open_socket, const Use& use) {
  const auto socket = open_socket();
  if (!socket) return std::unexpected(socket.error());
  // Not rtnl_route_alloc_cache(), which loses the cache where the answer breaks off (libnl 3.7).
  nl_cache* empty = nullptr;
  if (const int code = nl_cache_alloc_name("route/route", &empty); code < 0) {
    return netlink_failed("list routes", code);
  }
  const CacheHandle cache(empty);
  if (const int code = nl_cache_refill(socket->get(), cache.get()); code < 0) {
    return netlink_failed("list routes", code);
  }
  for (nl_object* object = nl_cache_get_first(cache.get()); object != nullptr;
       object = nl_cache_get_next(object)) {
    auto* route = reinterpret_cast<rtnl_route*>(object);
    const int family = rtnl_route_get_family(route);
    if (family != AF_INET && family != AF_INET6) continue;
    const nl_addr* destination = rtnl_route_get_dst(route);
    if (destination == nullptr) continue;
    const unsigned length = nl_addr_get_prefixlen(destination);
    const Family ip_family = family == AF_INET ? Family::v4 : Family::v6;
    const IpAddress ip =
        nl_addr_get_len(destination) == 0 ? IpAddress::any(ip_family) : ip_address(destination);
    const int type = rtnl_route_get_type(route);
    const int hops = rtnl_route_get_nnexthops(route);
    if (hops == 0) use(Subnet(ip, length), type, "");
    for (int hop = 0; hop < hops; ++hop) {
      const int index = rtnl_route_nh_get_ifindex(rtnl_route_nexthop_n(route, hop));
      use(Subnet(ip, length), type, interface_name(index));
    }
  }
  return {};
}

}  // namespace

Result<std::vector<HostRoute>> host_routes(SocketSource open_socket) {
  std::vector<HostRoute> routes;
  auto listed = for_each_route(
      open_socket, [&](const Subnet& destination, int /*type*/, const std::string& interface) {
        if (destination.length() > 0) routes.push_back({destination, interface});
      });
  if (!listed) return std::unexpected(listed.error());
  return routes;
}

Result<std::vector<std::string>> uplinks(SocketSource open_socket) {
  std::vector<std::string> interfaces;
  auto listed = for_each_route(
      open_socket, [&](const Subnet& destination, int type, const std::string& interface) {
        if (destination.length() == 0 && type == RTN_UNICAST && !interface.empty()) {
          interfaces.push_back(interface);
        }
      });
  if (!listed) return std::unexpected(listed.error());
  std::ranges::sort(interfaces);
  const auto again = std::ranges::unique(interfaces);
  interfaces.erase(again.begin(), again.end());
  return interfaces;
}

Result<std::vector<std::string>> other_bridges(const std::vector<std::string>& own,
                                               SocketSource open_socket) {
  const auto leading_out = uplinks(open_socket);
  if (!leading_out) return std::unexpected(leading_out.error());
  const auto socket = open_socket();
  if (!socket) return std::unexpected(socket.error());
  nl_cache* filled = nullptr;
  if (const int code = rtnl_link_alloc_cache(socket->get(), AF_UNSPEC, &filled); code < 0) {
    return netlink_failed("list interfaces", code);
  }
  const CacheHandle cache(filled);
  std::vector<std::string> bridges;
  for (nl_object* object = nl_cache_get_first(cache.get()); object != nullptr;
       object = nl_cache_get_next(object)) {
    auto* link = reinterpret_cast<rtnl_link*>(object);
    if (rtnl_link_is_bridge(link) == 0) continue;
    std::string name = rtnl_link_get_name(link);
    if (std::ranges::find(own, name) == own.end() &&
        std::ranges::find(*leading_out, name) == leading_out->end()) {
      bridges.push_back(std::move(name));
    }
  }
  std::ranges::sort(bridges);
  return bridges;
}

}  // namespace fairlead
