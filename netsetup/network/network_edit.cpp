#include "netsetup/network/network_edit.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>

#include "netsetup/network/completion.h"

namespace fairlead {
namespace {

std::unexpected<Error> no_network(std::string_view name) {
  return failed(fmt::format("there is no network {}", name));
}

/// A container and the network it is on.
struct Place {
  Network& network;
  Container& container;
};

Result<Place> find_place(Networks& networks, std::string_view network, std::string_view name) {
  Network* home = find_network(networks, network);
  if (home == nullptr) return no_network(network);
  Container* container = find_container(*home, name);
  if (container != nullptr) return Place{*home, *container};
  return failed(fmt::format("network {}: there is no container {}", network, name));
}

void add_sorted(Networks& networks, Network network) {
  const auto place = std::ranges::lower_bound(networks, network.name, {}, &Network::name);
  networks.insert(place, std::move(network));
}

/// Subnets of the networks, and those taken otherwise.
std::vector<Subnet> all_taken(const Networks& networks, std::span<const Subnet> taken) {
  std::vector<Subnet> all(taken.begin(), taken.end());
  for (const Network& network : networks) {
    all.insert(all.end(), network.subnets.begin(), network.subnets.end());
  }
  return all;
}

std::set<PublishedPort> with_host_binding(const Network& network,
                                          std::span<const PublishedPort> ports) {
  std::set<PublishedPort> bound;
  for (PublishedPort port : ports) {
    if (!port.host_ip) port.host_ip = network.host_binding;
    bound.insert(port);
  }
  return bound;
}

}  // namespace

Result<void> create_network(Networks& networks, Network wanted, std::span<const Subnet> taken) {
  const Network* present = find_network(networks, wanted.name);
  if (present != nullptr) wanted.containers = present->containers;
  auto completed = complete_network(wanted, present, all_taken(networks, taken));
  if (!completed) return completed;
  if (present == nullptr) {
    add_sorted(networks, std::move(wanted));
    return {};
  }
  if (*present == wanted) return {};
  return failed(
      fmt::format("network {} is there already with other settings: see `network inspect "
                  "{}`; remove it first, or change it with `apply`",
                  wanted.name, wanted.name));
}

Result<void> remove_network(Networks& networks, std::string_view name) {
  const auto found = std::ranges::find(networks, name, &Network::name);
  if (found == networks.end()) return no_network(name);
  networks.erase(found);
  return {};
}

Result<void> attach_container(Networks& networks, std::string_view network, Container wanted) {
  Network* home = find_network(networks, network);
  if (home == nullptr) return no_network(network);
  Network changed = *home;
  Container* present = find_container(changed, wanted.name);
  if (present == nullptr) {
    if (wanted.ifname.empty()) wanted.ifname = "eth0";
    changed.containers.push_back(std::move(wanted));
  } else {
    const auto has = [&](const IpAddress& address) {
      return std::ranges::find(present->addresses, address) != present->addresses.end();
    };
    const bool other_name = !wanted.ifname.empty() && wanted.ifname != present->ifname;
    const bool other_mac = wanted.mac != MacAddress{} && wanted.mac != present->mac;
    if (other_name || other_mac || !std::ranges::all_of(wanted.addresses, has)) {
      return failed(
          fmt::format("network {}: container {} is attached already with other addresses "
                      "or another interface name: detach it first",
                      network, wanted.name));
    }
    present->netns = wanted.netns;
    present->netns_inode = wanted.netns_inode;
  }
  if (auto completed = complete_network(changed, home, {}); !completed) return completed;
  *home = std::move(changed);
  return {};
}

Result<void> detach_container(Networks& networks, std::string_view network,
                              std::string_view container) {
  const auto place = find_place(networks, network, container);
  if (!place) return std::unexpected(place.error());
  std::erase_if(place->network.containers,
                [&](const Container& other) { return other.name == container; });
  return {};
}

Result<void> publish_ports(Networks& networks, std::string_view network, std::string_view container,
                           std::span<const PublishedPort> ports) {
  const auto place = find_place(networks, network, container);
  if (!place) return std::unexpected(place.error());
  std::vector<PublishedPort>& published = place->container.ports;
  std::set<PublishedPort> wanted = with_host_binding(place->network, ports);
  for (const PublishedPort& port : published) wanted.erase(port);
  const auto added = std::ptrdiff_t(published.size());
  published.insert(published.end(), wanted.begin(), wanted.end());
  std::ranges::inplace_merge(published, published.begin() + added);
  return {};
}

Result<void> unpublish_ports(Networks& networks, std::string_view network,
                             std::string_view container, std::span<const PublishedPort> ports) {
  const auto place = find_place(networks, network, container);
  if (!place) return std::unexpected(place.error());
  std::vector<PublishedPort>& published = place->container.ports;
  if (ports.empty()) {
    published.clear();
    return {};
  }
  const auto unwanted = with_host_binding(place->network, ports);
  auto missing = unwanted;
  for (const PublishedPort& port : published) missing.erase(port);
  if (!missing.empty()) {
    return failed(fmt::format("network {}: container {} does not publish {}", network, container,
                              missing.begin()->to_string()));
  }
  std::erase_if(published, [&](const PublishedPort& port) { return unwanted.contains(port); });
  return {};
}

Result<void> replace_networks(Networks& networks, Networks wanted, std::span<const Subnet> taken) {
  // Subnets that are named first, so that none of them is picked for another network.
  std::vector<Subnet> used = all_taken(wanted, taken);
  for (Network& network : wanted) {
    const Network* present = find_network(networks, network.name);
    const bool open = network.subnets.empty();
    if (auto completed = complete_network(network, present, used); !completed) return completed;
    if (open) used.insert(used.end(), network.subnets.begin(), network.subnets.end());
  }
  networks = std::move(wanted);
  return {};
}

}  // namespace fairlead
