// Which system calls a running proxy may make: seccomp(2).
//
// The calls are declared beside the code that makes them, in lines that begin with `// syscalls:`
// (declared_system_calls.cmake). A call that nobody has declared ends the process.

#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <vector>

#include "proxy/mapping/error.h"

namespace fairlead {

/// What calls are needed for, besides those that every proxy makes: bits.
enum class Need : std::uint8_t {
  always = 0,
  io_uring = 1,
  container_netns = 2,
  handover = 4,
  /// To remove the path of a UNIX socket.
  socket_file = 8,
};

constexpr Need operator|(Need a, Need b) {
  return static_cast<Need>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
constexpr bool covers(Need needs, Need need) {
  return (static_cast<unsigned>(needs) & static_cast<unsigned>(need)) ==
         static_cast<unsigned>(need);
}

/// What a call that is not allowed does: `kill` ends the process with SIGSYS at once; `name` writes
/// the call's name to standard error before that, for whoever looks for a missing declaration.
enum class Refusal : std::uint8_t { kill, name };

/// The filter, for these needs.
std::vector<sock_filter> system_call_filter(Need needs, Refusal refusal);

/// Puts it into force for this thread and those that it makes, for ever. REQUIRES: no_new_privs is
/// set, or CAP_SYS_ADMIN is had. Fails on a kernel without seccomp filters.
Result<void> install_system_call_filter(Need needs, Refusal refusal);

}  // namespace fairlead
