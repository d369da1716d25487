// Telling a service manager such as systemd how a service does: sd_notify(3), the few lines of it
// that a proxy needs.

#pragma once

#include <string_view>
#include <utility>

#include "proxy/mapping/error.h"
#include "proxy/net/file_descriptor.h"

namespace fairlead {

/// The datagram socket that `NOTIFY_SOCKET` names. Opened before the process is isolated, when it
/// still can be.
///
/// Not for a proxy that dockerd started: dockerd is a notifying service itself and passes its
/// environment on, but its manager takes messages from the main process only and would log a
/// refused one for every proxy.
class NotifySocket {
 public:
  /// `name` is a path, or `@` and a name of the abstract name space. Notifies nobody when it is
  /// null or empty.
  static Result<NotifySocket> open(const char* name);

  /// Sends one state, `READY=1` or `STOPPING=1`, without waiting.
  Result<void> send(std::string_view state) const;

 private:
  explicit NotifySocket(FileDescriptor fd) : fd_(std::move(fd)) {}

  FileDescriptor fd_;
};

}  // namespace fairlead
