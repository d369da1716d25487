// An address and a port.

#pragma once

#include <cstdint>
#include <string>

#include "proxy/mapping/ip_address.h"

namespace fairlead {

struct Endpoint {
  IpAddress ip;
  std::uint16_t port = 0;

  /// `192.0.2.1:80`, `[2001:db8::1]:80`.
  std::string to_string() const {
    const std::string host = ip.is_v4() ? ip.to_string() : "[" + ip.to_string() + "]";
    return host + ":" + std::to_string(port);
  }

  auto operator<=>(const Endpoint&) const = default;
};

}  // namespace fairlead
