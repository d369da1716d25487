#include "netsetup/network/address_pool.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace fairlead {
namespace {

constexpr unsigned kPickedLength = 24;
// Private (RFC 1918) and outside what Docker (172.17.0.0/12, 192.168.0.0/16) and Podman
// (10.88.0.0/16) hand out first.
constexpr std::array<std::string_view, 3> kPickedFrom = {"10.210.0.0/16", "10.211.0.0/16",
                                                         "172.31.0.0/16"};

bool is_reserved(const Subnet& subnet, const IpAddress& address) {
  // IPv6 has no broadcast, but the first address is every router's (RFC 4291, 2.6.1).
  return address == subnet.address() || (subnet.is_v4() && address == subnet.last());
}

const Container* holder_of(const Network& network, const IpAddress& address) {
  for (const Container& container : network.containers) {
    if (std::ranges::find(container.addresses, address) != container.addresses.end()) {
      return &container;
    }
  }
  return nullptr;
}

}  // namespace

Result<IpAddress> next_free_address(const Network& network, Family family) {
  const auto index = network.subnet_index(family);
  if (!index) {
    return failed(fmt::format("network {} has no {} subnet", network.name,
                              family == Family::v4 ? "IPv4" : "IPv6"));
  }
  const Subnet& subnet = network.subnets[*index];
  const bool ranged = network.ip_range && network.ip_range->family() == family;
  const Subnet& pool = ranged ? *network.ip_range : subnet;

  std::vector<IpAddress> used = {network.gateways[*index]};
  for (const Container& container : network.containers) {
    if (const auto address = container.address(family)) used.push_back(*address);
  }
  std::ranges::sort(used);

  // Ends at the latest one step after the last address in use.
  std::optional<IpAddress> candidate = pool.address();
  while (candidate && pool.contains(*candidate)) {
    if (!is_reserved(subnet, *candidate) && !std::ranges::binary_search(used, *candidate)) {
      return *candidate;
    }
    candidate = next_address(*candidate);
  }
  return failed(
      fmt::format("network {}: no free address left in {}", network.name, pool.to_string()));
}

Result<void> check_free_address(const Network& network, const IpAddress& address) {
  const auto refused = [&](std::string reason) {
    return failed(fmt::format("address {}: {}", address.to_string(), reason));
  };
  const auto index = network.subnet_index(address.family());
  if (!index || !network.subnets[*index].contains(address)) {
    return refused("not within a subnet of network " + network.name);
  }
  if (is_reserved(network.subnets[*index], address)) {
    return refused("the first or last address of " + network.subnets[*index].to_string() +
                   " is no host's own");
  }
  if (address == network.gateways[*index]) return refused("the gateway of network " + network.name);
  if (const Container* holder = holder_of(network, address)) {
    return refused("container " + holder->name + " has it");
  }
  return {};
}

IpAddress default_gateway(const Subnet& subnet) {
  return next_address(subnet.address()).value_or(subnet.address());
}

Result<Subnet> pick_subnet(std::span<const Subnet> taken) {
  for (const std::string_view text : kPickedFrom) {
    const Subnet pool = Subnet::parse(text).value();
    for (Subnet candidate(pool.address(), kPickedLength); pool.contains(candidate);) {
      const auto overlapping = [&](const Subnet& other) { return other.overlaps(candidate); };
      if (std::ranges::none_of(taken, overlapping)) return candidate;
      const auto next = next_address(candidate.last());
      if (!next) break;
      candidate = Subnet(*next, kPickedLength);
    }
  }
  return failed("no free subnet in " + fmt::format("{}", fmt::join(kPickedFrom, ", ")) +
                ": choose one with --subnet");
}

}  // namespace fairlead
