// Commands that look at the state and at the host, and change neither.

#pragma once

#include "netsetup/command/command_line.h"
#include "proxy/mapping/error.h"

namespace fairlead {

/// Prints what was asked for. The exit code: 1 when `check` has found something wrong. Whoever
/// changes the state meanwhile is not waited for.
Result<int> run_look(const NetCommandLine& line, const LookCommand& command);

}  // namespace fairlead
