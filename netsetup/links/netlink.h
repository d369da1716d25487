// libnl's objects with owners, and its errors as ours.

#pragma once

#include <netlink/addr.h>
#include <netlink/cache.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/route.h>

#include <memory>
#include <string>
#include <string_view>

#include "proxy/mapping/error.h"
#include "proxy/mapping/ip_address.h"
#include "proxy/mapping/subnet.h"

namespace fairlead {

template <auto release>
struct Releaser {
  template <typename T>
  void operator()(T* object) const {
    release(object);
  }
};

using SocketHandle = std::unique_ptr<nl_sock, Releaser<nl_socket_free>>;
using LinkHandle = std::unique_ptr<rtnl_link, Releaser<rtnl_link_put>>;
using AddressHandle = std::unique_ptr<rtnl_addr, Releaser<rtnl_addr_put>>;
using RouteHandle = std::unique_ptr<rtnl_route, Releaser<rtnl_route_put>>;
using CacheHandle = std::unique_ptr<nl_cache, Releaser<nl_cache_free>>;
using MessageHandle = std::unique_ptr<nl_msg, Releaser<nlmsg_free>>;
using NetlinkAddress = std::unique_ptr<nl_addr, Releaser<nl_addr_put>>;

/// A netlink socket of the network namespace that the calling thread is in; it stays one of that
/// namespace whatever the thread enters later. `protocol` as NETLINK_ROUTE. Receiving from it ends
/// with NLE_AGAIN after kAnswerSeconds: libnl goes on to wait for an answer to some requests that
/// it could not send.
Result<SocketHandle> open_netlink(int protocol);

/// One of NETLINK_ROUTE.
inline Result<SocketHandle> open_route_netlink() { return open_netlink(NETLINK_ROUTE); }
/// Makes sockets as open_route_netlink() does, or ones that are scripted.
using SocketSource = Result<SocketHandle> (*)();

/// The kernel answers while it takes the request, or begins to; more than long enough.
inline constexpr int kAnswerSeconds = 10;

/// `<step>: <libnl's text>`. REQUIRES: code < 0, one of libnl's.
std::unexpected<Error> netlink_failed(std::string_view step, int code);

NetlinkAddress netlink_address(const IpAddress& address);
NetlinkAddress netlink_address(const Subnet& subnet);
/// 0.0.0.0 for what is no IP address.
IpAddress ip_address(const nl_addr* address);

}  // namespace fairlead
