#include "netsetup/network/interface_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>

namespace fairlead {
namespace {

constexpr std::size_t kNameLimit = 64;

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_name_character(char c) { return is_alphanumeric(c) || c == '_' || c == '.' || c == '-'; }

/// FNV-1a, folded to 48 bits: among a thousand names two meet with a chance of 1 in 500 million,
/// and check_networks() refuses even that.
std::string hash_digits(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3;
  }
  return fmt::format("{:012x}", (hash ^ (hash >> 48U)) & 0xffffffffffff);
}

}  // namespace

Result<void> check_name(std::string_view what, std::string_view name) {
  if (!name.empty() && name.size() <= kNameLimit && is_alphanumeric(name.front()) &&
      std::ranges::all_of(name, is_name_character)) {
    return {};
  }
  return failed(fmt::format(
      "{} name \"{}\": accepted are 1 to {} letters, digits, \"_\", \".\" and \"-\", beginning "
      "with a letter or digit",
      what, name, kNameLimit));
}

Result<void> check_interface_name(std::string_view name) {
  // `all` and `default` are directories of their own under /proc/sys/net/ipv4/conf.
  constexpr std::array<std::string_view, 5> kReserved = {".", "..", "all", "default", "lo"};
  if (!name.empty() && name.size() <= kInterfaceNameLimit && name.front() != '-' &&
      std::ranges::all_of(name, is_name_character) &&
      std::ranges::find(kReserved, name) == kReserved.end()) {
    return {};
  }
  return failed(fmt::format(
      "interface name \"{}\": accepted are 1 to {} letters, digits, \"_\", \".\" and \"-\"", name,
      kInterfaceNameLimit));
}

std::string bridge_name(std::string_view network) {
  const std::string name = "fl-" + std::string(network);
  return name.size() <= kInterfaceNameLimit ? name : "fl-" + hash_digits(network);
}

std::string host_link_name(std::string_view network, std::string_view container) {
  return "flv" + hash_digits(fmt::format("{}/{}", network, container));
}

}  // namespace fairlead
