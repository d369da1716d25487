// Telling a service manager such as systemd how a service does: sd_notify(3), the few lines of it
// that a proxy needs.

#pragma once

#include <string_view>

#include "proxy/mapping/error.h"

namespace fairlead {

/// Sends one state, `READY=1` or `STOPPING=1`, to the datagram socket that `NOTIFY_SOCKET` names:
/// a path, or `@` and a name of the abstract name space. Does nothing when `socket_name` is null or
/// empty.
///
/// Not for a proxy that dockerd started: dockerd is a notifying service itself and passes its
/// environment on, but its manager takes messages from the main process only and would log a
/// refused one for every proxy.
Result<void> sd_notify(const char* socket_name, std::string_view state);

}  // namespace fairlead
