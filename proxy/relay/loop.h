// What the relays of one loop share.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "proxy/dial/dialler.h"
#include "proxy/engine/engine.h"
#include "proxy/mapping/subnet.h"
#include "proxy/net/proxy_header.h"
#include "proxy/relay/access_list.h"
#include "proxy/relay/client_counts.h"
#include "proxy/relay/deadlines.h"
#include "proxy/relay/held_back_log.h"
#include "proxy/relay/relay_policy.h"

namespace fairlead {

/// The options that the relays need.
struct RelaySettings {
  RelayMode mode = RelayMode::automatic;
  DialSettings dial{};
  /// Until an idle UDP session ends, whichever side was heard last.
  TimeMs udp_timeout_ms = 90'000;
  /// 0: the kernel's own limit (tcp_syn_retries, about two minutes).
  TimeMs connect_timeout_ms = 0;
  /// At this many open connections accepting pauses; clients wait in the listening socket's
  /// backlog.
  std::size_t connections_max = 0;
  /// At this many UDP sessions the least recently used one makes room.
  std::size_t sessions_max = 0;
  /// At this many open connections of one client further ones are refused; 0: no limit.
  std::size_t connections_per_client_max = 0;
  /// Until a connection ends over which nothing passes; 0: never.
  TimeMs idle_timeout_ms = 0;
  /// The same once one side has finished sending; 0: no other than idle_timeout_ms.
  TimeMs half_closed_timeout_ms = 0;
  std::vector<AccessRule> access_rules{};
  /// How the backend is told who the client is.
  ProxyProtocol proxy_protocol = ProxyProtocol::none;
  /// TCP connections and UDP datagrams from here begin with a PROXY header.
  std::vector<Subnet> front_ends{};

  bool is_front_end(const IpAddress& ip) const {
    return std::ranges::any_of(front_ends,
                               [&ip](const Subnet& subnet) { return subnet.contains(ip); });
  }
};

class Mailbox;
class TcpRelay;
class UdpSessions;

/// What the loops of a process share, so that limits and the number of log lines are the process's.
/// Thread-safe.
struct SharedState {
  /// Of TCP and SCTP.
  std::atomic<std::size_t> connections_open = 0;
  HeldBackLog connect_failures{};
  HeldBackLog resource_shortages{};
  HeldBackLog datagram_failures{};
  HeldBackLog header_failures{};
  HeldBackLog denied_clients{};
  HeldBackLog crowding_clients{};
  HeldBackLog quiet_connections{};
  /// Memory that stalled connections hold beyond the engines' buffers.
  std::atomic<std::size_t> stalled_bytes = 0;
  /// To be woken when a connection ends: while accepting pauses, and while the proxy drains.
  std::atomic<Mailbox*> waits_for_end = nullptr;
};

/// One thread's worth of proxy. What is not shared belongs to that thread.
struct Loop {
  Engine& engine;
  RelaySettings settings;
  SharedState& shared;
  Deadlines deadlines{};
  Dialler dialler{engine, deadlines, settings.dial};
  ClientCounts clients{settings.connections_per_client_max};
  /// Made with the first TCP listener, and kept by them all.
  std::weak_ptr<TcpRelay> tcp{};
  /// Held by the UDP listeners of the loop; none while there are none.
  std::weak_ptr<UdpSessions> udp_sessions{};
};

}  // namespace fairlead
