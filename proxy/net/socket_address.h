// An address and port in the form the kernel takes.

#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include "proxy/mapping/endpoint.h"

namespace fairlead {

/// IPv4 or IPv6 only. Plain memory: it may be handed to the kernel and filled by it.
class SocketAddress {
 public:
  SocketAddress() = default;
  explicit SocketAddress(const Endpoint& endpoint);
  explicit SocketAddress(const sockaddr_in& v4) { storage_.v4 = v4; }
  explicit SocketAddress(const sockaddr_in6& v6) { storage_.v6 = v6; }

  /// IPv4-mapped addresses of a dual-stack socket come out as IPv4.
  Endpoint endpoint() const;
  int family() const { return storage_.generic.sa_family; }
  socklen_t size() const {
    return family() == AF_INET6 ? sizeof storage_.v6 : static_cast<socklen_t>(sizeof storage_.v4);
  }
  static constexpr socklen_t capacity() { return sizeof(Storage); }

  const sockaddr* get() const { return &storage_.generic; }
  sockaddr* get() { return &storage_.generic; }
  const sockaddr_in& v4() const { return storage_.v4; }
  const sockaddr_in6& v6() const { return storage_.v6; }

 private:
  union Storage {
    sockaddr_in6 v6{};
    sockaddr_in v4;
    sockaddr generic;
  };
  Storage storage_;
};

}  // namespace fairlead
