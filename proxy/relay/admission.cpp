#include "proxy/relay/admission.h"

#include <fmt/format.h>

#include <utility>

namespace fairlead {
namespace {

void turn_away(Loop& loop, Client& client) {
  loop.engine.reset_on_close(client.socket.get());
  loop.engine.close(std::move(client.socket));
}

}  // namespace

bool admit(Loop& loop, Client& client, const AccessList& access, const Endpoint& host) {
  if (client.admitted || (access.empty() && !loop.clients.limited())) return true;
  const auto addresses = addresses_of(loop.engine, client);
  if (!addresses) {
    ++client.counters.connections_reset;
    loop.engine.close(std::move(client.socket));
    return false;
  }
  if (!access.admits(addresses->client.ip)) {
    note_denied(loop, client.counters, addresses->client, host);
    turn_away(loop, client);
    return false;
  }
  auto place = loop.clients.take(addresses->client.ip);
  if (!place) {
    ++client.counters.clients_over_limit;
    loop.shared.crowding_clients.warn(
        loop.engine.now(), fmt::format("{} is refused at {}: it has --max-connections-per-client",
                                       client_text(addresses), host.to_string()));
    turn_away(loop, client);
    return false;
  }
  client.place = std::move(*place);
  client.admitted = true;
  return true;
}

void note_denied(Loop& loop, Counters& counters, const Endpoint& client, const Endpoint& host) {
  ++counters.clients_denied;
  loop.shared.denied_clients.warn(
      loop.engine.now(), fmt::format("{} is refused at {}: --allow and --deny do not admit it",
                                     client.to_string(), host.to_string()));
}

}  // namespace fairlead
