#include "bench/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include <cerrno>
#include <cstdlib>
#include <sstream>

namespace fairlead::bench {
namespace {

FileDescriptor memory_file(const char* name) {
  return FileDescriptor(::memfd_create(name, MFD_CLOEXEC));
}

std::string contents(const FileDescriptor& file) {
  std::string text;
  char block[16384];
  off_t offset = 0;
  while (true) {
    const ssize_t size = ::pread(file.get(), block, sizeof block, offset);
    if (size <= 0) return text;
    text.append(block, static_cast<std::size_t>(size));
    offset += size;
  }
}

}  // namespace

Result<ChildProcess> ChildProcess::spawn(const std::vector<std::string>& command,
                                         const SpawnOptions& options) {
  ChildProcess child;
  child.name_ = command.front();
  child.output_ = memory_file("stdout");
  child.errors_ = memory_file("stderr");
  const FileDescriptor input = memory_file("stdin");
  if (!child.output_ || !child.errors_ || !input) return failed("memfd_create", errno);
  if (::write(input.get(), options.input.data(), options.input.size()) < 0 ||
      ::lseek(input.get(), 0, SEEK_SET) < 0) {
    return failed("write standard input", errno);
  }

  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);

  int exec_time[2];
  if (::pipe2(exec_time, O_CLOEXEC) != 0) return failed("pipe2", errno);
  const FileDescriptor exec_time_reader(exec_time[0]);
  FileDescriptor exec_time_writer(exec_time[1]);

  const pid_t pid = ::fork();
  if (pid < 0) return failed("fork", errno);
  if (pid == 0) {
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    // The target of dup2 may be one of the sources, so these are moved out of the way first.
    const int in = ::fcntl(input.get(), F_DUPFD_CLOEXEC, 10);
    const int out = ::fcntl(child.output_.get(), F_DUPFD_CLOEXEC, 10);
    const int err = ::fcntl(child.errors_.get(), F_DUPFD_CLOEXEC, 10);
    const int exec_time_fd = ::fcntl(exec_time_writer.get(), F_DUPFD_CLOEXEC, 10);
    const int status = options.status_fd < 0 ? -1 : ::fcntl(options.status_fd, F_DUPFD_CLOEXEC, 10);
    if (options.network != nullptr && ::setns(options.network->fd(), CLONE_NEWNET) != 0) {
      ::_exit(126);
    }
    ::dup2(in, 0);
    ::dup2(out, 1);
    ::dup2(err, 2);
    if (status >= 0) ::dup2(status, 3);
    const std::int64_t now_ns = monotonic_ns();
    if (::write(exec_time_fd, &now_ns, sizeof now_ns) < 0) ::_exit(126);
    ::execvp(arguments[0], arguments.data());
    ::dprintf(2, "cannot run: %s\n", errno_text(errno).c_str());
    ::_exit(127);
  }
  child.pid_ = pid;
  exec_time_writer.reset();
  if (::read(exec_time_reader.get(), &child.exec_ns_, sizeof child.exec_ns_) <= 0) {
    return failed("a child ended before it could run " + child.name_);
  }
  return child;
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : name_(std::move(other.name_)),
      pid_(std::exchange(other.pid_, -1)),
      exec_ns_(other.exec_ns_),
      output_(std::move(other.output_)),
      errors_(std::move(other.errors_)) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  if (this != &other) {
    kill_and_reap();
    name_ = std::move(other.name_);
    pid_ = std::exchange(other.pid_, -1);
    exec_ns_ = other.exec_ns_;
    output_ = std::move(other.output_);
    errors_ = std::move(other.errors_);
  }
  return *this;
}

ChildProcess::~ChildProcess() { kill_and_reap(); }

void ChildProcess::kill_and_reap() {
  if (pid_ <= 0) return;
  ::kill(-pid_, SIGKILL);
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

std::string ChildProcess::output() const { return contents(output_); }
std::string ChildProcess::errors() const { return contents(errors_); }

void ChildProcess::signal(int signal_number) const {
  if (pid_ > 0) ::kill(pid_, signal_number);
}

Result<int> ChildProcess::wait(std::chrono::milliseconds limit) {
  const FileDescriptor process(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  if (!process) return failed(fmt::format("pidfd_open {}", name_), errno);
  pollfd ended{process.get(), POLLIN, 0};
  if (::poll(&ended, 1, static_cast<int>(limit.count())) <= 0) {
    kill_and_reap();
    return failed(fmt::format("{}: still running after {} ms", name_, limit.count()));
  }
  int status = 0;
  ::waitpid(pid_, &status, 0);
  ::kill(-pid_, SIGKILL);  // Whatever it left in its group.
  pid_ = -1;
  return status;
}

bool ChildProcess::running() const {
  if (pid_ <= 0) return false;
  siginfo_t ended{};
  ::waitid(P_PID, static_cast<id_t>(pid_), &ended, WEXITED | WNOHANG | WNOWAIT);
  return ended.si_pid == 0;
}

std::int64_t monotonic_ns() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

Result<std::string> run_command(const std::vector<std::string>& command,
                                const SpawnOptions& options, std::chrono::milliseconds limit) {
  Result<ChildProcess> child = ChildProcess::spawn(command, options);
  if (!child) return std::unexpected(child.error());
  const Result<int> status = child->wait(limit);
  if (!status) return std::unexpected(status.error());
  if (*status != 0) {
    return failed(fmt::format("{}: status {}: {}{}", fmt::join(command, " "), *status,
                              child->errors(), child->output()));
  }
  return child->output();
}

std::string find_program(const std::string& name) {
  if (name.contains('/')) return ::access(name.c_str(), X_OK) == 0 ? name : "";
  const char* search = ::getenv("PATH");
  std::istringstream folders(std::string(search != nullptr ? search : "") + ":/usr/sbin:/sbin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string path = folder + "/" + name;
    if (!folder.empty() && ::access(path.c_str(), X_OK) == 0) return path;
  }
  return "";
}

}  // namespace fairlead::bench
