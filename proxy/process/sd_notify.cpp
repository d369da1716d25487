#include "proxy/process/sd_notify.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <string>

// syscalls: sendto

namespace fairlead {

Result<NotifySocket> NotifySocket::open(const char* name) {
  if (name == nullptr || *name == '\0') return NotifySocket(FileDescriptor());
  const std::string_view path(name);
  const std::string step = "NOTIFY_SOCKET \"" + std::string(path) + "\"";

  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if ((path[0] != '/' && path[0] != '@') || path.size() >= sizeof address.sun_path) {
    return failed(step + ": accepted: a path or @name");
  }
  std::ranges::copy(path, address.sun_path);
  if (path[0] == '@') address.sun_path[0] = '\0';
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());

  FileDescriptor fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return failed(step + ": socket", errno);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) < 0) {
    return failed(step + ": connect", errno);
  }
  return NotifySocket(std::move(fd));
}

Result<void> NotifySocket::send(std::string_view state) const {
  if (!fd_) return {};
  // Not waiting: a manager that does not read must not keep the proxy from serving.
  if (::send(fd_.get(), state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    return failed("NOTIFY_SOCKET: send " + std::string(state), errno);
  }
  return {};
}

}  // namespace fairlead
