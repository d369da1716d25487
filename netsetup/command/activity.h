// What the published ports have done so far, as the rules and the proxies have counted it.

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "netsetup/firewall/firewall.h"
#include "netsetup/network/network.h"
#include "netsetup/proxies/proxy_counters.h"
#include "netsetup/state/state_directory.h"

namespace fairlead {

/// What a published port has done so far. Nothing: there is no such thing for it, or it is not
/// known.
struct PortActivity {
  std::string network;
  std::string container;
  PublishedPort port;
  Mode mode = Mode::both;
  /// Connections that the kernel has translated since the rules were loaded.
  std::optional<std::uint64_t> translated;
  /// What came by the proxy.
  std::optional<ProxyCounters> proxied;
  /// A proxy serves it, and has not said what it has counted.
  bool unanswered = false;

  bool same_port(const PortActivity& other) const {
    return network == other.network && container == other.container && port == other.port;
  }
};

using PortActivities = std::vector<PortActivity>;

/// The answers of the proxies, by their process id; of those that have answered.
using ProxyAnswers = std::map<pid_t, MappingCounters>;

/// Asks all of them; see ask_proxies().
ProxyAnswers ask_proxies(const Networks& networks, const StateDirectory& directory);

/// In the order of the networks, their containers and the ports of these. Without counters where
/// the rules have none.
PortActivities port_activities(const Networks& networks,
                               const std::optional<FirewallCounters>& counters,
                               const ProxyAnswers& proxies);

}  // namespace fairlead
