#include "proxy/mapping/subnet.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <ranges>

namespace fairlead {
namespace {

using Bytes = std::array<std::uint8_t, 16>;

Bytes copy_bytes(const IpAddress& address) {
  Bytes bytes{};
  std::ranges::copy(address.bytes(), bytes.begin());
  return bytes;
}

/// The address with every bit beyond `length` set to `value`.
IpAddress fill_host_bits(const IpAddress& address, unsigned length, bool value) {
  Bytes bytes = copy_bytes(address);
  for (unsigned bit = length; bit < address_bits(address.family()); ++bit) {
    const auto mask = static_cast<std::uint8_t>(0x80U >> (bit % 8));
    std::uint8_t& byte = bytes[bit / 8];
    byte = static_cast<std::uint8_t>(value ? byte | mask : byte & ~mask);
  }
  return IpAddress::from_bytes(address.family(), bytes);
}

}  // namespace

Subnet::Subnet(const IpAddress& address, unsigned length)
    : address_(fill_host_bits(address, length, false)), length_(length) {}

Result<Subnet> Subnet::parse(std::string_view text) {
  const std::string quoted = "\"" + std::string(text) + "\"";
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) {
    return failed(quoted + ": the prefix length is missing, as in 10.1.0.0/24");
  }
  const auto address = IpAddress::parse(text.substr(0, slash));
  if (!address) return failed(quoted + ": no IP address before the slash");

  const std::string_view digits = text.substr(slash + 1);
  unsigned length = 0;
  const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
  const unsigned longest = address_bits(address->family());
  if (error != std::errc{} || stop != digits.data() + digits.size() || length > longest) {
    return failed(quoted + ": the prefix length is not 0 to " + std::to_string(longest));
  }
  const Subnet subnet(*address, length);
  if (subnet.address() != *address) {
    return failed(quoted + ": host bits are set; did you mean " + subnet.to_string() + "?");
  }
  return subnet;
}

Result<std::vector<Subnet>> Subnet::parse_list(std::string_view text) {
  std::vector<Subnet> subnets;
  for (const auto part : std::views::split(text, ',')) {
    const std::string_view one(part.begin(), part.end());
    if (const auto address = IpAddress::parse(one)) {
      subnets.emplace_back(*address, address_bits(address->family()));
      continue;
    }
    const auto subnet = parse(one);
    if (!subnet) return std::unexpected(subnet.error());
    subnets.push_back(*subnet);
  }
  if (subnets.empty()) return failed("an address or a prefix is missing");
  return subnets;
}

IpAddress Subnet::last() const { return fill_host_bits(address_, length_, true); }

bool Subnet::contains(const IpAddress& address) const {
  return address.family() == family() && Subnet(address, length_).address_ == address_;
}

bool Subnet::contains(const Subnet& other) const {
  return other.length_ >= length_ && contains(other.address_);
}

bool Subnet::overlaps(const Subnet& other) const {
  return contains(other) || other.contains(*this);
}

std::string Subnet::to_string() const {
  return address_.to_string() + "/" + std::to_string(length_);
}

std::optional<IpAddress> next_address(const IpAddress& address) {
  Bytes bytes = copy_bytes(address);
  for (std::size_t i = address.bytes().size(); i-- > 0;) {
    if (++bytes[i] != 0) return IpAddress::from_bytes(address.family(), bytes);
  }
  return std::nullopt;
}

}  // namespace fairlead
