// How a service's answers to an address that its network namespace does not have find their way
// back to the proxy's socket in that namespace.
//
// Whatever the proxy's socket sends bears a mark, and the service's answers get the same mark:
//
//   TCP            the accepted socket takes the mark over (net.ipv4.tcp_fwmark_accept);
//   UDP            the connection tracking of the namespace remembers it (two rules of nftables);
//   resets, ICMP   the kernel reflects it (net.ipv4.fwmark_reflect, net.ipv6.fwmark_reflect).
//
// A routing rule leads what is marked and comes from the service's address to a table of its own,
// in which every address is local. So it goes over `lo` and to the socket that is bound to that
// address; nothing else matches. What the proxy sends is marked and comes from elsewhere: if the
// container's address goes away, it finds no route and the proxy learns of it.
//
// All of it lies in the container's namespace and leads nowhere but to that namespace's own `lo`.
// It is set up as often as one likes and stays there when the proxy goes: without marked packets it
// does nothing.

#pragma once

#include "proxy/mapping/error.h"
#include "proxy/mapping/ip_address.h"

namespace fairlead {

/// The mark, and the number of the routing table: something that nobody else takes.
inline constexpr int kReturnMark = 0x7a171ead;

/// For TCP, and for what the kernel answers itself, of a service at this address. In the namespace
/// that the calling thread is in. Needs CAP_NET_ADMIN there, and /proc/sys/net that can be written
/// to.
Result<void> set_up_return_path(const IpAddress& service);

/// For UDP, in addition: a table of nftables, `inet fairlead_return`. From then on the connections
/// of the namespace are tracked.
Result<void> set_up_datagram_return_path();

}  // namespace fairlead
