// A whole proxy: sockets, engine, listeners, loop.

#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proxy/engine/engine.h"
#include "proxy/mapping/endpoint.h"
#include "proxy/mapping/error.h"
#include "proxy/mapping/protocol.h"
#include "proxy/net/published_ports.h"
#include "proxy/options/options.h"
#include "proxy/process/signals.h"
#include "proxy/relay/listener.h"
#include "proxy/relay/loop.h"

namespace fairlead {

/// One loop with its listeners. Make it, tell who waits that it serves, run it.
class Proxy {
 public:
  /// Serves from here on: clients that come before run() wait in the sockets' queues. Fails when
  /// the engine asked for cannot be had.
  static Result<std::unique_ptr<Proxy>> start(const Options& options,
                                              std::vector<OpenedPort> ports);

  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;
  ~Proxy();

  /// Until SIGINT or SIGTERM; SIGUSR1 logs the counters. On return nothing is in flight.
  void run();

 private:
  Proxy(ChosenEngine chosen, const RelaySettings& settings, FileDescriptor signal_fd);

  // In this order: listeners die before the loop, the loop before the engine.
  std::unique_ptr<Engine> engine_;
  Loop loop_;
  SignalReader signals_;
  std::vector<std::unique_ptr<Listener>> listeners_;
};

struct ServedPort {
  Protocol protocol = Protocol::tcp;
  Endpoint host;
  Endpoint backend;

  auto operator<=>(const ServedPort&) const = default;
};

/// `0.0.0.0:8000-8099/tcp -> 172.17.0.2:9000-9099`, for the log: one line for each run of ports.
std::vector<std::string> served_text(std::vector<ServedPort> ports);

/// `connections_accepted=3 connections_open=1 ...`: all counters, for the log.
std::string counters_text(const Counters& counters);

}  // namespace fairlead
