// A published port, or a range of them: where it is listened on and where it leads.

#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "proxy/mapping/error.h"
#include "proxy/mapping/ip_address.h"
#include "proxy/mapping/port_range.h"
#include "proxy/mapping/protocol.h"

namespace fairlead {

struct Mapping {
  Protocol protocol = Protocol::tcp;
  /// Nothing: all addresses of the host, IPv4 and IPv6.
  std::optional<IpAddress> host_ip;
  PortRange host_ports;
  IpAddress container_ip;
  /// As long as host_ports; the n-th host port leads to the n-th container port.
  PortRange container_ports;

  /// `[HOST-IP:]HOST-PORT[-END]:CONTAINER-IP:CONTAINER-PORT[-END][/tcp|udp|sctp]`, IPv6 addresses
  /// in brackets. The error quotes the text, says what is wrong in it and what is accepted.
  static Result<Mapping> parse(std::string_view text);

  /// The same syntax back.
  std::string to_string() const;

  bool operator==(const Mapping&) const = default;
};

/// Refuses a set that cannot be served by one process: two mappings that listen on the same
/// protocol, address and port (a wildcard address overlaps every address of its family), and a
/// mapping that leads to a port which is itself listened on here (it would relay to itself for
/// ever). A wildcard host address counts as every loopback address and as each of `own_addresses`,
/// those of this host as far as the caller knows them. The error names both mappings.
Result<void> check_mappings(std::span<const Mapping> mappings,
                            std::span<const IpAddress> own_addresses = {});

}  // namespace fairlead
