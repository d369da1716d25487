// What the sessions of one published UDP port share.

#pragma once

#include <memory>

#include "proxy/mapping/endpoint.h"
#include "proxy/net/file_descriptor.h"
#include "proxy/net/socket_address.h"
#include "proxy/relay/access_list.h"
#include "proxy/relay/counters.h"
#include "proxy/relay/loop.h"

namespace fairlead {

class UdpSessions;

struct UdpPort {
  Loop& loop;
  Counters& counters;
  /// The loop's sessions, of all its ports.
  std::shared_ptr<UdpSessions> sessions;
  /// Clients write to it and are answered through it.
  FileDescriptor socket;
  int family;
  Endpoint host;
  Endpoint backend;
  SocketAddress backend_address;
  AccessList access;
};

}  // namespace fairlead
