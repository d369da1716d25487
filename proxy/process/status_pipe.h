// How a proxy that dockerd started reports that it serves, or why not.

#pragma once

#include <string_view>

#include "proxy/net/file_descriptor.h"

namespace fairlead {

/// Descriptor 3, the write end of dockerd's pipe. dockerd reads `0\n`, or `1\n` and an error, once:
/// so each is a single write(2), after which the pipe is closed. A descriptor 3 that is not there
/// or cannot be written to is no error: someone runs the command line by hand.
class StatusPipe {
 public:
  /// Reports to nobody.
  StatusPipe() = default;

  /// Takes descriptor 3, if there is one, and marks it and descriptor 4 close-on-exec. Call before
  /// anything is opened, or descriptor 3 may be our own.
  static StatusPipe inherited();

  explicit StatusPipe(FileDescriptor fd) : fd_(std::move(fd)) {}

  /// `0\n`.
  void report_ready();
  /// `1\n<error>`, no newline at the end.
  void report_failure(std::string_view error);

 private:
  void report(std::string_view text);

  FileDescriptor fd_;
};

}  // namespace fairlead
