#include "proxy/process/signals.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>

#include <cerrno>
#include <initializer_list>

// syscalls: read

namespace fairlead {
namespace {

constexpr Tag kReadable = 0;

sigset_t held_signals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) ::sigaddset(&signals, signal);
  return signals;
}

}  // namespace

void hold_signals() {
  const sigset_t signals = held_signals();
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  // Also where SIGINT is ignored, as in a job that a shell put into the background: the kernel
  // keeps a blocked signal for signalfd(2) whatever its disposition.
  ::signal(SIGPIPE, SIG_IGN);
}

Result<FileDescriptor> SignalReader::open() {
  const sigset_t signals = held_signals();
  FileDescriptor fd(::signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!fd) return failed("signalfd", errno);
  return fd;
}

void SignalReader::start() { engine_.wait(*this, kReadable, fd_.get(), POLLIN); }

void SignalReader::on_completion(Completion completion) {
  if (completion.result == -ECANCELED) return;
  signalfd_siginfo info{};
  while (::read(fd_.get(), &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGUSR1) {
      counters_requested_ = true;
    } else {
      urgent_ = stop_signal_ != 0 || info.ssi_signo == SIGINT;
      stop_signal_ = static_cast<int>(info.ssi_signo);
    }
  }
  start();
}

}  // namespace fairlead
