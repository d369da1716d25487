#include "netsetup/links/link_plan.h"

#include <fmt/format.h>

#include <set>
#include <string_view>

namespace fairlead {
namespace {

using Action = LinkChange::Action;

bool same_bridge(const Network& a, const Network& b) {
  return a.bridge == b.bridge && a.adopted == b.adopted && a.subnets == b.subnets &&
         a.gateways == b.gateways && a.mtu == b.mtu;
}

/// What a port of a bridge can be told without being made anew.
bool same_port(const Network& a, const Network& b) {
  return a.mtu == b.mtu && a.icc == b.icc && (a.mode == Mode::dnat) == (b.mode == Mode::dnat);
}

/// Everything else that a pair was made with.
bool same_link(const Network& network_a, const Container& a, const Network& network_b,
               const Container& b) {
  return network_a.bridge == network_b.bridge && network_a.subnets == network_b.subnets &&
         network_a.gateways == network_b.gateways && network_a.internal == network_b.internal &&
         a.netns == b.netns && a.netns_inode == b.netns_inode && a.ifname == b.ifname &&
         a.host_ifname == b.host_ifname && a.mac == b.mac && a.addresses == b.addresses;
}

void plan_network(const Network* before, const Network& after, Extent extent, LinkPlan& plan) {
  if (before == nullptr || extent == Extent::everything || !same_bridge(*before, after)) {
    plan.first.push_back({Action::make_bridge, &after, nullptr});
  }
  for (const Container& container : after.containers) {
    const Container* earlier =
        before != nullptr ? find_container(*before, container.name) : nullptr;
    if (earlier == nullptr || extent == Extent::everything || !same_port(*before, after) ||
        !same_link(*before, *earlier, after, container)) {
      plan.first.push_back({Action::attach, &after, &container});
    }
  }
}

std::string address_list(const Network& network, const std::vector<IpAddress>& addresses) {
  std::string text;
  for (const IpAddress& address : addresses) {
    const auto subnet = network.subnet_index(address.family());
    if (!text.empty()) text += ", ";
    text += address.to_string();
    if (subnet) text += fmt::format("/{}", network.subnets[*subnet].length());
  }
  return text;
}

std::string mtu_text(const Network& network) {
  return network.mtu ? fmt::format(", MTU {}", *network.mtu) : "";
}

}  // namespace

LinkPlan plan_links(const Networks& from, const Networks& to, Extent extent) {
  LinkPlan plan;
  std::set<std::string_view> needed;
  for (const Network& network : to) {
    needed.insert(network.bridge);
    for (const Container& container : network.containers) needed.insert(container.host_ifname);
  }
  std::vector<LinkChange> bridges;
  for (const Network& network : from) {
    const Network* after = find_network(to, network.name);
    for (const Container& container : network.containers) {
      const Container* later = after != nullptr ? find_container(*after, container.name) : nullptr;
      if (!needed.contains(container.host_ifname)) {
        plan.last.push_back({Action::detach, &network, &container});
      } else if (later == nullptr || !same_link(network, container, *after, *later)) {
        plan.first.push_back({Action::detach, &network, &container});
      }
    }
    if (!needed.contains(network.bridge)) {
      bridges.push_back({Action::remove_bridge, &network, nullptr});
    }
  }
  plan.last.insert(plan.last.end(), bridges.begin(), bridges.end());
  for (const Network& network : to) {
    plan_network(find_network(from, network.name), network, extent, plan);
  }
  return plan;
}

std::string LinkChange::to_string() const {
  switch (action) {
    case Action::make_bridge:
      if (network->adopted) return fmt::format("use bridge {} as it is", network->bridge);
      return fmt::format("make bridge {}: {}, MAC {}{}", network->bridge,
                         address_list(*network, network->gateways),
                         MacAddress::from_address(network->gateways.front()).to_string(),
                         mtu_text(*network));
    case Action::attach:
      return fmt::format(
          "attach {}/{}: {} of {}, {}, MAC {}{}; {} on {}{}{}", network->name, container->name,
          container->ifname, container->netns, address_list(*network, container->addresses),
          container->mac.to_string(), mtu_text(*network), container->host_ifname, network->bridge,
          network->mode == Mode::dnat ? ", hairpin" : "", network->icc ? "" : ", isolated");
    case Action::detach:
      return fmt::format("detach {}/{}: delete {}", network->name, container->name,
                         container->host_ifname);
    case Action::remove_bridge:
      if (network->adopted) return fmt::format("leave bridge {} as it is", network->bridge);
      return fmt::format("delete bridge {}", network->bridge);
  }
  return "";
}

}  // namespace fairlead
