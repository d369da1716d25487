#include "netsetup/network/mac_address.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

namespace fairlead {

Result<MacAddress> MacAddress::parse(std::string_view text) {
  const auto refused = [&](std::string_view reason) {
    return failed(fmt::format("\"{}\": {}", text, reason));
  };
  MacAddress mac;
  if (text.size() != 17)
    return refused("no MAC address; accepted: six pairs of hex digits, 02:...");
  for (std::size_t i = 0; i < mac.bytes.size(); ++i) {
    const char* begin = text.data() + i * 3;
    const auto [stop, error] = std::from_chars(begin, begin + 2, mac.bytes[i], 16);
    const bool separated = i == 5 || begin[2] == ':';
    if (error != std::errc{} || stop != begin + 2 || !separated) return refused("no MAC address");
  }
  if ((mac.bytes[0] & 1U) != 0) return refused("a multicast address is no interface's own");
  if (std::ranges::all_of(mac.bytes, [](std::uint8_t byte) { return byte == 0; })) {
    return refused("all zeros is no interface's own");
  }
  return mac;
}

MacAddress MacAddress::from_address(const IpAddress& address) {
  // 0x02 marks a locally administered unicast address; the last four bytes tell hosts apart.
  MacAddress mac{{0x02, 0xf1}};
  std::ranges::copy(address.bytes().last(4), mac.bytes.begin() + 2);
  return mac;
}

std::string MacAddress::to_string() const { return fmt::format("{:02x}", fmt::join(bytes, ":")); }

}  // namespace fairlead
