// What fairlead-net keeps of root's privileges.

#pragma once

#include "netsetup/command/command_line.h"
#include "proxy/mapping/error.h"

namespace fairlead {

/// Gives up, for ever, all that no step of this command takes; the programs that it runs, tools of
/// the firewall and proxies, can have no more than what is left. See privileges.cpp for what stays.
/// Fails where the kernel does not let it.
Result<void> limit_privileges(const NetCommandLine& line);

}  // namespace fairlead
