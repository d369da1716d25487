#include "netsetup/rules/rule_plan.h"

#include <algorithm>
#include <iterator>

namespace fairlead {
namespace {

template <typename T>
void sort_unique(std::vector<T>& values) {
  // Ports of one container come sorted, and asking is cheaper than sorting.
  if (!std::ranges::is_sorted(values)) std::ranges::sort(values);
  const auto duplicates = std::ranges::unique(values);
  values.erase(duplicates.begin(), duplicates.end());
}

/// The translations of one published port: one for each family that host and container share.
void plan_translations(const Network& network, const Container& container,
                       const PublishedPort& port, RuleSet& rules) {
  for (const IpAddress& address : container.addresses) {
    if (port.host_ip && port.host_ip->family() != address.family()) continue;
    // Loopback clients belong to the proxy in mode both; nothing else reaches these addresses.
    if (port.host_ip && port.host_ip->is_loopback() &&
        (network.mode == Mode::both || !port.host_ip->is_v4())) {
      continue;
    }
    const bool any = !port.host_ip || port.host_ip->is_unspecified();
    rules.translations.push_back(
        {.protocol = port.protocol,
         .host_ip = any ? std::nullopt : port.host_ip,
         .host_ports = port.host_ports,
         .container_ip = address,
         .container_ports = port.container_ports,
         .proxied_bridge = network.mode == Mode::both ? network.bridge : std::string()});
  }
}

void plan_ports(const Network& network, const Container& container, RuleSet& rules) {
  for (const PublishedPort& port : container.ports) {
    if (port.host_ip && port.host_ip->is_v4() && port.host_ip->is_loopback()) {
      rules.loopback_ports.push_back({port.protocol, *port.host_ip, port.host_ports});
    }
    if (network.mode != Mode::proxy) plan_translations(network, container, port, rules);
  }
}

void plan_network(const Networks& networks, const Network& network, RuleSet& rules) {
  rules.bridges.push_back(network.bridge);
  if (network.internal) rules.internal.push_back(network.bridge);
  if (network.icc) rules.open.push_back({network.bridge, network.bridge});

  for (const Subnet& subnet : network.subnets) {
    rules.home.push_back({network.bridge, subnet});
    // Without masquerading, replies from outside are addressed to the containers themselves, and
    // nothing here has seen yet whether a packet is one: the filter alone judges those.
    if (network.internal || network.masquerade) rules.guarded.push_back(subnet);
    if (network.masquerade && !network.internal) rules.masqueraded.push_back(subnet);
    if (network.mode == Mode::dnat && !network.internal) {
      rules.hairpin.push_back({network.bridge, subnet});
    }
  }
  for (const std::string& name : network.allow_networks) {
    const Network* allowed = find_network(networks, name);
    if (allowed == nullptr) continue;
    rules.open.push_back({allowed->bridge, network.bridge});
    // Both ways: the replies carry the other network's addresses.
    for (const Subnet& subnet : network.subnets) rules.home.push_back({allowed->bridge, subnet});
    for (const Subnet& subnet : allowed->subnets) rules.home.push_back({network.bridge, subnet});
  }
  for (const Container& container : network.containers) plan_ports(network, container, rules);
}

}  // namespace

RuleSet plan(const Networks& networks) {
  RuleSet rules;
  for (const Network& network : networks) plan_network(networks, network, rules);
  sort_unique(rules.bridges);
  sort_unique(rules.internal);
  sort_unique(rules.open);
  sort_unique(rules.home);
  sort_unique(rules.guarded);
  sort_unique(rules.masqueraded);
  sort_unique(rules.hairpin);
  sort_unique(rules.translations);
  sort_unique(rules.loopback_ports);
  return rules;
}

std::vector<Mapping> plan_proxy(const Network& network, const Container& container,
                                const PublishedPort& port) {
  if (network.mode == Mode::dnat || container.addresses.empty()) return {};
  const auto mapping = [&](std::optional<IpAddress> host_ip, const IpAddress& address) {
    return Mapping{.protocol = port.protocol,
                   .host_ip = host_ip,
                   .host_ports = port.host_ports,
                   .container_ip = address,
                   .container_ports = port.container_ports};
  };
  if (port.host_ip) {
    const auto same_family = container.address(port.host_ip->family());
    return {mapping(port.host_ip, same_family.value_or(container.addresses.front()))};
  }
  const auto v4 = container.address(Family::v4);
  const auto v6 = container.address(Family::v6);
  if (!v4 || !v6) return {mapping(std::nullopt, container.addresses.front())};
  return {mapping(IpAddress::any(Family::v4), *v4), mapping(IpAddress::any(Family::v6), *v6)};
}

std::vector<Mapping> plan_proxy(const Network& network, const Container& container) {
  std::vector<Mapping> mappings;
  for (const PublishedPort& port : container.ports) {
    std::ranges::copy(plan_proxy(network, container, port), std::back_inserter(mappings));
  }
  return mappings;
}

}  // namespace fairlead
