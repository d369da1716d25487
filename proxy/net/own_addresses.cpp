#include "proxy/net/own_addresses.h"

#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <memory>

namespace fairlead {

std::vector<IpAddress> own_addresses() {
  std::vector<IpAddress> addresses;
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) < 0) return addresses;
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> list(first, &::freeifaddrs);
  for (const ifaddrs* entry = first; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr) continue;
    if (entry->ifa_addr->sa_family == AF_INET) {
      const auto* v4 = reinterpret_cast<const sockaddr_in*>(entry->ifa_addr);
      const auto* bytes = reinterpret_cast<const std::uint8_t*>(&v4->sin_addr);
      addresses.push_back(IpAddress::from_bytes(Family::v4, {bytes, 4}));
    } else if (entry->ifa_addr->sa_family == AF_INET6) {
      const auto* v6 = reinterpret_cast<const sockaddr_in6*>(entry->ifa_addr);
      const auto* bytes = reinterpret_cast<const std::uint8_t*>(&v6->sin6_addr);
      addresses.push_back(IpAddress::from_bytes(Family::v6, {bytes, 16}));
    }
  }
  return addresses;
}

}  // namespace fairlead
