// From mappings to the sockets that serve them.

#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "proxy/mapping/endpoint.h"
#include "proxy/mapping/error.h"
#include "proxy/mapping/mapping.h"
#include "proxy/net/listening_socket.h"

namespace fairlead {

/// A socket that was passed in, as a value.
struct PassedSocket {
  Protocol protocol = Protocol::tcp;
  Endpoint local;
  bool dual_stack = false;
  /// It need not serve a mapping.
  bool spare = false;
};

/// One socket to serve and where its clients are relayed to.
struct PortPlan {
  Protocol protocol = Protocol::tcp;
  Endpoint host;
  Endpoint backend;
  /// Which passed socket serves it; nothing: it is to be opened.
  std::optional<std::size_t> passed;
  /// The IPv6 half of a mapping without HOST-IP: a host without IPv6 does without it.
  bool needs_ipv6 = false;
  /// Which mapping it belongs to.
  std::size_t mapping = 0;

  bool operator==(const PortPlan&) const = default;
};

/// The sockets for all mappings, one a port and address. A mapping without HOST-IP takes `0.0.0.0`
/// and `::`, or one passed `::` that is dual-stack. A passed socket serves the mapping that has its
/// protocol, address and port; one that serves none and is not spare is an error that names its
/// address.
Result<std::vector<PortPlan>> plan_ports(std::span<const Mapping> mappings,
                                         std::span<const PassedSocket> passed);

struct OpenedPort {
  ListeningSocket socket;
  Endpoint backend;
  /// Which mapping it belongs to.
  std::size_t mapping = 0;
};

/// Opens, or takes from `passed`, what is planned: all or nothing.
Result<std::vector<OpenedPort>> open_ports(std::span<const PortPlan> plan,
                                           std::span<ListeningSocket> passed);

}  // namespace fairlead
