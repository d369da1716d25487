// One published port being served.

#pragma once

#include <cstdint>
#include <memory>

#include "proxy/mapping/endpoint.h"
#include "proxy/mapping/protocol.h"
#include "proxy/net/file_descriptor.h"
#include "proxy/relay/counters.h"
#include "proxy/relay/loop.h"

namespace fairlead {

/// Relays what arrives at one listening socket, and owns the socket and all that came of it.
/// Destroy it only after Engine::stop().
class Listener {
 public:
  Listener() = default;
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  virtual ~Listener() = default;

  /// Begins to serve. Call once; before it nothing is read from the socket.
  virtual void start() = 0;

  /// What becomes of clients who wait in a socket's queue when it is given up: they are served, a
  /// few thousand at most, or left to another process that listens at the same socket.
  enum class Queue : std::uint8_t { served, left };

  /// Takes no more clients; those there are stay. Call once.
  virtual void retire(Queue queue) = 0;

  /// Lets go of a socket that is kept for replies, whoever they are for. REQUIRES: retire() was
  /// called.
  virtual void release() {}

  /// What it listens at; -1 when it has let go of it.
  virtual int socket() const = 0;
};

/// `socket` is bound (and for TCP and SCTP listening), non-blocking; `host` is its address, for the
/// log; `backend` is where clients are relayed to; `counters` counts what is done for them. The
/// loop and the counters must outlive the listener.
std::unique_ptr<Listener> make_listener(Loop& loop, Protocol protocol, FileDescriptor socket,
                                        const Endpoint& host, const Endpoint& backend,
                                        Counters& counters);

}  // namespace fairlead
