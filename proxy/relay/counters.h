// What a proxy has done since it started.

#pragma once

#include <atomic>
#include <cstdint>

namespace fairlead {

/// Counted by all loops of the process, shown on SIGUSR1 and in the last log line. Each figure is
/// exact; figures read together may be of slightly different moments.
struct Counters {
  using Count = std::atomic<std::uint64_t>;

  /// Payload, of all protocols.
  Count bytes_to_container = 0;
  Count bytes_to_client = 0;

  // TCP and SCTP.
  Count connections_accepted = 0;
  Count connections_open = 0;
  /// The backend refused, could not be reached or did not answer in time.
  Count connections_refused = 0;
  /// Ended by a reset or another error of one side.
  Count connections_reset = 0;
  /// At --max-connections-per-client.
  Count clients_over_limit = 0;
  /// Over which nothing passed for --idle-timeout or --half-closed-timeout.
  Count connections_timed_out = 0;
  /// Times that accepting stopped for want of descriptors or memory, or at --max-connections.
  Count accept_pauses = 0;

  // All.
  /// Connections and datagrams that --allow and --deny did not admit.
  Count clients_denied = 0;
  /// Connections and datagrams of front ends that began with no PROXY header, or a wrong one.
  Count proxy_headers_refused = 0;

  // UDP.
  Count sessions_opened = 0;
  Count sessions_open = 0;
  /// Sessions ended early because the table was full.
  Count sessions_evicted = 0;
  Count datagrams_to_container = 0;
  Count datagrams_to_client = 0;
  /// Datagrams that were received and could not be passed on.
  Count datagrams_dropped = 0;
};

}  // namespace fairlead
