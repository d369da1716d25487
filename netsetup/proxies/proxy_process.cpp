#include "netsetup/proxies/proxy_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string_view>

#include "netsetup/state/text_file.h"
#include "proxy/mapping/decimal.h"
#include "proxy/net/file_descriptor.h"

// glibc 2.36 declares it for C alone (fixed in 2.37).
extern "C" {
#include <sys/pidfd.h>
}

namespace fairlead {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

/// Binding ten thousand ports takes a fraction of a second; a machine may be busy.
constexpr std::chrono::seconds kStartPatience{30};
constexpr std::chrono::seconds kStopPatience{5};
/// What fairlead-proxy takes at most, a day: a connection should not end because of another port.
constexpr const char* kDrainSeconds = "86400";
constexpr off_t kLogLimitBytes = off_t{1} << 20;
constexpr std::string_view kStateVariable = "FAIRLEAD_NET_STATE";
/// What a service manager may have given us, and is not the proxy's.
constexpr std::array<std::string_view, 3> kWithheld = {
    "NOTIFY_SOCKET=", "LISTEN_PID=", "LISTEN_FDS="};

// Processes.

/// Field 22 of /proc/PID/stat. Nothing: see errno.
std::optional<std::uint64_t> start_time(pid_t pid) {
  const FileDescriptor file(
      ::open(fmt::format("/proc/{}/stat", pid).c_str(), O_RDONLY | O_CLOEXEC));
  // The fields before it are shorter than that.
  std::array<char, 1024> buffer;
  const ssize_t size = file ? ::read(file.get(), buffer.data(), buffer.size()) : -1;
  if (size < 0) return std::nullopt;
  std::string_view rest(buffer.data(), static_cast<std::size_t>(size));
  errno = EINVAL;
  // The name of the program, in parentheses, may have spaces and parentheses in it.
  const std::size_t parenthesis = rest.rfind(')');
  if (parenthesis == std::string_view::npos) return std::nullopt;
  rest.remove_prefix(parenthesis + 1);
  for (int field = 3; field <= 22; ++field) {
    if (!rest.starts_with(' ')) return std::nullopt;
    rest.remove_prefix(1);
    const std::string_view word = rest.substr(0, rest.find(' '));
    if (field == 22) return parse_decimal<std::uint64_t>(word);
    rest.remove_prefix(word.size());
  }
  return std::nullopt;
}

bool has_ended(const FileDescriptor& pidfd, std::chrono::milliseconds patience) {
  const auto end = Clock::now() + patience;
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
    pollfd poll{.fd = pidfd.get(), .events = POLLIN, .revents = 0};
    const int count = ::poll(&poll, 1, static_cast<int>(std::max<std::int64_t>(left, 0)));
    if (count > 0) return true;
    if (count == 0) return false;
    if (errno != EINTR) return false;
  }
}

/// Empty: see errno. ESRCH: the process is not there any more.
FileDescriptor open_process(const ProxyProcess& process) {
  FileDescriptor pidfd(::pidfd_open(process.pid, 0));
  if (!pidfd) return pidfd;
  const auto began = start_time(process.pid);
  if (began == process.start_time) return pidfd;
  const int reason = began || errno == ENOENT ? ESRCH : errno;
  pidfd.reset();
  errno = reason;
  return pidfd;
}

/// A process that this very run has started would stay as a zombie otherwise.
void reap(const FileDescriptor& pidfd) {
  siginfo_t info{};
  ::waitid(P_PIDFD, static_cast<id_t>(pidfd.get()), &info, WEXITED | WNOHANG);
}

/// Our own, whose number is not given to another before it is waited for.
void end_child(pid_t pid) {
  ::kill(pid, SIGKILL);
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

// The start.

/// Where the proxy says READY=1: sd_notify(3).
struct NotifySocket {
  FileDescriptor fd;
  /// As NOTIFY_SOCKET has it.
  std::string name;
};

Result<NotifySocket> open_notify_socket() {
  FileDescriptor fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return failed("socket for the proxy's notification", errno);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  // A bare family has the kernel pick a free name of the abstract name space: unix(7), autobind.
  socklen_t length = sizeof(sa_family_t);
  if (::bind(fd.get(), generic, length) != 0) return failed("bind the proxy's notification", errno);
  length = sizeof(address);
  if (::getsockname(fd.get(), generic, &length) != 0) {
    return failed("name of the proxy's notification socket", errno);
  }
  const std::size_t size = length - offsetof(sockaddr_un, sun_path) - 1;
  return NotifySocket{std::move(fd), "@" + std::string(address.sun_path + 1, size)};
}

Result<FileDescriptor> open_log(const std::string& path) {
  FileDescriptor log(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!log) return failed("open " + path, errno);
  struct stat facts{};
  if (::fstat(log.get(), &facts) == 0 && facts.st_size > kLogLimitBytes &&
      ::ftruncate(log.get(), 0) != 0) {
    return failed("truncate " + path, errno);
  }
  return log;
}

std::vector<std::string> proxy_environment(const ProxyLaunch& launch, const std::string& socket) {
  std::vector<std::string> environment;
  for (char** entry = ::environ; *entry != nullptr; ++entry) {
    const std::string_view variable(*entry);
    const auto begins = [&](std::string_view name) { return variable.starts_with(name); };
    if (begins(kStateVariable) || std::ranges::any_of(kWithheld, begins)) continue;
    environment.emplace_back(variable);
  }
  environment.push_back("NOTIFY_SOCKET=" + socket);
  environment.push_back(fmt::format("{}={}", kStateVariable, launch.state_directory));
  return environment;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

/// Actions and attributes of posix_spawn(3), with an owner.
class SpawnSettings {
 public:
  SpawnSettings() {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawnattr_init(&attributes_);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
  ~SpawnSettings() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }

  /// A session of its own at /, with nothing open but /dev/null and the log. 0, or an error number.
  int detach(const FileDescriptor& log) {
    for (const int error :
         {::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0),
          ::posix_spawn_file_actions_adddup2(&actions_, log.get(), STDOUT_FILENO),
          ::posix_spawn_file_actions_adddup2(&actions_, log.get(), STDERR_FILENO),
          ::posix_spawn_file_actions_addclosefrom_np(&actions_, STDERR_FILENO + 1),
          ::posix_spawn_file_actions_addchdir_np(&actions_, "/"),
          ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSID)}) {
      if (error != 0) return error;
    }
    return 0;
  }

  int spawn(pid_t& pid, const std::string& program, char* const* arguments,
            char* const* environment) {
    return ::posix_spawn(&pid, program.c_str(), &actions_, &attributes_, arguments, environment);
  }

 private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
};

/// While it lives, the hard limit of open files leaves as many as before when all of these ports
/// have been opened. Without CAP_SYS_RESOURCE the limit stays as it is.
class RoomForPorts {
 public:
  RoomForPorts(std::span<const Mapping> mappings, std::span<const Mapping> taken_over) {
    if (::getrlimit(RLIMIT_NOFILE, &before_) != 0) return;
    rlimit raised = before_;
    for (const std::span<const Mapping> ports : {mappings, taken_over}) {
      for (const Mapping& mapping : ports) {
        raised.rlim_max += (mapping.host_ip ? 1U : 2U) * rlim_t{mapping.host_ports.size()};
      }
    }
    raised_ = ::setrlimit(RLIMIT_NOFILE, &raised) == 0;
  }
  RoomForPorts(const RoomForPorts&) = delete;
  RoomForPorts& operator=(const RoomForPorts&) = delete;
  ~RoomForPorts() {
    if (raised_) ::setrlimit(RLIMIT_NOFILE, &before_);
  }

 private:
  rlimit before_{};
  bool raised_ = false;
};

/// The error that the proxy has written since `offset`. The one before it writes there, too, and
/// has its say about a handover that failed.
std::string last_words(const std::string& path, off_t offset) {
  const auto log = read_file(path);
  if (!log) return log.error().message;
  std::string text = log->substr(std::min(log->size(), static_cast<std::size_t>(offset)));
  if (text.ends_with('\n')) text.pop_back();
  constexpr std::string_view kPrefix = "\nfairlead-proxy: ";
  const std::size_t error = ("\n" + text).rfind(kPrefix);
  if (error == std::string::npos) {
    const std::string last = text.substr(text.rfind('\n') + 1);
    return last.empty() ? "it ended without a word" : last;
  }
  text.erase(0, error + kPrefix.size() - 1);
  return text.substr(0, text.find('\n'));
}

/// True: it serves. False: it has ended, or does not say anything.
bool wait_until_ready(const NotifySocket& socket, const FileDescriptor& pidfd) {
  const auto end = Clock::now() + kStartPatience;
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
    if (left <= 0) return false;
    std::array<pollfd, 2> polls = {pollfd{.fd = socket.fd.get(), .events = POLLIN, .revents = 0},
                                   pollfd{.fd = pidfd.get(), .events = POLLIN, .revents = 0}};
    if (::poll(polls.data(), polls.size(), static_cast<int>(left)) < 0 && errno != EINTR) {
      return false;
    }
    std::array<char, 64> message{};
    const ssize_t size = ::recv(socket.fd.get(), message.data(), message.size(), 0);
    if (size > 0 && std::string_view(message.data(), static_cast<std::size_t>(size)) == "READY=1") {
      return true;
    }
    if (polls[1].revents != 0) return false;
  }
}

}  // namespace

std::vector<std::string> proxy_arguments(const std::string& metrics_directory,
                                         const std::string& handover,
                                         std::span<const Mapping> mappings) {
  std::vector<std::string> arguments = {"--metrics",        "unix:" + metrics_directory + "/",
                                        "--handover",       handover,
                                        "--handover-drain", kDrainSeconds};
  for (const Mapping& mapping : mappings) {
    arguments.emplace_back("-p");
    arguments.push_back(mapping.to_string());
  }
  return arguments;
}

Result<ProxyProcess> start_proxy(const ProxyLaunch& launch, std::span<const Mapping> mappings,
                                 std::span<const Mapping> taken_over) {
  const auto socket = open_notify_socket();
  if (!socket) return std::unexpected(socket.error());
  const auto log = open_log(launch.log);
  if (!log) return std::unexpected(log.error());
  const off_t log_start = ::lseek(log->get(), 0, SEEK_END);

  std::vector<std::string> arguments = {launch.program};
  for (std::string& argument :
       proxy_arguments(launch.metrics_directory, launch.handover, mappings)) {
    arguments.push_back(std::move(argument));
  }
  std::vector<std::string> environment = proxy_environment(launch, socket->name);
  SpawnSettings settings;
  int error = settings.detach(*log);
  if (error != 0) return failed("start " + launch.program, error);
  ProxyProcess process;
  const RoomForPorts room(mappings, taken_over);
  error = settings.spawn(process.pid, launch.program, pointers(arguments).data(),
                         pointers(environment).data());
  if (error == E2BIG) {
    return failed(
        fmt::format("{} mappings are more than its command line holds: publish ports that lie side "
                    "by side as ranges",
                    mappings.size()));
  }
  if (error != 0) return failed("start " + launch.program, error);
  const FileDescriptor pidfd(::pidfd_open(process.pid, 0));
  const auto began = pidfd ? start_time(process.pid) : std::nullopt;
  if (!began) {
    // It could not be told from another one later.
    error = errno;
    end_child(process.pid);
    return failed(fmt::format("look at fairlead-proxy, process {}", process.pid), error);
  }
  process.start_time = *began;
  if (wait_until_ready(*socket, pidfd)) return process;

  const bool ended = has_ended(pidfd, std::chrono::milliseconds(0));
  end_child(process.pid);
  if (!ended) return failed("fairlead-proxy does not say that it serves; see " + launch.log);
  return failed(last_words(launch.log, log_start));
}

bool is_running(const ProxyProcess& process) {
  const FileDescriptor pidfd = open_process(process);
  // Want of a descriptor does not mean that it has ended.
  return pidfd ? !has_ended(pidfd, std::chrono::milliseconds(0)) : errno != ESRCH;
}

Result<void> stop_proxy(const ProxyProcess& process) {
  const FileDescriptor pidfd = open_process(process);
  if (!pidfd) {
    if (errno == ESRCH) return {};
    return failed(fmt::format("stop fairlead-proxy, process {}", process.pid), errno);
  }
  for (const int signal : {SIGINT, SIGKILL}) {
    if (::pidfd_send_signal(pidfd.get(), signal, nullptr, 0) != 0 && errno != ESRCH) {
      return failed(fmt::format("stop fairlead-proxy, process {}", process.pid), errno);
    }
    if (has_ended(pidfd, kStopPatience)) {
      reap(pidfd);
      return {};
    }
  }
  return failed(fmt::format("fairlead-proxy, process {}, does not end", process.pid));
}

Result<std::vector<ProxyProcess>> find_proxies(const std::string& state_directory) {
  const std::string wanted = fmt::format("{}={}", kStateVariable, state_directory);
  std::vector<ProxyProcess> found;
  std::error_code code;
  for (fs::directory_iterator entry("/proc", code), end; !code && entry != end;
       entry.increment(code)) {
    const auto pid = parse_decimal<pid_t>(entry->path().filename().string());
    if (!pid) continue;
    const auto environment = read_file(entry->path() / "environ");
    if (!environment) continue;
    // Each variable ends with a zero byte.
    const std::string delimited = '\0' + *environment;
    if (!delimited.contains('\0' + wanted + '\0')) continue;
    if (const auto began = start_time(*pid)) found.push_back({*pid, *began});
  }
  // One that is missing would go on for ever.
  if (code) return failed("list /proc", code.value());
  return found;
}

Result<std::string> find_proxy_program() {
  std::error_code code;
  const fs::path here = fs::read_symlink("/proc/self/exe", code).parent_path();
  for (const char* place : {"fairlead-proxy", "../bin/fairlead-proxy", "../proxy/fairlead-proxy"}) {
    const fs::path clean = (here / place).lexically_normal();
    if (::access(clean.c_str(), X_OK) == 0) return clean.string();
  }
  return failed("fairlead-proxy is neither beside fairlead-net (" + here.string() +
                ") nor in the bin directory there; name it with --proxy");
}

}  // namespace fairlead
