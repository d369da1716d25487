// A run of consecutive ports.

#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/mapping/error.h"

namespace fairlead {

/// Both ends included; a single port is a range of one. REQUIRES: 1 <= first <= last.
struct PortRange {
  std::uint16_t first = 0;
  std::uint16_t last = 0;

  /// `80` or `8000-8099`, decimal, 1 to 65535, first not above last. The error names the text.
  static Result<PortRange> parse(std::string_view text);

  /// 1 to 65535.
  std::uint32_t size() const { return static_cast<std::uint32_t>(last) - first + 1; }
  bool overlaps(const PortRange& other) const { return first <= other.last && other.first <= last; }
  /// `80` or `8000-8099`.
  std::string to_string() const;

  auto operator<=>(const PortRange&) const = default;
};

}  // namespace fairlead
