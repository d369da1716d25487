// The fairlead-proxy of a container: started, watched and stopped, each time by another run of
// fairlead-net.
//
// A proxy is a session of its own with no descriptor but the log, so that it outlives who started
// it and holds nothing open. It is addressed through a pidfd that was checked against the moment
// the process began: never another process that was given its number. Its environment names the
// state directory it was started for, so that one whose start was cut short can be found.
//
// When ports change a new proxy takes the place of the old one (`fairlead-proxy --handover`), which
// goes on until its last connection has ended.

#pragma once

#include <span>
#include <string>
#include <vector>

#include "netsetup/network/network.h"
#include "proxy/mapping/error.h"
#include "proxy/mapping/mapping.h"

namespace fairlead {

struct ProxyLaunch {
  /// Path of fairlead-proxy.
  std::string program;
  /// For find_proxies().
  std::string state_directory;
  /// Appended to; begun anew where it is larger than 1 MiB.
  std::string log;
  /// Where it serves what it has counted, at PID.sock.
  std::string metrics_directory;
  /// The socket by which it takes over from the one before it, and hands over to the next.
  std::string handover;
};

/// One `-p` for each mapping: the proxy counts by these.
std::vector<std::string> proxy_arguments(const std::string& metrics_directory,
                                         const std::string& handover,
                                         std::span<const Mapping> mappings);

/// Returns when the proxy says that it serves; all or nothing. Whoever listens at launch.handover
/// serves `taken_over`, and drains afterwards; after an error it goes on. The error is the proxy's
/// own, or that execve(2) takes no arguments so long: those of about 40,000 mappings where the
/// stack may have 8 MiB.
Result<ProxyProcess> start_proxy(const ProxyLaunch& launch, std::span<const Mapping> mappings,
                                 std::span<const Mapping> taken_over);

bool is_running(const ProxyProcess& process);

/// SIGINT, which has it end at once, and SIGKILL if that does not help. Returns once the process
/// has ended and its ports are free; no error if it had before.
Result<void> stop_proxy(const ProxyProcess& process);

/// Every process that was started for this state directory.
Result<std::vector<ProxyProcess>> find_proxies(const std::string& state_directory);

/// The proxy that belongs to this program: beside it, in bin where this is in sbin, or where the
/// build puts it. Error: it is in none of these.
Result<std::string> find_proxy_program();

}  // namespace fairlead
