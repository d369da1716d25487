// What a proxy has done since it started.

#pragma once

#include <cstdint>

namespace fairlead {

/// Written by one loop, plain integers; shown on SIGUSR1 and in the last log line.
struct Counters {
  /// Payload, of all protocols.
  std::uint64_t bytes_to_container = 0;
  std::uint64_t bytes_to_client = 0;

  // TCP and SCTP.
  std::uint64_t connections_accepted = 0;
  std::uint64_t connections_open = 0;
  /// The backend refused, could not be reached or did not answer in time.
  std::uint64_t connections_refused = 0;
  /// Ended by a reset or another error of one side.
  std::uint64_t connections_reset = 0;
  /// At --max-connections-per-client.
  std::uint64_t clients_over_limit = 0;
  /// Over which nothing passed for --idle-timeout or --half-closed-timeout.
  std::uint64_t connections_timed_out = 0;
  /// Connections of front ends that began with no PROXY header, or a wrong one.
  std::uint64_t proxy_headers_refused = 0;
  /// Times that accepting stopped for want of descriptors or memory, or at --max-connections.
  std::uint64_t accept_pauses = 0;

  // All.
  /// Connections and datagrams that --allow and --deny did not admit.
  std::uint64_t clients_denied = 0;

  // UDP.
  std::uint64_t sessions_opened = 0;
  std::uint64_t sessions_open = 0;
  /// Sessions ended early because the table was full.
  std::uint64_t sessions_evicted = 0;
  std::uint64_t datagrams_to_container = 0;
  std::uint64_t datagrams_to_client = 0;
  /// Datagrams that were received and could not be passed on.
  std::uint64_t datagrams_dropped = 0;
};

}  // namespace fairlead
