// From the state a host is in to another one.

#pragma once

#include <string>
#include <vector>

#include "netsetup/host/host.h"
#include "netsetup/links/link_plan.h"
#include "netsetup/state/state.h"
#include "proxy/mapping/error.h"

namespace fairlead {

/// What a person should know of a change that has succeeded, a line each.
using Notes = std::vector<std::string>;

/// Brings the host from `state` to `wanted`, and `state` with it. After an error the host is back
/// where it was, and so is `state`; if even that failed, the error says so, and the next change or
/// recover() tries again. With Extent::everything also what should be there already is made where
/// it is missing: links, rules and proxies.
///
/// REQUIRES: check_networks(wanted) passed, and there is nothing unfinished.
Result<void> change(Host& host, State& state, Networks wanted, Extent extent, Notes& notes);

/// Takes back a change that was cut short, whatever of it was done: to `unfinished.before`, with
/// every other network as `state` has it.
Result<void> recover(Host& host, State& state, const Unfinished& unfinished, Notes& notes);

}  // namespace fairlead
