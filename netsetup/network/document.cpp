#include "netsetup/network/document.h"

#include <algorithm>

#include "netsetup/network/json_reader.h"

namespace fairlead {
namespace {

constexpr int kIndent = 2;

template <typename T>
Json texts(const std::vector<T>& values) {
  Json list = Json::array();
  for (const T& value : values) list.push_back(value.to_string());
  return list;
}

Json to_json(const ProxyProcess& proxy) {
  return {{"pid", proxy.pid}, {"start_time", proxy.start_time}};
}

Json to_json(const Container& container) {
  Json json = {{"name", container.name},
               {"netns", container.netns},
               {"netns_inode", container.netns_inode},
               {"ifname", container.ifname},
               {"host_ifname", container.host_ifname}};
  if (container.mac != MacAddress()) json["mac"] = container.mac.to_string();
  json["addresses"] = texts(container.addresses);
  json["ports"] = texts(container.ports);
  if (container.proxy) json["proxy"] = to_json(*container.proxy);
  for (const ProxyProcess& proxy : container.draining) json["draining"].push_back(to_json(proxy));
  return json;
}

Json to_json(const Network& network) {
  Json json = {{"name", network.name},
               {"bridge", network.bridge},
               {"adopted", network.adopted},
               {"subnets", texts(network.subnets)},
               {"gateways", texts(network.gateways)}};
  if (network.ip_range) json["ip_range"] = network.ip_range->to_string();
  if (network.mtu) json["mtu"] = *network.mtu;
  json["internal"] = network.internal;
  json["icc"] = network.icc;
  json["masquerade"] = network.masquerade;
  json["allow_networks"] = network.allow_networks;
  if (network.host_binding) json["host_binding"] = network.host_binding->to_string();
  json["mode"] = mode_name(network.mode);
  json["forwarding"] = forwarding_name(network.forwarding);
  Json containers = Json::array();
  for (const Container& container : network.containers) containers.push_back(to_json(container));
  json["containers"] = std::move(containers);
  return json;
}

Result<IpAddress> parse_address(std::string_view text) {
  if (const auto address = IpAddress::parse(text)) return *address;
  return failed("\"" + std::string(text) + "\" is no IP address");
}

Result<std::string> take_text(std::string_view text) { return std::string(text); }

/// `parse` gives nothing for a name it does not know.
template <typename Parse>
auto named(Parse parse, std::string_view accepted) {
  return [parse, accepted](std::string_view text) {
    const auto value = parse(text);
    using Value = typename decltype(value)::value_type;
    if (value) return Result<Value>(*value);
    return Result<Value>(
        failed("\"" + std::string(text) + "\": accepted: " + std::string(accepted)));
  };
}

Result<ProxyProcess> read_proxy(JsonReader& reader) {
  ProxyProcess proxy;
  reader.read("pid", proxy.pid);
  reader.read("start_time", proxy.start_time);
  if (auto finished = reader.finish(); !finished) return std::unexpected(finished.error());
  return proxy;
}

Result<Container> read_container(JsonReader& reader) {
  Container container;
  reader.read("name", container.name);
  reader.read("netns", container.netns);
  reader.read("netns_inode", container.netns_inode);
  reader.read("ifname", container.ifname);
  reader.read("host_ifname", container.host_ifname);
  reader.read("mac", container.mac, MacAddress::parse);
  reader.read_list("addresses", container.addresses, parse_address);
  reader.read_list("ports", container.ports, PublishedPort::parse);
  if (!std::ranges::is_sorted(container.ports)) std::ranges::sort(container.ports);
  reader.read_object("proxy", [&](JsonReader& proxy) -> Result<void> {
    auto read = read_proxy(proxy);
    if (!read) return std::unexpected(read.error());
    container.proxy = *read;
    return {};
  });
  reader.read_objects("draining", [&](JsonReader& proxy) -> Result<void> {
    auto read = read_proxy(proxy);
    if (!read) return std::unexpected(read.error());
    container.draining.push_back(*read);
    return {};
  });
  if (auto finished = reader.finish(); !finished) return std::unexpected(finished.error());
  return container;
}

Result<Network> read_network(JsonReader& reader) {
  Network network;
  reader.read("name", network.name);
  reader.read("bridge", network.bridge);
  reader.read("adopted", network.adopted);
  reader.read_list("subnets", network.subnets, Subnet::parse);
  reader.read_list("gateways", network.gateways, parse_address);
  reader.read("ip_range", network.ip_range, Subnet::parse);
  std::uint32_t mtu = 0;
  reader.read("mtu", mtu);
  if (mtu != 0) network.mtu = mtu;
  reader.read("internal", network.internal);
  reader.read("icc", network.icc);
  reader.read("masquerade", network.masquerade);
  reader.read_list("allow_networks", network.allow_networks, take_text);
  reader.read("host_binding", network.host_binding, parse_address);
  reader.read("mode", network.mode, named(parse_mode, "proxy, dnat, both"));
  reader.read("forwarding", network.forwarding, named(parse_forwarding, "all, interface"));
  reader.read_objects("containers", [&](JsonReader& container) -> Result<void> {
    auto read = read_container(container);
    if (!read) return std::unexpected(read.error());
    network.containers.push_back(std::move(*read));
    return {};
  });
  if (auto finished = reader.finish(); !finished) return std::unexpected(finished.error());
  return network;
}

}  // namespace

std::string network_text(const Network& network) { return to_json(network).dump(kIndent) + "\n"; }

std::string networks_text(const Networks& networks) {
  Json list = Json::array();
  for (const Network& network : networks) list.push_back(to_json(network));
  return Json{{"networks", std::move(list)}}.dump(kIndent) + "\n";
}

Result<Network> parse_network(std::string_view text, std::string_view where) {
  const auto json = parse_json(text, where);
  if (!json) return std::unexpected(json.error());
  JsonReader reader(*json, std::string(where));
  return read_network(reader);
}

Result<Networks> parse_networks(std::string_view text, std::string_view where) {
  const auto json = parse_json(text, where);
  if (!json) return std::unexpected(json.error());
  JsonReader reader(*json, std::string(where));
  Networks networks;
  read_networks(reader, "networks", networks);
  if (auto finished = reader.finish(); !finished) return std::unexpected(finished.error());
  return networks;
}

void read_networks(JsonReader& reader, std::string_view field, Networks& networks) {
  reader.read_objects(field, [&](JsonReader& network) -> Result<void> {
    auto read = read_network(network);
    if (!read) return std::unexpected(read.error());
    networks.push_back(std::move(*read));
    return {};
  });
  std::ranges::stable_sort(networks, {}, &Network::name);
}

}  // namespace fairlead
