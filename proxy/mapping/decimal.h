// Numbers as people write them in options.

#pragma once

#include <charconv>
#include <concepts>
#include <memory>
#include <optional>
#include <string_view>

namespace fairlead {

/// The whole text as a decimal number of this type; nothing when it is anything else, or does not
/// fit. No sign but `-` for signed types, no spaces.
template <std::integral T>
std::optional<T> parse_decimal(std::string_view text) {
  T number = 0;
  const char* end = std::to_address(text.end());
  const auto [stop, error] = std::from_chars(std::to_address(text.begin()), end, number);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return number;
}

}  // namespace fairlead
