// The transport protocols a port can be published for.

#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace fairlead {

enum class Protocol : std::uint8_t { tcp, udp, sctp };

constexpr std::string_view protocol_name(Protocol protocol) {
  switch (protocol) {
    case Protocol::tcp:
      return "tcp";
    case Protocol::udp:
      return "udp";
    case Protocol::sctp:
      return "sctp";
  }
  return "";
}

/// Exact, case-sensitive names, as docker-proxy takes them; nothing for any other text.
constexpr std::optional<Protocol> parse_protocol(std::string_view name) {
  for (Protocol protocol : {Protocol::tcp, Protocol::udp, Protocol::sctp}) {
    if (name == protocol_name(protocol)) return protocol;
  }
  return std::nullopt;
}

}  // namespace fairlead
