// A desired state for tests of fairlead-net: two networks, with every kind of published port.

#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>

#include "netsetup/network/network.h"

namespace fairlead {

inline IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }

inline Container sample_container(std::string name,
                                  std::initializer_list<std::string_view> addresses,
                                  std::initializer_list<std::string_view> ports) {
  Container container;
  container.name = std::move(name);
  container.netns = "/run/netns/" + container.name;
  container.host_ifname = "flv-" + container.name;
  for (const std::string_view address : addresses) container.addresses.push_back(ip(address));
  container.mac = MacAddress::from_address(container.addresses.front());
  for (const std::string_view port : ports) {
    container.ports.push_back(PublishedPort::parse(port).value());
  }
  std::ranges::sort(container.ports);
  return container;
}

inline Network sample_network(std::string name, std::initializer_list<std::string_view> subnets) {
  Network network;
  network.name = std::move(name);
  network.bridge = "fl-" + network.name;
  for (const std::string_view subnet : subnets) {
    network.subnets.push_back(Subnet::parse(subnet).value());
    network.gateways.push_back(next_address(network.subnets.back().address()).value());
  }
  return network;
}

/// Network `web`: c1 with both families, c2 with IPv4 alone; it allows network `db`, which has no
/// published port. What only the proxy can serve is left out in mode dnat.
inline Networks sample_networks(Mode mode) {
  Network web = sample_network("web", {"10.1.0.0/24", "fd00:1::/64"});
  web.mode = mode;
  web.allow_networks = {"db"};
  web.containers = {
      sample_container("c1", {"10.1.0.2", "fd00:1::2"},
                       {"8080:80/tcp", "127.0.0.1:8081:81/tcp", "192.0.2.1:8082:82/udp",
                        "[2001:db8::1]:8083:83/tcp", "9000-9099:9000-9099/udp",
                        "9100-9102:7100-7102/tcp", "0.0.0.0:8085:85/sctp"}),
      sample_container("c2", {"10.1.0.3"}, {"8090:90/tcp", "127.0.0.2:9200-9209:9200-9209/tcp"})};
  if (mode != Mode::dnat) {
    web.containers[0].ports.push_back(PublishedPort::parse("[::1]:8084:84/tcp").value());
    web.containers[1].ports.push_back(PublishedPort::parse("[2001:db8::1]:8091:91/tcp").value());
    for (Container& container : web.containers) std::ranges::sort(container.ports);
  }
  Network db = sample_network("db", {"10.2.0.0/24", "fd00:2::/64"});
  return {std::move(db), std::move(web)};
}

}  // namespace fairlead
