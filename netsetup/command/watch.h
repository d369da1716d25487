// `status --watch`: what goes on at the published ports, shown again and again.

#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>

#include "netsetup/command/activity.h"
#include "proxy/mapping/error.h"

namespace fairlead {

/// In characters. 0: without end.
struct ScreenSize {
  std::size_t rows = 0;
  std::size_t columns = 0;
};

/// One line for each port, with what has come to be since `before`, which was `elapsed` ago. The
/// ports with the highest rates, of connections and then of bytes, are shown where there is no room
/// for all. Both are in the order of port_activities().
std::string activity_table(const PortActivities& before, const PortActivities& now,
                           std::chrono::duration<double> elapsed, ScreenSize size);

/// What the ports have done by now. An error ends the watch.
using ActivitySource = std::function<Result<PortActivities>()>;

/// Until SIGINT, SIGTERM or SIGHUP. On a terminal the table has the alternate screen, which is left
/// as the process ends, and is drawn anew when the window changes its size; elsewhere each table
/// follows the one before. Whoever changes the state meanwhile is seen with the next table.
Result<int> run_watch(std::chrono::seconds interval, const ActivitySource& source);

}  // namespace fairlead
