#include "bench/network_namespace.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

namespace fairlead::bench {

Result<NetworkNamespace> NetworkNamespace::create() {
  int error_number = 0;
  FileDescriptor fd;
  // unshare() moves only the calling thread; the namespace outlives it through the descriptor.
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) != 0) {
      error_number = errno;
      return;
    }
    fd = FileDescriptor(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    if (!fd) error_number = errno;
  }).join();
  if (error_number != 0) return failed("unshare network namespace", error_number);
  return NetworkNamespace(std::move(fd));
}

std::string NetworkNamespace::path() const {
  return fmt::format("/proc/{}/fd/{}", ::getpid(), fd_.get());
}

void NetworkNamespace::run_inside(const std::function<void()>& work) const {
  std::thread([&] {
    if (::setns(fd_.get(), CLONE_NEWNET) == 0) work();
  }).join();
}

Result<void> NetworkNamespace::set_sysctl(const std::string& name, const std::string& value) const {
  const std::string path = "/proc/sys/" + name;
  int error_number = EPERM;
  // /proc/sys/net shows the namespace of the thread that opens the file.
  run_inside([&] {
    const FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    const bool written = file && ::write(file.get(), value.data(), value.size()) ==
                                     static_cast<ssize_t>(value.size());
    error_number = written ? 0 : errno;
  });
  if (error_number != 0) return failed(fmt::format("write {} to {}", value, path), error_number);
  return {};
}

}  // namespace fairlead::bench
