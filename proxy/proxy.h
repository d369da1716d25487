// A whole proxy: sockets, engine, listeners, loop.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "proxy/engine/engine.h"
#include "proxy/mapping/endpoint.h"
#include "proxy/mapping/error.h"
#include "proxy/mapping/mapping.h"
#include "proxy/mapping/protocol.h"
#include "proxy/metrics/exposition.h"
#include "proxy/metrics/metrics_server.h"
#include "proxy/net/published_ports.h"
#include "proxy/options/options.h"
#include "proxy/process/handover.h"
#include "proxy/process/signals.h"
#include "proxy/relay/listener.h"
#include "proxy/relay/loop.h"
#include "proxy/workers.h"

namespace fairlead {

/// A loop with the listeners, and more loops when there is more to do than one processor can. Make
/// it, tell who waits that it serves, run it.
///
/// Its end has a beginning when draining is asked for: with SIGTERM, or when a new proxy has taken
/// over, it accepts no more clients and goes on with those it has until the last connection has
/// ended or the time is over. Replies to datagrams are waited for a second, where the new one has
/// the port, too; then the sockets are closed.
class Proxy final : private DeadlineList::Owner {
 public:
  /// Serves from here on: clients that come before run() wait in the sockets' queues. `ports` are
  /// those of options.mappings. Fails when the engine asked for cannot be had.
  static Result<std::unique_ptr<Proxy>> start(const Options& options,
                                              std::vector<OpenedPort> ports);

  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;
  ~Proxy();

  bool uses_io_uring() const { return engine_->name() == "io_uring"; }

  /// Serves options.metrics, if there are any; see MetricsServer::open() for `inherited`.
  Result<void> serve_metrics(FileDescriptor inherited);

  /// What a new proxy can take over.
  std::vector<int> sockets() const;

  /// Lets a new proxy take over the sockets from now on, by way of `path`.
  Result<void> offer_handover(const std::string& path);

  /// Keeps the paths it listens at. Before that they go back, when it is destroyed, to whoever had
  /// them.
  void settle();

  /// Until SIGINT or SIGTERM, or a handover; SIGUSR1 logs the counters. On return nothing is in
  /// flight.
  void run();

 private:
  static constexpr TimeMs kReplyMs = 1'000;

  Proxy(std::unique_ptr<Engine> engine, const Options& options, const RelaySettings& settings,
        FileDescriptor signal_fd);

  void stop();

  Counters& counters_of(std::size_t mapping) { return counters_[mapping % counters_.size()]; }
  ProcessFacts process_facts() const;
  bool is_finished();
  void begin_drain(DeadlineList& drain);
  bool is_drained() const;
  void on_deadline(Deadline& deadline) override;
  std::string stop_reason() const;

  const std::vector<Mapping> mappings_;
  const std::optional<MetricsAddress> metrics_address_;
  const double started_at_seconds_;
  /// One for each mapping where they are asked for, one for all otherwise.
  std::vector<Counters> counters_;

  // In this order: listeners die before the loop, the loop before the engine.
  std::unique_ptr<Engine> engine_;
  SharedState shared_;
  Loop loop_;
  Workers workers_;
  SignalReader signals_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::unique_ptr<MetricsServer> metrics_;
  std::unique_ptr<HandoverOffer> handover_;

  bool handed_over_ = false;
  /// What was handed over and nobody listens at, in order.
  std::vector<int> given_up_;
  bool drain_is_over_ = false;
  bool replies_are_over_ = false;
  DeadlineList drain_;
  DeadlineList handover_drain_;
  /// The one that has begun.
  const DeadlineList* draining_ = nullptr;
  DeadlineList replies_;
  Deadline drain_end_;
  Deadline replies_end_;
};

struct ServedPort {
  Protocol protocol = Protocol::tcp;
  Endpoint host;
  Endpoint backend;

  auto operator<=>(const ServedPort&) const = default;
};

/// `0.0.0.0:8000-8099/tcp -> 172.17.0.2:9000-9099`, for the log: one line for each run of ports.
std::vector<std::string> served_text(std::vector<ServedPort> ports);

/// `connections_accepted=3 connections_open=1 ...`: the sums of all counters, for the log.
std::string counters_text(std::span<const Counters> counters);

}  // namespace fairlead
