// Commands that change the desired state, and the host with it.

#pragma once

#include "netsetup/command/command_line.h"
#include "proxy/mapping/error.h"

namespace fairlead {

/// Under the lock of the state directory: takes back what an earlier run has left unfinished, edits
/// the desired state, checks it and brings the host to it, or with --dry-run says what that would
/// do. Prints the outcome, and notes on standard error.
Result<void> run_edit(const NetCommandLine& line, const EditCommand& command);

}  // namespace fairlead
