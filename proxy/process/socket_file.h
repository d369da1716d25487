// A listening UNIX socket and its path.

#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>

#include "proxy/mapping/error.h"
#include "proxy/net/file_descriptor.h"

namespace fairlead {

/// Longest path: that of a UNIX socket (unix(7)), less what is added while a new one is made.
inline constexpr std::size_t kSocketPathMax = 100;

class SocketFile {
 public:
  /// Listens at `path`, which becomes the new socket's at once, whoever had it before: nobody who
  /// connects meets a gap. `type` as in socket(2), non-blocking and close-on-exec are added; `mode`
  /// is the file's. The error names the path.
  static Result<SocketFile> listen(const std::string& path, int type, mode_t mode);

  SocketFile(SocketFile&& other) noexcept;
  SocketFile& operator=(SocketFile&&) = delete;
  /// Removes the path, if it is still its own.
  ~SocketFile();

  /// Who gives up listening may take it from here.
  FileDescriptor& socket() { return socket_; }
  const FileDescriptor& socket() const { return socket_; }
  const std::string& path() const { return path_; }

 private:
  SocketFile(std::string path, FileDescriptor socket);

  std::string path_;
  FileDescriptor socket_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace fairlead
