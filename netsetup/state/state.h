// What fairlead-net remembers of a host between two of its runs.

#pragma once

#include <optional>
#include <vector>

#include "netsetup/firewall/firewall.h"
#include "netsetup/firewall/sysctls.h"
#include "netsetup/network/network.h"

namespace fairlead {

struct State {
  /// What is in force, and its processes.
  Networks networks;
  /// The firewall back end that carries the rules; nothing: there are none yet.
  std::optional<Backend> backend;
  /// Kernel settings that were changed, with what was there before.
  std::vector<SysctlRecord> sysctls;

  bool operator==(const State&) const = default;
};

/// A change that has begun: the networks that differ, as they were and as they were to become. What
/// of `after` is there already is not known.
struct Unfinished {
  Networks before;
  Networks after;

  bool operator==(const Unfinished&) const = default;
};

}  // namespace fairlead
