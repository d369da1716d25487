// An IP prefix, and arithmetic on addresses.

#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/mapping/error.h"
#include "proxy/mapping/ip_address.h"

namespace fairlead {

/// A value. The address has no bits set beyond the prefix length.
class Subnet {
 public:
  /// 0.0.0.0/0
  constexpr Subnet() = default;
  /// The subnet of that length around `address`; host bits are cleared.
  /// REQUIRES: length <= 32 for v4, <= 128 for v6.
  Subnet(const IpAddress& address, unsigned length);

  /// `10.1.0.0/24`, `fd00:1::/64`. Host bits that are set are an error that says what was meant.
  static Result<Subnet> parse(std::string_view text);

  /// Some of these with commas between; an address alone is a prefix of its full length.
  static Result<std::vector<Subnet>> parse_list(std::string_view text);

  Family family() const { return address_.family(); }
  bool is_v4() const { return address_.is_v4(); }
  /// The network address.
  const IpAddress& address() const { return address_; }
  unsigned length() const { return length_; }
  /// The highest address: the broadcast address of an IPv4 subnet.
  IpAddress last() const;
  bool contains(const IpAddress& address) const;
  bool contains(const Subnet& other) const;
  bool overlaps(const Subnet& other) const;
  std::string to_string() const;

  auto operator<=>(const Subnet&) const = default;

 private:
  IpAddress address_;
  unsigned length_ = 0;
};

/// 32 or 128.
constexpr unsigned address_bits(Family family) { return family == Family::v4 ? 32U : 128U; }

/// The address one above; nothing after the last of the family.
std::optional<IpAddress> next_address(const IpAddress& address);

}  // namespace fairlead
