#include "proxy/process/socket_file.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <utility>

// syscalls[socket_file]: unlink newfstatat|fstat

namespace fairlead {
namespace {

bool exchange(const std::string& one, const std::string& other) {
  return ::renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE) == 0;
}

}  // namespace

Result<SocketFile> SocketFile::listen(const std::string& path, int type, mode_t mode) {
  FileDescriptor socket(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return failed("socket for " + path, errno);
  const std::string fresh = displaced_path(path);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  fresh.copy(address.sun_path, sizeof address.sun_path - 1);
  ::unlink(fresh.c_str());
  const mode_t mask = ::umask(~mode & 0777);
  const int bound =
      ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int bind_error = errno;
  ::umask(mask);
  if (bound < 0) return failed("bind " + fresh, bind_error);
  const bool listens = ::listen(socket.get(), INT_MAX) == 0;
  if (listens && exchange(fresh, path)) return SocketFile(path, fresh, std::move(socket));
  // Nobody had it, or the file system cannot exchange.
  if (!listens || ::rename(fresh.c_str(), path.c_str()) < 0) {
    const int reason = errno;
    ::unlink(fresh.c_str());
    return failed("listen at " + path, reason);
  }
  return SocketFile(path, {}, std::move(socket));
}

SocketFile::SocketFile(std::string path, std::string displaced, FileDescriptor socket)
    : path_(std::move(path)), displaced_(std::move(displaced)), socket_(std::move(socket)) {
  struct stat facts{};
  if (::lstat(path_.c_str(), &facts) == 0) {
    device_ = facts.st_dev;
    inode_ = facts.st_ino;
  }
}

SocketFile::SocketFile(SocketFile&& other) noexcept
    : path_(std::exchange(other.path_, {})),
      displaced_(std::exchange(other.displaced_, {})),
      socket_(std::move(other.socket_)),
      device_(other.device_),
      inode_(other.inode_) {}

SocketFile::~SocketFile() {
  if (path_.empty()) return;
  struct stat facts{};
  if (::lstat(path_.c_str(), &facts) < 0 || facts.st_dev != device_ || facts.st_ino != inode_) {
    return;
  }
  if (displaced_.empty()) {
    ::unlink(path_.c_str());
  } else {
    ::rename(displaced_.c_str(), path_.c_str());
  }
}

void SocketFile::settle() {
  if (!displaced_.empty()) ::unlink(displaced_.c_str());
  displaced_.clear();
}

}  // namespace fairlead
