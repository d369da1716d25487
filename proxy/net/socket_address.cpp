#include "proxy/net/socket_address.h"

#include <algorithm>

namespace fairlead {

SocketAddress::SocketAddress(const Endpoint& endpoint) {
  const auto bytes = endpoint.ip.bytes();
  if (endpoint.ip.is_v4()) {
    storage_.v4 = {};
    storage_.v4.sin_family = AF_INET;
    storage_.v4.sin_port = htons(endpoint.port);
    std::ranges::copy(bytes, reinterpret_cast<std::uint8_t*>(&storage_.v4.sin_addr));
  } else {
    storage_.v6 = {};
    storage_.v6.sin6_family = AF_INET6;
    storage_.v6.sin6_port = htons(endpoint.port);
    std::ranges::copy(bytes, reinterpret_cast<std::uint8_t*>(&storage_.v6.sin6_addr));
  }
}

Endpoint SocketAddress::endpoint() const {
  if (family() == AF_INET) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&storage_.v4.sin_addr);
    return {IpAddress::from_bytes(Family::v4, {bytes, 4}), ntohs(storage_.v4.sin_port)};
  }
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(&storage_.v6.sin6_addr);
  return {IpAddress::from_bytes(Family::v6, {bytes, 16}), ntohs(storage_.v6.sin6_port)};
}

}  // namespace fairlead
