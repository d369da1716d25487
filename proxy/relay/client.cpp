#include "proxy/relay/client.h"

namespace fairlead {

std::optional<AddressPair> addresses_of(Engine& engine, const Client& client) {
  if (client.told) return *client.told;
  SocketAddress peer;
  SocketAddress own;
  const int fd = client.socket.get();
  if (engine.peer_address(fd, peer) < 0 || engine.own_address(fd, own) < 0) return std::nullopt;
  return AddressPair{peer.endpoint(), own.endpoint()};
}

std::string client_text(const std::optional<AddressPair>& addresses) {
  return addresses ? addresses->client.to_string() : "a client that is gone";
}

}  // namespace fairlead
