#include "proxy/relay/udp_flow.h"

#include <cassert>

namespace fairlead {
namespace {

in6_addr mapped(in_addr v4) {
  in6_addr address{};
  address.s6_addr[10] = 0xff;
  address.s6_addr[11] = 0xff;
  std::memcpy(&address.s6_addr[12], &v4, sizeof v4);
  return address;
}

in_addr unmapped(const in6_addr& v6) {
  in_addr address{};
  std::memcpy(&address, &v6.s6_addr[12], sizeof address);
  return address;
}

/// Control data comes unaligned as far as the compiler knows.
template <typename T>
T data_of(const cmsghdr* control) {
  T value{};
  std::memcpy(&value, CMSG_DATA(control), sizeof value);
  return value;
}

template <typename T>
std::size_t write_control(std::span<std::byte> control, int level, int type, const T& value) {
  assert(control.size() >= CMSG_SPACE(sizeof value));
  std::memset(control.data(), 0, CMSG_SPACE(sizeof value));
  cmsghdr header{};
  header.cmsg_len = CMSG_LEN(sizeof value);
  header.cmsg_level = level;
  header.cmsg_type = type;
  std::memcpy(control.data(), &header, sizeof header);
  std::memcpy(control.data() + CMSG_LEN(0), &value, sizeof value);
  return CMSG_SPACE(sizeof value);
}

}  // namespace

UdpFlow UdpFlow::of(const SocketAddress& client, const msghdr& message) {
  UdpFlow flow;
  if (client.family() == AF_INET) {
    flow.client = mapped(client.v4().sin_addr);
    flow.client_port = client.v4().sin_port;
  } else {
    flow.client = client.v6().sin6_addr;
    flow.client_port = client.v6().sin6_port;
    flow.client_scope_id = client.v6().sin6_scope_id;
  }
  auto* headers = const_cast<msghdr*>(&message);
  for (cmsghdr* control = CMSG_FIRSTHDR(headers); control != nullptr;
       control = CMSG_NXTHDR(headers, control)) {
    if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_PKTINFO) {
      // ipi_spec_dst, not ipi_addr: the same for unicast, and a usable source for the rest.
      const in_addr source = data_of<in_pktinfo>(control).ipi_spec_dst;
      if (source.s_addr != INADDR_ANY) flow.host = mapped(source);
    } else if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_PKTINFO) {
      const auto info = data_of<in6_pktinfo>(control);
      if (IN6_IS_ADDR_MULTICAST(&info.ipi6_addr)) continue;
      flow.host = info.ipi6_addr;
      if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) flow.host_interface = info.ipi6_ifindex;
    }
  }
  return flow;
}

SocketAddress UdpFlow::client_address(int family) const {
  const auto port = static_cast<in_port_t>(client_port);
  if (family == AF_INET) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = port;
    address.sin_addr = unmapped(client);
    return SocketAddress(address);
  }
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = port;
  address.sin6_addr = client;
  address.sin6_scope_id = client_scope_id;
  return SocketAddress(address);
}

std::size_t write_source_control(std::span<std::byte> control, const UdpFlow& flow, int family) {
  if (!flow.has_host()) return 0;
  if (family == AF_INET) {
    in_pktinfo info{};
    info.ipi_spec_dst = unmapped(flow.host);
    return write_control(control, IPPROTO_IP, IP_PKTINFO, info);
  }
  in6_pktinfo info{};
  info.ipi6_addr = flow.host;
  info.ipi6_ifindex = flow.host_interface;
  return write_control(control, IPPROTO_IPV6, IPV6_PKTINFO, info);
}

}  // namespace fairlead
