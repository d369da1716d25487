// An IPv4 or IPv6 address.

#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace fairlead {

enum class Family : std::uint8_t { v4, v6 };

/// A value; an IPv4-mapped IPv6 literal (`::ffff:192.0.2.1`) is the IPv4 address, as it is for Go's
/// `net.IP.To4` and so for docker-proxy. No zones: a link-local address needs an interface that a
/// mapping has no place for.
class IpAddress {
 public:
  /// 0.0.0.0
  constexpr IpAddress() = default;

  static IpAddress any(Family family);
  static IpAddress loopback(Family family);
  /// REQUIRES: 4 bytes for v4, 16 for v6, in network order.
  static IpAddress from_bytes(Family family, std::span<const std::uint8_t> bytes);
  /// Dotted quad (no leading zeros, as inet_pton(3)) or IPv6 text without brackets.
  static std::optional<IpAddress> parse(std::string_view text);

  Family family() const { return family_; }
  bool is_v4() const { return family_ == Family::v4; }
  /// 4 or 16 bytes, network order.
  std::span<const std::uint8_t> bytes() const { return {bytes_.data(), is_v4() ? 4U : 16U}; }
  bool is_unspecified() const;
  /// 127.0.0.0/8 or ::1.
  bool is_loopback() const;
  /// 224.0.0.0/4 or ff00::/8.
  bool is_multicast() const;

  /// RFC 5952 text, no brackets.
  std::string to_string() const;

  auto operator<=>(const IpAddress&) const = default;

 private:
  std::array<std::uint8_t, 16> bytes_{};
  Family family_ = Family::v4;
};

}  // namespace fairlead
