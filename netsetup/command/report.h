// What the commands print.

#pragma once

#include <optional>
#include <string>
#include <vector>

#include "netsetup/command/activity.h"
#include "netsetup/firewall/firewall.h"
#include "netsetup/host/kernel_host.h"
#include "netsetup/state/state.h"
#include "proxy/mapping/error.h"

namespace fairlead {

/// Columns as wide as what is in them, two spaces apart.
std::string table(const std::vector<std::vector<std::string>>& rows);

/// What is wrong with the host, a line each; empty: all is as the state has it.
std::vector<std::string> find_problems(KernelHost& host, const State& state, bool unfinished);

std::string problems_json(const std::vector<std::string>& problems);

/// One line for each network.
std::string list_networks(const Networks& networks);
/// Its settings and containers, and what is wrong with them.
std::string inspect_network(const Network& network, const std::vector<std::string>& problems);

/// One line for each container, then what is wrong; in JSON also what each port has done. Without
/// counters where they cannot be read. `activities` are port_activities(networks, counters, ...).
std::string status_text(const Networks& networks, const std::optional<FirewallCounters>& counters,
                        const PortActivities& activities, const std::vector<std::string>& problems);
std::string status_json(const Networks& networks, const std::optional<FirewallCounters>& counters,
                        const PortActivities& activities, const std::vector<std::string>& problems);

/// Links, kernel settings, rules and proxies that would be changed.
struct PlannedChange {
  std::vector<std::string> links;
  std::vector<SysctlSetting> sysctls;
  Backend backend = Backend::none;
  std::string rules;
  std::vector<std::string> proxies;
};
Result<PlannedChange> plan_change(KernelHost& host, const State& state, const Networks& wanted,
                                  Extent extent);
std::string planned_text(const PlannedChange& change);
std::string planned_json(const PlannedChange& change);

}  // namespace fairlead
