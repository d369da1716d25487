// What `--metrics` names.

#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>

#include "proxy/mapping/endpoint.h"
#include "proxy/mapping/error.h"

namespace fairlead {

/// `ADDR:PORT`, `unix:PATH` or `unix:DIRECTORY/`.
struct MetricsAddress {
  /// Of a TCP socket; nothing: of a UNIX socket.
  std::optional<Endpoint> endpoint;
  /// Of the UNIX socket; with a slash at the end: of the directory for the sockets of several
  /// processes.
  std::string path;

  /// The error says what is accepted.
  static Result<MetricsAddress> parse(std::string_view text);

  bool is_directory() const { return path.ends_with('/'); }
  /// Where the process `pid` serves: in a directory at PID.sock.
  std::string socket_path(pid_t pid) const;

  bool operator==(const MetricsAddress&) const = default;
};

}  // namespace fairlead
