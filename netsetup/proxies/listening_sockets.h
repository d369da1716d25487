// What listens on this host.

#pragma once

#include <linux/netlink.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "proxy/mapping/error.h"
#include "proxy/mapping/ip_address.h"
#include "proxy/mapping/protocol.h"

namespace fairlead {

struct LocalSocket {
  /// Where it is on this host. Nothing: all addresses of the host, IPv4 and IPv6.
  std::optional<IpAddress> address;
  std::uint16_t port = 0;
};

/// The sockets of this network namespace that take what comes for `protocol`: for TCP and SCTP
/// those that listen, for UDP those that are bound and not connected. In no order. Needs no
/// privilege. Empty where the kernel cannot tell (inet_diag of the protocol is not there).
Result<std::vector<LocalSocket>> listening_sockets(Protocol protocol);

/// The socket of one answer of sock_diag(7). Nothing: it is none.
std::optional<LocalSocket> read_socket(nlmsghdr& answer);

}  // namespace fairlead
