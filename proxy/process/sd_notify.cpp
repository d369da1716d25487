#include "proxy/process/sd_notify.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <string>

#include "proxy/net/file_descriptor.h"

namespace fairlead {

Result<void> sd_notify(const char* socket_name, std::string_view state) {
  if (socket_name == nullptr || *socket_name == '\0') return {};
  const std::string_view name(socket_name);
  const std::string step = "NOTIFY_SOCKET \"" + std::string(name) + "\"";

  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if ((name[0] != '/' && name[0] != '@') || name.size() >= sizeof address.sun_path) {
    return failed(step + ": accepted: a path or @name");
  }
  std::ranges::copy(name, address.sun_path);
  if (name[0] == '@') address.sun_path[0] = '\0';
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());

  const FileDescriptor fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return failed(step + ": socket", errno);
  const auto* target = reinterpret_cast<const sockaddr*>(&address);
  // Not waiting: a manager that does not read must not keep the proxy from serving.
  if (::sendto(fd.get(), state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT, target, size) <
      0) {
    return failed(step + ": send", errno);
  }
  return {};
}

}  // namespace fairlead
