#include "netsetup/proxies/port_probe.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <bitset>
#include <cerrno>
#include <cstring>
#include <optional>
#include <set>

#include "netsetup/proxies/listening_sockets.h"
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

/// The host's sockets of the protocols that were asked for, read once each, all at one time:
/// binding a socket to each of ten thousand ports took 60 ms, the list of sockets takes less than
/// one.
class HostSockets {
 public:
  /// A socket that meets `port` and has a number that is not ours, if any: the one with the lowest.
  Result<std::optional<std::uint16_t>> meeting(const PublishedPort& port, const PortNumbers& ours) {
    const auto index = static_cast<std::size_t>(port.protocol);
    std::optional<std::vector<LocalSocket>>& sockets = sockets_[index];
    if (!sockets) {
      auto listed = listening_sockets(port.protocol);
      if (!listed) return std::unexpected(listed.error());
      std::ranges::sort(*listed, {}, &LocalSocket::port);
      sockets = std::move(*listed);
    }
    auto socket = std::ranges::lower_bound(*sockets, port.host_ports.first, {}, &LocalSocket::port);
    for (; socket != sockets->end() && socket->port <= port.host_ports.last; ++socket) {
      if (ours[index].test(socket->port)) continue;
      if (host_addresses_overlap(port.host_ip, socket->address)) return socket->port;
    }
    return std::nullopt;
  }

 private:
  std::array<std::optional<std::vector<LocalSocket>>, 3> sockets_;
};

/// Whether a socket can have the address; the kernel's word, since that depends on more than on the
/// addresses of interfaces.
bool can_bind(const IpAddress& address) {
  const FileDescriptor fd(
      ::socket(address.is_v4() ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (address.is_v4()) {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    std::memcpy(&name.sin_addr, address.bytes().data(), sizeof(name.sin_addr));
    return ::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof(name)) == 0;
  }
  sockaddr_in6 name{};
  name.sin6_family = AF_INET6;
  std::memcpy(&name.sin6_addr, address.bytes().data(), sizeof(name.sin6_addr));
  return ::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof(name)) == 0;
}

bool is_ours(const PublishedPort& port, const PortNumbers& ours) {
  for (std::uint32_t i = 0; i < port.host_ports.size(); ++i) {
    if (!ours[static_cast<std::size_t>(port.protocol)].test(port.host_ports.first + i)) {
      return false;
    }
  }
  return true;
}

std::unexpected<Error> refused(const Network& network, const Container& container,
                               const PublishedPort& port, const std::string& reason) {
  return failed(fmt::format("network {}: container {}: {}: {}", network.name, container.name,
                            port.to_string(), reason));
}

}  // namespace

Result<void> probe_new_ports(const Networks& from, const Networks& to) {
  const PortNumbers ours = published_numbers(from);
  HostSockets sockets;
  std::set<IpAddress> bindable;
  for (const Network& network : to) {
    for (const Container& container : network.containers) {
      for (const PublishedPort& port : container.ports) {
        if (is_ours(port, ours)) continue;
        const auto taken = sockets.meeting(port, ours);
        if (!taken) return std::unexpected(taken.error());
        if (const std::optional<std::uint16_t>& number = *taken; number) {
          return refused(network, container, port,
                         fmt::format("port {} of the host is in use by another program: see ss "
                                     "-lntup",
                                     *number));
        }
        // Where no socket is to be bound, the address may come later.
        if (network.mode == Mode::dnat || !port.host_ip || bindable.contains(*port.host_ip)) {
          continue;
        }
        if (!can_bind(*port.host_ip)) {
          return refused(network, container, port,
                         port.host_ip->to_string() + " is no address of this host");
        }
        bindable.insert(*port.host_ip);
      }
    }
  }
  return {};
}

}  // namespace fairlead
