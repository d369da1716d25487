#include "proxy/net/own_addresses.h"

#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <memory>

#include "proxy/net/file_descriptor.h"
#include "proxy/net/socket_address.h"

// syscalls[container_netns]: socket bind connect getsockname sendto recvmsg

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

IpAddress own_address_towards(const IpAddress& address) {
  // Nothing is sent: connect(2) looks for a route and takes the address that goes with it.
  const SocketAddress peer(Endpoint{address, 9});
  const FileDescriptor socket(::socket(peer.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
  SocketAddress own;
  socklen_t size = SocketAddress::capacity();
  if (::connect(socket.get(), peer.get(), peer.size()) < 0 ||
      ::getsockname(socket.get(), own.get(), &size) < 0) {
    return IpAddress::any(address.family());
  }
  return own.endpoint().ip;
}

}  // namespace fairlead
