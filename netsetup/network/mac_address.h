// An Ethernet address.

#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/mapping/error.h"
#include "proxy/mapping/ip_address.h"

namespace fairlead {

struct MacAddress {
  std::array<std::uint8_t, 6> bytes{};

  /// `02:f1:0a:d2:00:02`. Multicast addresses and all zeros are refused: no interface can have one.
  static Result<MacAddress> parse(std::string_view text);
  /// Locally administered, and the same each time for one IP address, so that a container that is
  /// attached again under its old address does not leave its neighbours with a stale ARP entry.
  static MacAddress from_address(const IpAddress& address);

  std::string to_string() const;

  auto operator<=>(const MacAddress&) const = default;
};

}  // namespace fairlead
