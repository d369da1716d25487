// A listening UNIX socket and its path.

#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>

#include "proxy/mapping/error.h"
#include "proxy/net/file_descriptor.h"

namespace fairlead {

/// Longest path: that of a UNIX socket (unix(7)), less what is added while a new one is made.
inline constexpr std::size_t kSocketPathMax = 103;

class SocketFile {
 public:
  /// Where whoever had `path` is found while a new one has it and is not sure of it.
  static std::string displaced_path(const std::string& path) { return path + ".new"; }

  /// Listens at `path`, which becomes the new socket's at once, whoever had it before: nobody who
  /// connects meets a gap. Until settle() whoever had it gets it back when this is destroyed, and
  /// is found at displaced_path() meanwhile. `type` as in socket(2), non-blocking and close-on-exec
  /// are added; `mode` is the file's. The error names the path.
  static Result<SocketFile> listen(const std::string& path, int type, mode_t mode);

  SocketFile(SocketFile&& other) noexcept;
  SocketFile& operator=(SocketFile&&) = delete;
  /// Removes the path, if it is still its own.
  ~SocketFile();

  /// Whoever had the path before has no more use for it.
  void settle();

  /// Who gives up listening may take it from here.
  FileDescriptor& socket() { return socket_; }
  const FileDescriptor& socket() const { return socket_; }
  const std::string& path() const { return path_; }

 private:
  SocketFile(std::string path, std::string displaced, FileDescriptor socket);

  std::string path_;
  /// Where the socket is that had the path before, if one had.
  std::string displaced_;
  FileDescriptor socket_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace fairlead
