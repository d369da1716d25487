#include "netsetup/network/network_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string_view>
#include <tuple>

#include "netsetup/network/address_pool.h"
#include "netsetup/network/interface_names.h"

namespace fairlead {
namespace {

constexpr std::uint32_t kMinimumMtuV4 = 68;    // RFC 791
constexpr std::uint32_t kMinimumMtuV6 = 1280;  // RFC 8200, 5
constexpr std::uint32_t kMaximumMtu = 65535;   // what a bridge and a veth take

/// `network NAME: reason`
std::unexpected<Error> refused(const Network& network, std::string_view reason) {
  return failed(fmt::format("network {}: {}", network.name, reason));
}

Result<void> check_subnet(const Network& network, std::size_t index) {
  const Subnet& subnet = network.subnets[index];
  const IpAddress& gateway = network.gateways[index];
  const unsigned longest = address_bits(subnet.family()) - 2;
  if (subnet.length() > longest || subnet.length() < 8) {
    return refused(network, fmt::format("subnet {}: the prefix length is not 8 to {}",
                                        subnet.to_string(), longest));
  }
  const IpAddress& first = subnet.address();
  if (first.is_multicast() || first.is_loopback() || first.is_unspecified()) {
    return refused(network, fmt::format("subnet {} is not for hosts", subnet.to_string()));
  }
  if (!subnet.contains(gateway) || gateway == first ||
      (subnet.is_v4() && gateway == subnet.last())) {
    return refused(network, fmt::format("gateway {} is no host address of {}", gateway.to_string(),
                                        subnet.to_string()));
  }
  return {};
}

Result<void> check_addressing(const Network& network) {
  if (network.subnets.empty()) return refused(network, "no subnet");
  if (network.subnets.size() != network.gateways.size()) {
    return refused(network, "there must be one gateway for each subnet");
  }
  if (network.subnets.size() > 2 ||
      (network.subnets.size() == 2 && network.subnets[0].family() == network.subnets[1].family())) {
    return refused(network, "more than one subnet of one family");
  }
  for (std::size_t i = 0; i < network.subnets.size(); ++i) {
    if (auto checked = check_subnet(network, i); !checked) return checked;
  }
  const auto encloses = [&](const Subnet& subnet) { return subnet.contains(*network.ip_range); };
  if (network.ip_range && std::ranges::none_of(network.subnets, encloses)) {
    return refused(network, fmt::format("ip-range {} is not within a subnet of it",
                                        network.ip_range->to_string()));
  }
  const std::uint32_t least = network.subnet_index(Family::v6) ? kMinimumMtuV6 : kMinimumMtuV4;
  if (network.mtu && (*network.mtu < least || *network.mtu > kMaximumMtu)) {
    return refused(network,
                   fmt::format("MTU {} is not {} to {}", *network.mtu, least, kMaximumMtu));
  }
  if (network.host_binding && network.host_binding->is_multicast()) {
    return refused(network, "the host binding is a multicast address");
  }
  return {};
}

/// Whether the kernel alone can translate `port` for a container with these addresses.
Result<void> check_translatable(const Network& network, const Container& container,
                                const PublishedPort& port) {
  const auto impossible = [&](std::string_view reason) {
    return refused(network, fmt::format("container {}: {} cannot be published in mode dnat: {}; "
                                        "mode both or proxy can",
                                        container.name, port.to_string(), reason));
  };
  if (!port.host_ip) return {};
  if (*port.host_ip == IpAddress::loopback(Family::v6)) {
    return impossible("the kernel does not route ::1 to another interface");
  }
  if (!container.address(port.host_ip->family())) {
    return impossible("the kernel does not translate between IPv4 and IPv6");
  }
  return {};
}

Result<void> check_ports(const Network& network, const Container& container) {
  if (network.internal && !container.ports.empty()) {
    return refused(network, fmt::format("container {}: an internal network publishes no ports",
                                        container.name));
  }
  for (const PublishedPort& port : container.ports) {
    if (port.host_ports.size() != port.container_ports.size()) {
      return refused(network, port.to_string() + ": the ranges are of different lengths");
    }
    if (port.host_ip && port.host_ip->is_multicast()) {
      return refused(network, port.to_string() + ": the host address is a multicast address");
    }
    if (network.mode != Mode::dnat) continue;
    if (auto checked = check_translatable(network, container, port); !checked) return checked;
  }
  return {};
}

Result<void> check_containers(const Network& network) {
  Network others = network;
  others.containers.clear();
  std::set<std::string_view> names;
  for (const Container& container : network.containers) {
    if (auto checked = check_name("container", container.name); !checked) return checked;
    if (!names.insert(container.name).second) {
      return refused(network, fmt::format("two containers named {}", container.name));
    }
    for (const std::string& name : {container.ifname, container.host_ifname}) {
      if (auto checked = check_interface_name(name); !checked) return checked;
    }
    if (container.addresses.empty()) {
      return refused(network, fmt::format("container {} has no address", container.name));
    }
    if (container.addresses.size() > 1 &&
        (container.addresses.size() > 2 ||
         container.addresses[0].family() == container.addresses[1].family())) {
      return refused(network, fmt::format("container {}: more than one address of one family",
                                          container.name));
    }
    for (const IpAddress& address : container.addresses) {
      if (auto checked = check_free_address(others, address); !checked) {
        return refused(network,
                       fmt::format("container {}: {}", container.name, checked.error().message));
      }
    }
    if (auto checked = check_ports(network, container); !checked) return checked;
  }
  return {};
}

Result<void> check_duplicate_addresses(const Network& network) {
  std::set<IpAddress> addresses;
  std::set<MacAddress> macs;
  for (const Container& container : network.containers) {
    for (const IpAddress& address : container.addresses) {
      if (!addresses.insert(address).second) {
        return refused(network, fmt::format("two containers have address {}", address.to_string()));
      }
    }
    if (!macs.insert(container.mac).second) {
      return refused(network,
                     fmt::format("two containers have MAC address {}", container.mac.to_string()));
    }
  }
  return {};
}

Result<void> check_between(const Networks& networks) {
  std::set<std::string_view> names;
  std::set<std::string_view> interfaces;
  for (std::size_t i = 0; i < networks.size(); ++i) {
    const Network& network = networks[i];
    if (!names.insert(network.name).second) return failed("two networks named " + network.name);
    if (!interfaces.insert(network.bridge).second) {
      return refused(network, "interface name " + network.bridge + " is in use by another network");
    }
    for (const Container& container : network.containers) {
      if (!interfaces.insert(container.host_ifname).second) {
        return refused(network, fmt::format("container {}: two links named {}", container.name,
                                            container.host_ifname));
      }
    }
    for (const Subnet& subnet : network.subnets) {
      for (std::size_t other = 0; other < i; ++other) {
        for (const Subnet& theirs : networks[other].subnets) {
          if (!subnet.overlaps(theirs)) continue;
          return refused(network,
                         fmt::format("subnet {} overlaps {} of network {}", subnet.to_string(),
                                     theirs.to_string(), networks[other].name));
        }
      }
    }
    for (const std::string& allowed : network.allow_networks) {
      if (allowed == network.name || find_network(networks, allowed) == nullptr) {
        return refused(network, fmt::format("allows \"{}\", which is no other network", allowed));
      }
    }
  }
  return {};
}

/// A published port and whose it is.
struct Claim {
  const PublishedPort* port;
  const Container* container;
  const Network* network;
};

/// A sweep over the ports in order: each is compared with those that still reach it.
Result<void> check_port_conflicts(const Networks& networks) {
  std::vector<Claim> claims;
  for (const Network& network : networks) {
    for (const Container& container : network.containers) {
      for (const PublishedPort& port : container.ports) {
        claims.push_back({&port, &container, &network});
      }
    }
  }
  std::ranges::sort(claims, [](const Claim& a, const Claim& b) {
    return std::tie(a.port->protocol, a.port->host_ports) <
           std::tie(b.port->protocol, b.port->host_ports);
  });
  std::vector<const Claim*> reaching;
  for (const Claim& claim : claims) {
    std::erase_if(reaching, [&](const Claim* earlier) {
      return earlier->port->protocol != claim.port->protocol ||
             earlier->port->host_ports.last < claim.port->host_ports.first;
    });
    for (const Claim* earlier : reaching) {
      if (!earlier->port->overlaps(*claim.port)) continue;
      return failed(
          fmt::format("{} of container {} ({}) and {} of container {} ({}) both publish "
                      "the same host port",
                      earlier->port->to_string(), earlier->container->name, earlier->network->name,
                      claim.port->to_string(), claim.container->name, claim.network->name));
    }
    reaching.push_back(&claim);
  }
  return {};
}

}  // namespace

Result<void> check_networks(const Networks& networks) {
  for (const Network& network : networks) {
    if (auto checked = check_name("network", network.name); !checked) return checked;
    if (auto checked = check_interface_name(network.bridge); !checked) return checked;
    if (auto checked = check_addressing(network); !checked) return checked;
    if (auto checked = check_containers(network); !checked) return checked;
    if (auto checked = check_duplicate_addresses(network); !checked) return checked;
  }
  if (auto checked = check_between(networks); !checked) return checked;
  return check_port_conflicts(networks);
}

}  // namespace fairlead
