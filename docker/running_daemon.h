// The dockerd that runs on this machine, as far as /proc tells: a daemon reads userland-proxy-path
// when it starts and never again (its reload on SIGHUP leaves that option out), so whether a change
// is in force depends on which came first.

#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fairlead {

inline constexpr const char* kDefaultPidFile = "/var/run/docker.pid";

struct RunningDaemon {
  pid_t pid = 0;
  /// By the clock that dates files, and up to a hundredth of a second too late: a file that was
  /// written in that time is one that the daemon has read, since it takes longer to come to that.
  std::chrono::system_clock::time_point started;
  /// Without the program.
  std::vector<std::string> arguments;
  /// How many proxies of each program are its children.
  std::map<std::string, int> proxies;

  /// The value of `--name value` or `--name=value`, the last of several.
  std::optional<std::string> option(std::string_view name) const;
};

/// Nothing when the file is not there or does not name a process of that name.
std::optional<RunningDaemon> find_running_daemon(const std::string& pid_file);

}  // namespace fairlead
