#include "proxy/process/status_pipe.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <string>

// syscalls: newfstatat|fstat fcntl write

namespace fairlead {
namespace {

constexpr int kStatusDescriptor = 3;
constexpr int kListenDescriptor = 4;

}  // namespace

StatusPipe StatusPipe::inherited() {
  ::fcntl(kListenDescriptor, F_SETFD, FD_CLOEXEC);
  if (::fcntl(kStatusDescriptor, F_SETFD, FD_CLOEXEC) < 0) return {};
  return StatusPipe(FileDescriptor(kStatusDescriptor));
}

void StatusPipe::report_ready() { report("0\n"); }

void StatusPipe::report_failure(std::string_view error) { report("1\n" + std::string(error)); }

void StatusPipe::report(std::string_view text) {
  if (!fd_) return;
  // A reader that does not read must not keep a published port waiting. Only on a pipe: the flag
  // is shared with everyone who has the same terminal or file open.
  struct stat status{};
  if (::fstat(fd_.get(), &status) == 0 && S_ISFIFO(status.st_mode)) {
    const int flags = ::fcntl(fd_.get(), F_GETFL);
    ::fcntl(fd_.get(), F_SETFL, flags | O_NONBLOCK);
  }
  // Nobody is left to tell when this fails.
  [[maybe_unused]] const ssize_t written = ::write(fd_.get(), text.data(), text.size());
  fd_.reset();
}

}  // namespace fairlead
