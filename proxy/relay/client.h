// Who has connected.

#pragma once

#include <memory>
#include <optional>
#include <string>

#include "proxy/engine/engine.h"
#include "proxy/net/file_descriptor.h"
#include "proxy/net/proxy_header.h"
#include "proxy/relay/client_counts.h"
#include "proxy/relay/counters.h"

namespace fairlead {

/// An accepted connection.
struct Client {
  FileDescriptor socket;
  /// Those of the port it has connected to.
  Counters& counters;
  /// A front end that has said for whom it connects.
  bool introduced = false;
  /// It is to be served; see admission.h.
  bool admitted = false;
  /// What the front end said; nothing: the addresses of the socket itself count.
  std::unique_ptr<const AddressPair> told{};
  /// Its place among the connections of the same client.
  ClientPlace place{};
};

/// The client's address and the one it connected to: for the log, for the backend, for every
/// decision about clients. Nothing when the client is gone.
std::optional<AddressPair> addresses_of(Engine& engine, const Client& client);

/// The client's address, for the log.
std::string client_text(const std::optional<AddressPair>& addresses);

}  // namespace fairlead
