// Which proxy a Docker daemon starts for published ports: `userland-proxy-path` of its daemon.json,
// switched to Fairlead's and back.
//
// What stood there before is kept in a file beside the daemon.json (`daemon.json.fairlead`) until
// it is put back.

#pragma once

#include <string>

#include "proxy/mapping/error.h"

namespace fairlead {

inline constexpr const char* kDefaultDaemonJson = "/etc/docker/daemon.json";

struct ProxySetting {
  /// The daemon.json. It need not be there.
  std::string config;
  /// The absolute path of fairlead-proxy.
  std::string proxy;

  /// Each returns what is to be told, in whole lines. Repeated, the first two change nothing.

  /// Fails, without having changed anything, where the daemon could not start afterwards.
  Result<std::string> enable() const;
  /// Puts back what stood there before, to the byte; a value that somebody has set since then
  /// stays.
  Result<std::string> disable() const;
  Result<std::string> status() const;
};

}  // namespace fairlead
