#include "netsetup/network/completion.h"

#include <algorithm>
#include <array>

#include "netsetup/network/address_pool.h"
#include "netsetup/network/interface_names.h"

namespace fairlead {
namespace {

Result<void> complete_subnets(Network& network, const Network* present,
                              std::span<const Subnet> taken) {
  if (network.subnets.empty() && present != nullptr) network.subnets = present->subnets;
  if (network.subnets.empty()) {
    const auto picked = pick_subnet(taken);
    if (!picked) return std::unexpected(picked.error());
    network.subnets.push_back(*picked);
  }
  // In the order of the subnets.
  std::vector<IpAddress> given = std::move(network.gateways);
  network.gateways.clear();
  for (const Subnet& subnet : network.subnets) {
    const auto inside = [&](const IpAddress& gateway) { return subnet.contains(gateway); };
    if (const auto named = std::ranges::find_if(given, inside); named != given.end()) {
      network.gateways.push_back(*named);
      given.erase(named);
      continue;
    }
    IpAddress gateway = default_gateway(subnet);
    if (present != nullptr) {
      const auto kept = std::ranges::find_if(present->gateways, inside);
      if (kept != present->gateways.end()) gateway = *kept;
    }
    network.gateways.push_back(gateway);
  }
  if (!given.empty()) {
    return failed("network " + network.name + ": gateway " + given.front().to_string() +
                  " is not within a subnet of it, or a second one");
  }
  return {};
}

/// What a container that is there already has, as far as it still fits.
void keep_addresses(const Network& network, Container& container, const Container& present) {
  for (const IpAddress& address : present.addresses) {
    if (!container.address(address.family()) && check_free_address(network, address)) {
      container.addresses.push_back(address);
    }
  }
}

Result<void> complete_addresses(Network& network, Container& container, const Container* present) {
  if (present != nullptr) keep_addresses(network, container, *present);
  // It has only one family where it was made before the network had the other.
  if (present != nullptr && !container.addresses.empty()) return {};
  for (const Family family : {Family::v4, Family::v6}) {
    if (!network.subnet_index(family) || container.address(family)) continue;
    const auto next = next_free_address(network, family);
    if (!next) return std::unexpected(next.error());
    container.addresses.push_back(*next);
  }
  return {};
}

}  // namespace

Result<void> complete_network(Network& network, const Network* present,
                              std::span<const Subnet> taken) {
  if (network.bridge.empty()) {
    network.bridge = present != nullptr ? present->bridge : bridge_name(network.name);
  }
  if (auto completed = complete_subnets(network, present, taken); !completed) return completed;
  for (Container& container : network.containers) {
    const Container* before =
        present != nullptr ? find_container(*present, container.name) : nullptr;
    if (container.host_ifname.empty()) {
      container.host_ifname = host_link_name(network.name, container.name);
    }
    auto completed = complete_addresses(network, container, before);
    if (!completed) return completed;
    if (container.mac == MacAddress{} && !container.addresses.empty()) {
      container.mac = MacAddress::from_address(container.addresses.front());
    }
    for (PublishedPort& port : container.ports) {
      if (!port.host_ip) port.host_ip = network.host_binding;
    }
    if (!std::ranges::is_sorted(container.ports)) std::ranges::sort(container.ports);
  }
  std::ranges::stable_sort(network.containers, {}, &Container::name);
  return {};
}

}  // namespace fairlead
