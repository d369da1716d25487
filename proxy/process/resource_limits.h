// How many descriptors the process may have, and what follows for the relay.

#pragma once

#include <cstddef>
#include <cstdint>

#include "proxy/relay/loop.h"

namespace fairlead {

/// Raises RLIMIT_NOFILE to its hard limit, as the Go runtime does for docker-proxy: a daemon's
/// children start with its soft limit, often 1024. Returns the limit that holds now.
std::size_t raise_descriptor_limit();

/// What a proxy serves; decides how descriptors are shared out.
struct ListenerCounts {
  std::size_t streams = 0;
  std::size_t datagrams = 0;
};

/// Sets `connections_max` and `sessions_max` where they are 0, from the limit of descriptors.
///
/// A connection takes two descriptors, a session one. Kept back from the limit: one for each
/// listener and kReservedDescriptors, or half of the limit if that is less, for the ring, the
/// signals, the log, the pipes that bulk transfers are spliced through and a connection's
/// descriptors between accept and the refusal. A proxy that serves both streams and datagrams gives
/// half of the rest to each, and a limit that an option sets leaves the rest as it is: descriptors
/// that run out pause accepting, they end nothing.
///
/// Sessions are at most kSessionsCeiling: each takes one of the host's ephemeral ports (28,232
/// unless net.ipv4.ip_local_port_range says otherwise), and a flood of spoofed clients must not
/// take the last one from the host's own name look-ups.
void set_default_limits(RelaySettings& settings, std::size_t descriptor_limit,
                        const ListenerCounts& listeners);

inline constexpr std::size_t kReservedDescriptors = 64;
inline constexpr std::size_t kSessionsCeiling = 16'384;

}  // namespace fairlead
