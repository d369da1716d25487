#include "proxy/dial/source_address.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

#include "proxy/dial/return_path.h"
#include "proxy/mapping/error.h"
#include "proxy/net/socket_address.h"

namespace fairlead {
namespace {

constexpr std::uint16_t kFirstUnprivilegedPort = 1024;

/// fe80::/10: an address of one link, which is not the container's.
bool is_link_local(const IpAddress& address) {
  const auto bytes = address.bytes();
  return !address.is_v4() && bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
}

BindOutcome failure(std::string_view call, int result) {
  Error error = errno_error(call, -result);
  if (result == -EPERM) error.message += " (this takes CAP_NET_ADMIN)";
  return {Bound::failed, std::move(error.message)};
}

}  // namespace

std::string_view obstacle_to_keeping(const IpAddress& client, Family container) {
  if (client.is_loopback()) return "on the loopback of the host";
  if (is_link_local(client)) return "with a link-local address";
  if (client.family() != container) {
    return container == Family::v4 ? "that speaks IPv6 to an IPv4 container"
                                   : "that speaks IPv4 to an IPv6 container";
  }
  if (client.is_unspecified() || client.is_multicast()) return "without an address";
  return {};
}

BindOutcome bind_foreign(Engine& engine, int fd, bool is_stream, const Endpoint& source) {
  const Endpoint any_port{source.ip, 0};
  // Only an address of the namespace itself can be bound so. This asks the kernel, each time: a
  // container gets further addresses when it is connected to further networks.
  const int own = engine.bind(fd, SocketAddress(any_port));
  if (own == 0) return {Bound::own_address};
  if (own != -EADDRNOTAVAIL) return failure("bind", own);

  const bool v4 = source.ip.is_v4();
  if (const int result = engine.set_option(fd, SOL_SOCKET, SO_MARK, kReturnMark); result < 0) {
    return failure("set SO_MARK", result);
  }
  if (const int result = v4 ? engine.set_option(fd, IPPROTO_IP, IP_TRANSPARENT, 1)
                            : engine.set_option(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1);
      result < 0) {
    return failure(v4 ? "set IP_TRANSPARENT" : "set IPV6_TRANSPARENT", result);
  }
  int bound = -EADDRINUSE;
  if (source.port >= kFirstUnprivilegedPort) bound = engine.bind(fd, SocketAddress(source));
  if (bound == -EADDRINUSE) {
    // Let connect() choose the port, among those that are free for this backend.
    if (is_stream) engine.set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    bound = engine.bind(fd, SocketAddress(any_port));
  }
  if (bound < 0) return failure("bind to " + source.ip.to_string(), bound);
  // Not before bind(), which would then not find out that the port is taken. A service that
  // listens with SO_REUSEADDR, as nearly all do, can bind a port that a client has.
  if (is_stream) engine.set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  return {};
}

}  // namespace fairlead
