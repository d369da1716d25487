// A port of a container, published on the host: a mapping before the container has its addresses.

#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "proxy/mapping/error.h"
#include "proxy/mapping/ip_address.h"
#include "proxy/mapping/port_range.h"
#include "proxy/mapping/protocol.h"

namespace fairlead {

struct PublishedPort {
  Protocol protocol = Protocol::tcp;
  /// Nothing: all addresses of the host, IPv4 and IPv6.
  std::optional<IpAddress> host_ip;
  PortRange host_ports;
  /// As long as host_ports; the n-th host port leads to the n-th container port.
  PortRange container_ports;

  /// `[HOST-IP:]HOST-PORT[-END]:CONTAINER-PORT[-END][/tcp|udp|sctp]`, IPv6 addresses in brackets.
  /// The error quotes the text, says what is wrong in it and what is accepted.
  static Result<PublishedPort> parse(std::string_view text);
  /// The same syntax back.
  std::string to_string() const;

  /// Whether both take a packet to one same address and port.
  bool overlaps(const PublishedPort& other) const;
  /// Whether the sockets of one can serve the other, as far as their ports are the same ones.
  bool shares_sockets(const PublishedPort& other) const;

  auto operator<=>(const PublishedPort&) const = default;
};

/// Whether a socket bound to `a` and one bound to `b` meet: equal addresses, or one is the
/// wildcard of the other's family, or nothing, which is both wildcards.
bool host_addresses_overlap(const std::optional<IpAddress>& a, const std::optional<IpAddress>& b);

}  // namespace fairlead
