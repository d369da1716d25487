// The desired state: what a host's container networks should be. Plain values, nothing of the
// kernel; netsetup/network/document.h writes and reads them as JSON.

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "netsetup/network/mac_address.h"
#include "netsetup/network/published_port.h"
#include "proxy/mapping/subnet.h"

namespace fairlead {

/// How published ports of a network are served.
enum class Mode : std::uint8_t {
  /// Each one is a listening socket of fairlead-proxy; no nat rule at all for published ports.
  proxy,
  /// The kernel translates addresses for every client, with hairpin; no process.
  dnat,
  /// The kernel for remote clients; the proxy for loopback, own-bridge and IPv6-to-IPv4 clients.
  both,
};

/// How the host is made to route for a network.
enum class Forwarding : std::uint8_t {
  /// net.ipv4.ip_forward and net.ipv6.conf.all.forwarding.
  all,
  /// net.ipv4.conf.IF.forwarding of the bridge and of the interfaces that lead out.
  interface,
};

constexpr std::string_view mode_name(Mode mode) {
  switch (mode) {
    case Mode::proxy:
      return "proxy";
    case Mode::dnat:
      return "dnat";
    case Mode::both:
      return "both";
  }
  return "";
}

constexpr std::optional<Mode> parse_mode(std::string_view name) {
  for (Mode mode : {Mode::proxy, Mode::dnat, Mode::both}) {
    if (name == mode_name(mode)) return mode;
  }
  return std::nullopt;
}

constexpr std::string_view forwarding_name(Forwarding forwarding) {
  return forwarding == Forwarding::all ? "all" : "interface";
}

constexpr std::optional<Forwarding> parse_forwarding(std::string_view name) {
  for (Forwarding forwarding : {Forwarding::all, Forwarding::interface}) {
    if (name == forwarding_name(forwarding)) return forwarding;
  }
  return std::nullopt;
}

/// A process is known by its pid and the moment it began, since pids are used again.
struct ProxyProcess {
  pid_t pid = 0;
  /// Field 22 of /proc/PID/stat: clock ticks since boot.
  std::uint64_t start_time = 0;

  bool operator==(const ProxyProcess&) const = default;
};

/// A network namespace that is connected to a network.
struct Container {
  std::string name;
  /// A file that names the namespace, as /run/netns/c1 or /proc/123/ns/net.
  std::string netns;
  /// The namespace's inode number when it was attached: the file may come to name another one.
  std::uint64_t netns_inode = 0;
  /// The name of the link inside the namespace, and of its other end on the host.
  std::string ifname = "eth0";
  std::string host_ifname;
  MacAddress mac;
  /// At most one of each family, each within a subnet of the network.
  std::vector<IpAddress> addresses;
  /// Sorted.
  std::vector<PublishedPort> ports;
  std::optional<ProxyProcess> proxy;
  /// Those that served before and have handed over: each ends with its last connection.
  std::vector<ProxyProcess> draining;

  std::optional<IpAddress> address(Family family) const {
    for (const IpAddress& candidate : addresses) {
      if (candidate.family() == family) return candidate;
    }
    return std::nullopt;
  }

  bool operator==(const Container&) const = default;
};

struct Network {
  std::string name;
  std::string bridge;
  /// The bridge was there before the network and stays when the network goes.
  bool adopted = false;
  /// At most one of each family, and the host's address in each, in the same order.
  std::vector<Subnet> subnets;
  std::vector<IpAddress> gateways;
  /// Where automatic addresses of its family are taken from; nothing: the whole subnet.
  std::optional<Subnet> ip_range;
  std::optional<std::uint32_t> mtu;
  /// No way out and no way in but from the host itself.
  bool internal = false;
  /// Containers of the network reach each other's ports directly, published or not.
  bool icc = true;
  bool masquerade = true;
  /// Networks whose containers may open connections to containers of this one.
  std::vector<std::string> allow_networks;
  /// Host address of ports that are published without one.
  std::optional<IpAddress> host_binding;
  Mode mode = Mode::both;
  Forwarding forwarding = Forwarding::all;
  std::vector<Container> containers;

  std::optional<std::size_t> subnet_index(Family family) const {
    for (std::size_t i = 0; i < subnets.size(); ++i) {
      if (subnets[i].family() == family) return i;
    }
    return std::nullopt;
  }

  bool operator==(const Network&) const = default;
};

/// Every network of a host, ordered by name.
using Networks = std::vector<Network>;

inline const Network* find_network(const Networks& networks, std::string_view name) {
  for (const Network& network : networks) {
    if (network.name == name) return &network;
  }
  return nullptr;
}

inline Network* find_network(Networks& networks, std::string_view name) {
  for (Network& network : networks) {
    if (network.name == name) return &network;
  }
  return nullptr;
}

template <typename NetworkType>
auto* find_container(NetworkType& network, std::string_view name) {
  for (auto& container : network.containers) {
    if (container.name == name) return &container;
  }
  return static_cast<decltype(&network.containers.front())>(nullptr);
}

}  // namespace fairlead
