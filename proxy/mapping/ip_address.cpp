#include "proxy/mapping/ip_address.h"

#include <arpa/inet.h>

#include <algorithm>

namespace fairlead {
namespace {

constexpr std::array<std::uint8_t, 12> kMappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

}  // namespace

IpAddress IpAddress::any(Family family) {
  IpAddress address;
  address.family_ = family;
  return address;
}

IpAddress IpAddress::loopback(Family family) {
  IpAddress address = any(family);
  if (family == Family::v4) {
    address.bytes_[0] = 127;
    address.bytes_[3] = 1;
  } else {
    address.bytes_[15] = 1;
  }
  return address;
}

IpAddress IpAddress::from_bytes(Family family, std::span<const std::uint8_t> bytes) {
  const bool mapped = family == Family::v6 && std::ranges::equal(bytes.first(12), kMappedPrefix);
  if (mapped) {
    family = Family::v4;
    bytes = bytes.subspan(12);
  }
  IpAddress address = any(family);
  std::ranges::copy(bytes.first(address.bytes().size()), address.bytes_.begin());
  return address;
}

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  // inet_pton reads a terminated string; no address is longer than this buffer.
  std::array<char, INET6_ADDRSTRLEN> terminated{};
  if (text.empty() || text.size() >= terminated.size()) return std::nullopt;
  if (text.find('\0') != std::string_view::npos) return std::nullopt;
  std::ranges::copy(text, terminated.begin());

  std::array<std::uint8_t, 16> bytes{};
  if (::inet_pton(AF_INET, terminated.data(), bytes.data()) == 1) {
    return from_bytes(Family::v4, bytes);
  }
  if (::inet_pton(AF_INET6, terminated.data(), bytes.data()) == 1) {
    return from_bytes(Family::v6, bytes);
  }
  return std::nullopt;
}

bool IpAddress::is_unspecified() const {
  return std::ranges::all_of(bytes_, [](std::uint8_t byte) { return byte == 0; });
}

bool IpAddress::is_loopback() const {
  return is_v4() ? bytes_[0] == 127 : *this == loopback(Family::v6);
}

bool IpAddress::is_multicast() const {
  return is_v4() ? (bytes_[0] & 0xf0) == 0xe0 : bytes_[0] == 0xff;
}

std::string IpAddress::to_string() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const int family = is_v4() ? AF_INET : AF_INET6;
  // Cannot fail: the family is known and the buffer is large enough.
  ::inet_ntop(family, bytes_.data(), text.data(), text.size());
  return text.data();
}

}  // namespace fairlead
