#include "proxy/relay/listener.h"

#include <utility>

#include "proxy/relay/sctp_listener.h"
#include "proxy/relay/tcp_listener.h"
#include "proxy/relay/udp_listener.h"

namespace fairlead {

std::unique_ptr<Listener> make_listener(Loop& loop, Protocol protocol, FileDescriptor socket,
                                        const Endpoint& host, const Endpoint& backend,
                                        Counters& counters) {
  switch (protocol) {
    case Protocol::tcp:
      return std::make_unique<TcpListener>(loop, std::move(socket), host, backend, counters);
    case Protocol::udp:
      return std::make_unique<UdpListener>(loop, std::move(socket), host, backend, counters);
    case Protocol::sctp:
      return std::make_unique<SctpListener>(loop, std::move(socket), host, backend, counters);
  }
  return nullptr;
}

}  // namespace fairlead
