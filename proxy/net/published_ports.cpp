#include "proxy/net/published_ports.h"

#include <algorithm>
#include <string>
#include <utility>

namespace fairlead {
namespace {

/// Hands out each passed socket once.
class Passed {
 public:
  explicit Passed(std::span<const PassedSocket> sockets)
      : sockets_(sockets), used_(sockets.size(), false) {}

  std::optional<std::size_t> take(Protocol protocol, const Endpoint& host, bool dual_stack_only) {
    for (std::size_t i = 0; i < sockets_.size(); ++i) {
      const PassedSocket& socket = sockets_[i];
      if (used_[i] || socket.protocol != protocol || socket.local != host) continue;
      if (dual_stack_only && !socket.dual_stack) continue;
      used_[i] = true;
      return i;
    }
    return std::nullopt;
  }

  const PassedSocket* first_unused() const {
    for (std::size_t i = 0; i < sockets_.size(); ++i) {
      if (!used_[i] && !sockets_[i].spare) return &sockets_[i];
    }
    return nullptr;
  }

 private:
  std::span<const PassedSocket> sockets_;
  std::vector<bool> used_;
};

}  // namespace

Result<std::vector<PortPlan>> plan_ports(std::span<const Mapping> mappings,
                                         std::span<const PassedSocket> passed_sockets) {
  Passed passed(passed_sockets);
  std::vector<PortPlan> plan;
  for (std::size_t n = 0; n < mappings.size(); ++n) {
    const Mapping& mapping = mappings[n];
    for (std::uint32_t i = 0; i < mapping.host_ports.size(); ++i) {
      const auto host_port = static_cast<std::uint16_t>(mapping.host_ports.first + i);
      const auto container_port = static_cast<std::uint16_t>(mapping.container_ports.first + i);
      const Endpoint backend{mapping.container_ip, container_port};
      const auto add = [&](const IpAddress& ip, bool needs_ipv6) {
        const Endpoint host{ip, host_port};
        const auto socket = passed.take(mapping.protocol, host, false);
        plan.push_back({mapping.protocol, host, backend, socket, needs_ipv6, n});
      };
      if (mapping.host_ip) {
        add(*mapping.host_ip, false);
        continue;
      }
      const Endpoint everything{IpAddress::any(Family::v6), host_port};
      if (const auto socket = passed.take(mapping.protocol, everything, true)) {
        plan.push_back({mapping.protocol, everything, backend, socket, false, n});
        continue;
      }
      add(IpAddress::any(Family::v4), false);
      add(IpAddress::any(Family::v6), true);
    }
  }
  if (const PassedSocket* unused = passed.first_unused()) {
    return failed("the socket " + unused->local.to_string() + "/" +
                  std::string(protocol_name(unused->protocol)) +
                  " that was passed in belongs to no mapping");
  }
  return plan;
}

Result<std::vector<OpenedPort>> open_ports(std::span<const PortPlan> plan,
                                           std::span<ListeningSocket> passed) {
  std::vector<OpenedPort> ports;
  ports.reserve(plan.size());
  for (const PortPlan& port : plan) {
    if (port.passed) {
      ports.push_back({std::move(passed[*port.passed]), port.backend, port.mapping});
      continue;
    }
    auto socket = open_listening_socket(port.protocol, port.host);
    if (!socket && port.needs_ipv6 && means_no_ipv6(socket.error())) continue;
    if (!socket) return std::unexpected(listen_error(port.protocol, port.host, socket.error()));
    ports.push_back({std::move(*socket), port.backend, port.mapping});
  }
  return ports;
}

}  // namespace fairlead
