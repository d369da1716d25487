#include "netsetup/proxies/port_probe.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <bitset>
#include <cerrno>
#include <cstring>

#include "proxy/net/file_descriptor.h"

namespace fairlead {
namespace {

/// By protocol and number: those that are ours already, whoever is behind them.
using PortNumbers = std::array<std::bitset<65536>, 3>;

PortNumbers published_numbers(const Networks& networks) {
  PortNumbers numbers;
  for (const Network& network : networks) {
    for (const Container& container : network.containers) {
      for (const PublishedPort& port : container.ports) {
        for (std::uint32_t i = 0; i < port.host_ports.size(); ++i) {
          numbers[static_cast<std::size_t>(port.protocol)].set(port.host_ports.first + i);
        }
      }
    }
  }
  return numbers;
}

/// 0, or the errno of the step that failed.
int try_bind(Protocol protocol, const IpAddress& address, bool both_families, std::uint32_t port) {
  const int family = address.is_v4() ? AF_INET : AF_INET6;
  const int type = protocol == Protocol::udp ? SOCK_DGRAM : SOCK_STREAM;
  const int number = protocol == Protocol::sctp ? IPPROTO_SCTP : 0;
  const FileDescriptor fd(::socket(family, type | SOCK_CLOEXEC, number));
  if (!fd) return errno;
  const int on = 1;
  const int v6_only = both_families ? 0 : 1;
  // As the proxy does: without it every connection that has just ended would be in the way.
  if (protocol != Protocol::udp) {
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  }
  if (address.is_v4()) {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_port = htons(static_cast<std::uint16_t>(port));
    std::memcpy(&name.sin_addr, address.bytes().data(), sizeof(name.sin_addr));
    return ::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof(name)) == 0 ? 0 : errno;
  }
  ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof(v6_only));
  sockaddr_in6 name{};
  name.sin6_family = AF_INET6;
  name.sin6_port = htons(static_cast<std::uint16_t>(port));
  std::memcpy(&name.sin6_addr, address.bytes().data(), sizeof(name.sin6_addr));
  return ::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof(name)) == 0 ? 0 : errno;
}

int probe(const PublishedPort& port, std::uint32_t number) {
  if (port.host_ip) return try_bind(port.protocol, *port.host_ip, false, number);
  const int both = try_bind(port.protocol, IpAddress::any(Family::v6), true, number);
  if (both != EAFNOSUPPORT && both != EADDRNOTAVAIL) return both;
  return try_bind(port.protocol, IpAddress::any(Family::v4), false, number);
}

Result<void> probe_port(const Network& network, const Container& container,
                        const PublishedPort& port, const PortNumbers& ours) {
  for (std::uint32_t i = 0; i < port.host_ports.size(); ++i) {
    const std::uint32_t number = port.host_ports.first + i;
    if (ours[static_cast<std::size_t>(port.protocol)].test(number)) continue;
    const int error = probe(port, number);
    const std::string what =
        fmt::format("network {}: container {}: {}", network.name, container.name, port.to_string());
    if (error == EADDRINUSE) {
      return failed(
          fmt::format("{}: port {} of the host is in use by another program: see ss "
                      "-lntup",
                      what, number));
    }
    // Where no socket is to be bound, the address may come later.
    if (error == EADDRNOTAVAIL && network.mode == Mode::dnat) continue;
    if (error == EADDRNOTAVAIL && port.host_ip) {
      return failed(what + ": " + port.host_ip->to_string() + " is no address of this host");
    }
    if (error == EPROTONOSUPPORT && network.mode == Mode::dnat) continue;
    if (error != 0) return failed(fmt::format("{}: bind port {}", what, number), error);
  }
  return {};
}

}  // namespace

Result<void> probe_new_ports(const Networks& from, const Networks& to) {
  const PortNumbers ours = published_numbers(from);
  for (const Network& network : to) {
    for (const Container& container : network.containers) {
      for (const PublishedPort& port : container.ports) {
        if (auto probed = probe_port(network, container, port, ours); !probed) return probed;
      }
    }
  }
  return {};
}

}  // namespace fairlead
