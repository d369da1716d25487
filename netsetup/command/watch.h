// `status --watch`: what goes on at the published ports, shown again and again.

#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "netsetup/command/command_line.h"
#include "netsetup/firewall/firewall.h"
#include "netsetup/network/network.h"
#include "netsetup/proxies/proxy_counters.h"
#include "netsetup/state/state_directory.h"
#include "proxy/mapping/error.h"

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

/// The answers of the proxies that run, by their number.
using ProxyAnswers = std::map<pid_t, MappingCounters>;

/// Asks all of them; see ask_proxies().
ProxyAnswers ask_proxies(const Networks& networks, const StateDirectory& directory);

PortActivities port_activities(const Networks& networks,
                               const std::optional<FirewallCounters>& counters,
                               const ProxyAnswers& proxies);

/// In characters. 0: without end.
struct ScreenSize {
  std::size_t rows = 0;
  std::size_t columns = 0;
};

/// One line for each port, with what has come to be since `before`, which was `elapsed` ago. The
/// ports with the highest rates, of connections and then of bytes, are shown where there is no room
/// for all. Both are in the order of
/// port_activities().
std::string activity_table(const PortActivities& before, const PortActivities& now,
                           std::chrono::duration<double> elapsed, ScreenSize size);

/// Until SIGINT, SIGTERM or SIGHUP. On a terminal the table has the alternate screen, which is left
/// as the process ends, and is drawn anew when the window changes its size; elsewhere each table
/// follows the one before. Whoever changes the state meanwhile is seen with the next table.
Result<int> run_watch(const NetCommandLine& line, std::chrono::seconds interval);

}  // namespace fairlead
