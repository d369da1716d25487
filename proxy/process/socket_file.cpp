#include "proxy/process/socket_file.h"

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

constexpr const char* kNewSuffix = ".new";

}  // namespace

Result<SocketFile> SocketFile::listen(const std::string& path, int type, mode_t mode) {
  FileDescriptor socket(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return failed("socket for " + path, errno);
  const std::string fresh = path + kNewSuffix;
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
  if (::listen(socket.get(), INT_MAX) < 0 || ::rename(fresh.c_str(), path.c_str()) < 0) {
    const int reason = errno;
    ::unlink(fresh.c_str());
    return failed("listen at " + path, reason);
  }
  return SocketFile(path, std::move(socket));
}

SocketFile::SocketFile(std::string path, FileDescriptor socket)
    : path_(std::move(path)), socket_(std::move(socket)) {
  struct stat facts{};
  if (::lstat(path_.c_str(), &facts) == 0) {
    device_ = facts.st_dev;
    inode_ = facts.st_ino;
  }
}

SocketFile::SocketFile(SocketFile&& other) noexcept
    : path_(std::exchange(other.path_, {})),
      socket_(std::move(other.socket_)),
      device_(other.device_),
      inode_(other.inode_) {}

SocketFile::~SocketFile() {
  if (path_.empty()) return;
  struct stat facts{};
  if (::lstat(path_.c_str(), &facts) == 0 && facts.st_dev == device_ && facts.st_ino == inode_) {
    ::unlink(path_.c_str());
  }
}

}  // namespace fairlead
