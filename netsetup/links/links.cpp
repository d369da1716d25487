#include "netsetup/links/links.h"

#include <fmt/format.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <netlink/errno.h>
#include <netlink/route/link/bridge.h>
#include <netlink/route/link/veth.h>
#include <netlink/route/nexthop.h>

#include <algorithm>
#include <fstream>
#include <optional>

namespace fairlead {
namespace {

/// Null: there is none of that name.
Result<LinkHandle> find_link(nl_sock* socket, const std::string& name) {
  rtnl_link* found = nullptr;
  const int code = rtnl_link_get_kernel(socket, 0, name.c_str(), &found);
  if (code == -NLE_NODEV || code == -NLE_OBJ_NOTFOUND) return LinkHandle();
  if (code < 0) return netlink_failed("look for interface " + name, code);
  return LinkHandle(found);
}

Result<LinkHandle> get_link(nl_sock* socket, const std::string& name) {
  auto link = find_link(socket, name);
  if (link && !*link) return failed("interface " + name + " is not there");
  return link;
}

Result<void> delete_link(const std::string& name) {
  const auto socket = open_route_netlink();
  if (!socket) return std::unexpected(socket.error());
  const auto link = find_link(socket->get(), name);
  if (!link) return std::unexpected(link.error());
  if (!*link) return {};
  const int code = rtnl_link_delete(socket->get(), link->get());
  if (code < 0 && code != -NLE_NODEV && code != -NLE_OBJ_NOTFOUND) {
    return netlink_failed("delete interface " + name, code);
  }
  return {};
}

/// The attributes of `wanted`, set on the link of that index.
Result<void> change_link(nl_sock* socket, rtnl_link* current, rtnl_link* wanted,
                         const std::string& name) {
  if (const int code = rtnl_link_change(socket, current, wanted, 0); code < 0) {
    return netlink_failed("set up interface " + name, code);
  }
  return {};
}

NetlinkAddress mac_address(const MacAddress& mac) {
  return NetlinkAddress(nl_addr_build(AF_LLC, mac.bytes.data(), mac.bytes.size()));
}

/// Where new interfaces have IPv6 switched off, this one gets it. A kernel without IPv6 has no such
/// file, and says so when the address is added.
Result<void> enable_ipv6(const std::string& interface) {
  const std::string path = "/proc/sys/net/ipv6/conf/" + interface + "/disable_ipv6";
  std::string value;
  if (!(std::ifstream(path) >> value) || value == "0") return {};
  std::ofstream file(path);
  if (!(file << "0" << std::flush)) return failed("cannot write 0 to " + path);
  return {};
}

Result<void> add_address(nl_sock* socket, int index, const IpAddress& ip, const Subnet& subnet,
                         const std::string& interface) {
  if (!ip.is_v4()) {
    if (auto enabled = enable_ipv6(interface); !enabled) return enabled;
  }
  const AddressHandle address(rtnl_addr_alloc());
  const NetlinkAddress local = netlink_address(ip);
  nl_addr_set_prefixlen(local.get(), static_cast<int>(subnet.length()));
  rtnl_addr_set_ifindex(address.get(), index);
  rtnl_addr_set_local(address.get(), local.get());
  if (ip.is_v4()) {
    const NetlinkAddress broadcast = netlink_address(subnet.last());
    rtnl_addr_set_broadcast(address.get(), broadcast.get());
  } else {
    // The address is ours to give: nothing has to wait for a second until it may be used.
    rtnl_addr_set_flags(address.get(), IFA_F_NODAD);
  }
  const int code = rtnl_addr_add(socket, address.get(), NLM_F_CREATE | NLM_F_REPLACE);
  if (code < 0 && code != -NLE_EXIST) {
    return netlink_failed(fmt::format("add {} to interface {}", ip.to_string(), interface), code);
  }
  return {};
}

/// Addresses of one interface, those that IPv6 makes by itself left out.
Result<std::vector<std::pair<IpAddress, Subnet>>> addresses_of(nl_sock* socket, int index) {
  nl_cache* filled = nullptr;
  if (const int code = rtnl_addr_alloc_cache(socket, &filled); code < 0) {
    return netlink_failed("list addresses", code);
  }
  const CacheHandle cache(filled);
  std::vector<std::pair<IpAddress, Subnet>> addresses;
  for (nl_object* object = nl_cache_get_first(cache.get()); object != nullptr;
       object = nl_cache_get_next(object)) {
    auto* address = reinterpret_cast<rtnl_addr*>(object);
    if (rtnl_addr_get_ifindex(address) != index ||
        rtnl_addr_get_scope(address) != RT_SCOPE_UNIVERSE) {
      continue;
    }
    const IpAddress ip = ip_address(rtnl_addr_get_local(address));
    const int length = rtnl_addr_get_prefixlen(address);
    addresses.emplace_back(ip, Subnet(ip, static_cast<unsigned>(length)));
  }
  return addresses;
}

/// Addresses that do not belong on a bridge of ours: an earlier version of its network had them.
Result<void> remove_other_addresses(nl_sock* socket, int index, const Network& network) {
  const auto present = addresses_of(socket, index);
  if (!present) return std::unexpected(present.error());
  for (const auto& [ip, subnet] : *present) {
    const auto gateway = std::ranges::find(network.gateways, ip);
    const auto i = static_cast<std::size_t>(gateway - network.gateways.begin());
    if (gateway != network.gateways.end() && network.subnets[i] == subnet) continue;
    const AddressHandle address(rtnl_addr_alloc());
    const NetlinkAddress local = netlink_address(ip);
    nl_addr_set_prefixlen(local.get(), static_cast<int>(subnet.length()));
    rtnl_addr_set_ifindex(address.get(), index);
    rtnl_addr_set_local(address.get(), local.get());
    const int code = rtnl_addr_delete(socket, address.get(), 0);
    if (code < 0 && code != -NLE_NOADDR) {
      return netlink_failed(
          fmt::format("remove {} from interface {}", ip.to_string(), network.bridge), code);
    }
  }
  return {};
}

Result<void> add_default_route(nl_sock* socket, int index, const IpAddress& gateway) {
  const RouteHandle route(rtnl_route_alloc());
  const NetlinkAddress everywhere = netlink_address(Subnet(IpAddress::any(gateway.family()), 0));
  const NetlinkAddress via = netlink_address(gateway);
  rtnl_nexthop* hop = rtnl_route_nh_alloc();
  rtnl_route_nh_set_ifindex(hop, index);
  rtnl_route_nh_set_gateway(hop, via.get());
  rtnl_route_add_nexthop(route.get(), hop);
  rtnl_route_set_family(route.get(), gateway.is_v4() ? AF_INET : AF_INET6);
  rtnl_route_set_dst(route.get(), everywhere.get());
  rtnl_route_set_scope(route.get(), RT_SCOPE_UNIVERSE);
  rtnl_route_set_protocol(route.get(), RTPROT_STATIC);
  // A container on several networks goes out by the first one it was attached to.
  const int code = rtnl_route_add(socket, route.get(), NLM_F_CREATE | NLM_F_EXCL);
  if (code < 0 && code != -NLE_EXIST) {
    return netlink_failed("add a default route by " + gateway.to_string(), code);
  }
  return {};
}

Result<void> bring_up(nl_sock* socket, const std::string& name) {
  const auto link = get_link(socket, name);
  if (!link) return std::unexpected(link.error());
  if ((rtnl_link_get_flags(link->get()) & IFF_UP) != 0) return {};
  const LinkHandle wanted(rtnl_link_alloc());
  rtnl_link_set_flags(wanted.get(), IFF_UP);
  return change_link(socket, link->get(), wanted.get(), name);
}

/// The far end of a pair, seen from inside.
Result<void> set_up_inside(const Network& network, const Container& container) {
  const auto opened = open_route_netlink();
  if (!opened) return std::unexpected(opened.error());
  nl_sock* socket = opened->get();
  if (auto up = bring_up(socket, "lo"); !up) return up;

  const auto link = get_link(socket, container.ifname);
  if (!link) return std::unexpected(link.error());
  const int index = rtnl_link_get_ifindex(link->get());
  for (const IpAddress& ip : container.addresses) {
    const auto subnet = network.subnet_index(ip.family());
    if (!subnet) continue;
    auto added = add_address(socket, index, ip, network.subnets[*subnet], container.ifname);
    if (!added) return added;
  }
  const LinkHandle wanted(rtnl_link_alloc());
  const NetlinkAddress mac = mac_address(container.mac);
  rtnl_link_set_addr(wanted.get(), mac.get());
  if (network.mtu) rtnl_link_set_mtu(wanted.get(), *network.mtu);
  rtnl_link_set_flags(wanted.get(), IFF_UP);
  if (auto set = change_link(socket, link->get(), wanted.get(), container.ifname); !set) return set;
  if (network.internal) return {};

  for (const IpAddress& ip : container.addresses) {
    const auto subnet = network.subnet_index(ip.family());
    if (!subnet) continue;
    if (auto added = add_default_route(socket, index, network.gateways[*subnet]); !added) {
      return added;
    }
  }
  return {};
}

/// Whether the host's end has its far end there, under the right name.
bool is_paired(const Container& container, int host_index) {
  const auto opened = open_route_netlink();
  if (!opened) return false;
  const auto link = find_link(opened->get(), container.ifname);
  return link && *link && rtnl_link_get_link(link->get()) == host_index;
}

/// What is wrong with the far end; empty: nothing.
std::string inside_problem(const Container& container, int host_index) {
  const auto opened = open_route_netlink();
  if (!opened) return opened.error().message;
  const auto link = find_link(opened->get(), container.ifname);
  if (!link || !*link || rtnl_link_get_link(link->get()) != host_index) {
    return fmt::format("the other end of {} is not {} of its namespace", container.host_ifname,
                       container.ifname);
  }
  if ((rtnl_link_get_flags(link->get()) & IFF_UP) == 0) return container.ifname + " is down";
  const auto present = addresses_of(opened->get(), rtnl_link_get_ifindex(link->get()));
  if (!present) return present.error().message;
  for (const IpAddress& ip : container.addresses) {
    const auto same = [&](const auto& entry) { return entry.first == ip; };
    if (std::ranges::none_of(*present, same)) {
      return fmt::format("{} has lost {}", container.ifname, ip.to_string());
    }
  }
  return "";
}

}  // namespace

Result<Links> Links::open() {
  auto home = current_namespace();
  if (!home) return std::unexpected(home.error());
  return Links(open_route_netlink, std::move(*home));
}

Result<bool> Links::exists(const std::string& interface) const {
  const auto socket = open_socket_();
  if (!socket) return std::unexpected(socket.error());
  const auto link = find_link(socket->get(), interface);
  if (!link) return std::unexpected(link.error());
  return static_cast<bool>(*link);
}

Result<void> Links::check_room(const Network& network, const Container& container,
                               const Container* earlier) const {
  const std::string prefix =
      fmt::format("network {}: container {}: ", network.name, container.name);
  const auto inside = open_container(container);
  if (!inside) return failed(prefix + inside.error().message);
  const bool renamed = earlier == nullptr || earlier->host_ifname != container.host_ifname;
  if (renamed) {
    const auto there = exists(container.host_ifname);
    if (!there) return failed(prefix + there.error().message);
    if (*there) return failed(prefix + "interface " + container.host_ifname + " is there already");
  }
  const auto visited = visit_namespace(*inside, [&]() -> Result<void> {
    const auto taken = exists(container.ifname);
    if (!taken) return std::unexpected(taken.error());
    if (!*taken) return {};
    return failed(fmt::format("{} has an interface {} already: choose another name with --ifname",
                              container.netns, container.ifname));
  });
  return visited ? visited : failed(prefix + visited.error().message);
}

Result<void> Links::make_bridge(const Network& network) const {
  const auto opened = open_socket_();
  if (!opened) return std::unexpected(opened.error());
  nl_sock* socket = opened->get();
  const std::string& name = network.bridge;
  auto found = find_link(socket, name);
  if (!found) return std::unexpected(found.error());
  if (network.adopted) {
    if (*found && rtnl_link_is_bridge(found->get()) != 0) return {};
    return failed("adopted bridge " + name + " is not there");
  }

  if (!*found) {
    const LinkHandle bridge(rtnl_link_bridge_alloc());
    // Named, or it would be that of whichever port has the lowest.
    const NetlinkAddress mac = mac_address(MacAddress::from_address(network.gateways.front()));
    rtnl_link_set_name(bridge.get(), name.c_str());
    rtnl_link_set_addr(bridge.get(), mac.get());
    if (network.mtu) rtnl_link_set_mtu(bridge.get(), *network.mtu);
    if (const int code = rtnl_link_add(socket, bridge.get(), NLM_F_CREATE | NLM_F_EXCL); code < 0) {
      return netlink_failed("make bridge " + name, code);
    }
    found = get_link(socket, name);
    if (!found) return std::unexpected(found.error());
  }
  if (rtnl_link_is_bridge(found->get()) == 0) return failed(name + " is no bridge");

  const int index = rtnl_link_get_ifindex(found->get());
  if (auto removed = remove_other_addresses(socket, index, network); !removed) {
    return removed;
  }
  for (std::size_t i = 0; i < network.subnets.size(); ++i) {
    auto added = add_address(socket, index, network.gateways[i], network.subnets[i], name);
    if (!added) return added;
  }
  const LinkHandle wanted(rtnl_link_alloc());
  if (network.mtu) rtnl_link_set_mtu(wanted.get(), *network.mtu);
  rtnl_link_set_flags(wanted.get(), IFF_UP);
  return change_link(socket, found->get(), wanted.get(), name);
}

Result<void> Links::remove_bridge(const Network& network) const {
  if (network.adopted) return {};
  return delete_link(network.bridge);
}

Result<NamespaceFile> Links::open_container(const Container& container) const {
  auto inside = open_namespace(container.netns);
  if (!inside) return inside;
  if (inside->inode == home_.inode) {
    return failed("network namespace " + container.netns + " is the host's own");
  }
  if (container.netns_inode != 0 && inside->inode != container.netns_inode) {
    return failed("network namespace " + container.netns +
                  " is another one than was attached; attach it again");
  }
  return inside;
}

Result<void> make_pair(nl_sock* socket, const Network& network, const Container& container,
                       int bridge, const NamespaceFile& inside) {
  const LinkHandle host(rtnl_link_veth_alloc());
  rtnl_link* peer = rtnl_link_veth_get_peer(host.get());
  const LinkHandle peer_reference(peer);
  const NetlinkAddress mac = mac_address(container.mac);
  rtnl_link_set_name(host.get(), container.host_ifname.c_str());
  rtnl_link_set_master(host.get(), bridge);
  rtnl_link_set_name(peer, container.ifname.c_str());
  rtnl_link_set_addr(peer, mac.get());
  rtnl_link_set_ns_fd(peer, inside.fd.get());
  if (network.mtu) {
    rtnl_link_set_mtu(host.get(), *network.mtu);
    rtnl_link_set_mtu(peer, *network.mtu);
  }
  const int code = rtnl_link_add(socket, host.get(), NLM_F_CREATE | NLM_F_EXCL);
  if (code < 0) {
    return netlink_failed(fmt::format("make link {} with {} inside {}", container.host_ifname,
                                      container.ifname, container.netns),
                          code);
  }
  return {};
}

/// Whether br_netfilter shows the firewall what the bridge passes from port to port.
bool sees_bridged_packets(Family family) {
  std::ifstream setting(family == Family::v4 ? "/proc/sys/net/bridge/bridge-nf-call-iptables"
                                             : "/proc/sys/net/bridge/bridge-nf-call-ip6tables");
  char value = '0';
  return setting.get(value) && value == '1';
}

/// Whether the bridge is to keep siblings apart. Where br_netfilter is on, the rules do, and have
/// to in mode dnat: the kernel then passes a packet that was translated to a sibling's address on
/// as a bridged one, which an isolated port would refuse.
bool is_isolated(const Network& network) {
  if (network.icc) return false;
  return network.mode != Mode::dnat ||
         std::ranges::any_of(network.subnets, [](const Subnet& subnet) {
           return !sees_bridged_packets(subnet.family());
         });
}

/// The host's end: on the bridge, up, and what the bridge is to do with its frames. libnl has no
/// word for `isolated`, so the message is put together here.
Result<void> set_port(nl_sock* socket, const Network& network, const Container& container,
                      int bridge) {
  const std::string& name = container.host_ifname;
  const auto link = get_link(socket, name);
  if (!link) return std::unexpected(link.error());
  const LinkHandle wanted(rtnl_link_alloc());
  if (rtnl_link_get_master(link->get()) != bridge) rtnl_link_set_master(wanted.get(), bridge);
  if (network.mtu) rtnl_link_set_mtu(wanted.get(), *network.mtu);
  rtnl_link_set_flags(wanted.get(), IFF_UP);
  if (auto set = change_link(socket, link->get(), wanted.get(), name); !set) return set;

  ifinfomsg header{};
  header.ifi_family = PF_BRIDGE;
  header.ifi_index = rtnl_link_get_ifindex(link->get());
  MessageHandle message(nlmsg_alloc_simple(RTM_SETLINK, 0));
  nlmsg_append(message.get(), &header, sizeof(header), NLMSG_ALIGNTO);
  nlattr* port = nla_nest_start(message.get(), IFLA_PROTINFO | NLA_F_NESTED);
  // Hairpin: a container's packet to its own published port leaves by the port it came in by.
  nla_put_u8(message.get(), IFLA_BRPORT_MODE, network.mode == Mode::dnat ? 1 : 0);
  // Without icc frames go to the bridge alone, and not to the siblings.
  nla_put_u8(message.get(), IFLA_BRPORT_ISOLATED, is_isolated(network) ? 1 : 0);
  nla_nest_end(message.get(), port);
  // nl_send_sync frees the message.
  if (const int code = nl_send_sync(socket, message.release()); code < 0) {
    return netlink_failed("set up bridge port " + name, code);
  }
  return {};
}

Result<void> Links::attach(const Network& network, const Container& container) const {
  const auto inside = open_container(container);
  if (!inside) return std::unexpected(inside.error());
  const auto opened = open_socket_();
  if (!opened) return std::unexpected(opened.error());
  nl_sock* socket = opened->get();
  const auto bridge = get_link(socket, network.bridge);
  if (!bridge) return std::unexpected(bridge.error());
  const int bridge_index = rtnl_link_get_ifindex(bridge->get());

  const auto host = find_link(socket, container.host_ifname);
  if (!host) return std::unexpected(host.error());
  bool paired = false;
  if (*host) {
    const int index = rtnl_link_get_ifindex(host->get());
    auto looked = visit_namespace(*inside, [&]() -> Result<void> {
      paired = is_paired(container, index);
      return {};
    });
    if (!looked) return looked;
    if (!paired) {
      // A pair whose other end is elsewhere, or what is left of one.
      if (auto removed = delete_link(container.host_ifname); !removed) return removed;
    }
  }
  if (!paired) {
    auto made = make_pair(socket, network, container, bridge_index, *inside);
    if (!made) return made;
  }
  if (auto set = set_port(socket, network, container, bridge_index); !set) return set;
  return visit_namespace(*inside, [&] { return set_up_inside(network, container); });
}

Result<void> Links::detach(const Container& container) const {
  return delete_link(container.host_ifname);
}

Result<void> Links::read_bridge(Network& network) const {
  const auto socket = open_socket_();
  if (!socket) return std::unexpected(socket.error());
  const auto link = find_link(socket->get(), network.bridge);
  if (!link) return std::unexpected(link.error());
  if (!*link || rtnl_link_is_bridge(link->get()) == 0) {
    return failed("network " + network.name + ": there is no bridge " + network.bridge +
                  " to adopt");
  }
  const auto present = addresses_of(socket->get(), rtnl_link_get_ifindex(link->get()));
  if (!present) return std::unexpected(present.error());
  network.subnets.clear();
  network.gateways.clear();
  for (const auto& [ip, subnet] : *present) {
    if (network.subnet_index(ip.family())) continue;
    network.gateways.push_back(ip);
    network.subnets.push_back(subnet);
  }
  if (network.subnets.empty()) {
    return failed("network " + network.name + ": bridge " + network.bridge +
                  " has no address, which would be the gateway");
  }
  return {};
}

std::string Links::container_problem(const Network& network, const Container& container,
                                     int bridge) const {
  const auto inside = open_container(container);
  if (!inside) return inside.error().message;
  const auto socket = open_socket_();
  if (!socket) return socket.error().message;
  const auto link = find_link(socket->get(), container.host_ifname);
  if (!link) return link.error().message;
  if (!*link) return "interface " + container.host_ifname + " is not there";
  if (rtnl_link_get_master(link->get()) != bridge) {
    return fmt::format("interface {} is not on bridge {}", container.host_ifname, network.bridge);
  }
  if ((rtnl_link_get_flags(link->get()) & IFF_UP) == 0) return container.host_ifname + " is down";
  std::string problem;
  const auto visited = visit_namespace(*inside, [&]() -> Result<void> {
    problem = inside_problem(container, rtnl_link_get_ifindex(link->get()));
    return {};
  });
  return visited ? problem : visited.error().message;
}

std::vector<std::string> Links::problems(const Network& network) const {
  const std::string prefix = "network " + network.name + ": ";
  const auto socket = open_socket_();
  if (!socket) return {prefix + socket.error().message};
  const auto link = find_link(socket->get(), network.bridge);
  if (!link) return {prefix + link.error().message};
  if (!*link) return {prefix + "bridge " + network.bridge + " is not there"};
  std::vector<std::string> problems;
  const int index = rtnl_link_get_ifindex(link->get());
  if ((rtnl_link_get_flags(link->get()) & IFF_UP) == 0) {
    problems.push_back(prefix + "bridge " + network.bridge + " is down");
  }
  const auto present = addresses_of(socket->get(), index);
  if (!present) return {prefix + present.error().message};
  for (const IpAddress& gateway : network.gateways) {
    const auto same = [&](const auto& entry) { return entry.first == gateway; };
    if (std::ranges::any_of(*present, same)) continue;
    problems.push_back(
        fmt::format("{}bridge {} has lost {}", prefix, network.bridge, gateway.to_string()));
  }
  for (const Container& container : network.containers) {
    const std::string problem = container_problem(network, container, index);
    if (problem.empty()) continue;
    problems.push_back(fmt::format("{}container {}: {}", prefix, container.name, problem));
  }
  return problems;
}

}  // namespace fairlead
