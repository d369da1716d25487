// Who speaks with whom on a published UDP port.

#pragma once

#include <netinet/in.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "proxy/net/socket_address.h"

namespace fairlead {

/// What tells one UDP session from another: the client, and the address of this host that replies
/// to it leave from. IPv4 addresses are kept in IPv6's mapped form, so that there is one form.
struct UdpFlow {
  in6_addr client{};
  /// The address the client wrote to. Where that cannot be a source, the one that the kernel
  /// suggests (IPv4 broadcast and multicast), or all zeros, which leaves the choice to the kernel
  /// (IPv6 multicast, and sockets that do not tell).
  in6_addr host{};
  /// Which link a link-local client is on.
  std::uint32_t client_scope_id = 0;
  /// Which link a link-local `host` belongs to; 0 for all others, as a reply may leave by another
  /// interface than the one its request came in by.
  std::uint32_t host_interface = 0;
  /// Network byte order. 32 bits, to leave no padding in a key that is hashed as memory.
  std::uint32_t client_port = 0;

  /// From a message received with IP_PKTINFO or IPV6_RECVPKTINFO set.
  static UdpFlow of(const SocketAddress& client, const msghdr& message);

  /// The client's address in the form that a socket of `family` takes.
  SocketAddress client_address(int family) const;

  bool has_host() const { return !IN6_IS_ADDR_UNSPECIFIED(&host); }

  bool operator==(const UdpFlow& other) const {
    return std::memcmp(this, &other, sizeof *this) == 0;
  }
};

static_assert(std::is_trivially_copyable_v<UdpFlow> && sizeof(UdpFlow) == 44);

/// Room for the control message that sets the source address of a datagram, of either family.
inline constexpr std::size_t kSourceControlBytes = CMSG_SPACE(sizeof(in6_pktinfo));

/// Writes that control message for a socket of `family` and returns its size; 0 when the flow
/// leaves the choice to the kernel. REQUIRES: aligned as cmsghdr, kSourceControlBytes long.
std::size_t write_source_control(std::span<std::byte> control, const UdpFlow& flow, int family);

}  // namespace fairlead
