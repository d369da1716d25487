// Sockets that a service manager such as systemd has opened and passed in: sd_listen_fds(3).

#pragma once

#include <cstdint>
#include <vector>

#include "proxy/mapping/error.h"

namespace fairlead {

/// The descriptors 3, 4, ... that `LISTEN_FDS` counts; none unless `LISTEN_PID` is this process,
/// since the variables may be left over from another one. Either may be null: unset. The error
/// names the variable and its value.
Result<std::vector<int>> listen_fds(const char* listen_pid, const char* listen_fds,
                                    std::int64_t own_pid);

}  // namespace fairlead
