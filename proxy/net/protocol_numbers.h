// What socket(2) calls the protocols of a mapping.

#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include "proxy/mapping/protocol.h"

namespace fairlead {

constexpr int socket_type(Protocol protocol) {
  return protocol == Protocol::udp ? SOCK_DGRAM : SOCK_STREAM;
}

/// As it stands in the header of an IP packet, too.
constexpr int protocol_number(Protocol protocol) {
  switch (protocol) {
    case Protocol::tcp:
      return IPPROTO_TCP;
    case Protocol::udp:
      return IPPROTO_UDP;
    case Protocol::sctp:
      return IPPROTO_SCTP;
  }
  return 0;
}

}  // namespace fairlead
