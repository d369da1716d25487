#include "netsetup/firewall/tool.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "proxy/net/file_descriptor.h"

namespace fairlead {
namespace {

/// A standard stream of the program. In memory, so that neither side ever waits for the other.
Result<FileDescriptor> open_stream(std::string_view content) {
  FileDescriptor fd(::memfd_create("fairlead-net", MFD_CLOEXEC));
  if (!fd) return failed("memfd_create", errno);
  while (!content.empty()) {
    const ssize_t written = ::write(fd.get(), content.data(), content.size());
    if (written < 0) return failed("write to a memfd", errno);
    content.remove_prefix(static_cast<std::size_t>(written));
  }
  ::lseek(fd.get(), 0, SEEK_SET);
  return fd;
}

Result<std::string> read_stream(const FileDescriptor& fd) {
  std::string content;
  std::array<char, 65536> buffer;
  off_t offset = 0;
  while (true) {
    const ssize_t size = ::pread(fd.get(), buffer.data(), buffer.size(), offset);
    if (size < 0) return failed("read from a memfd", errno);
    if (size == 0) return content;
    content.append(buffer.data(), static_cast<std::size_t>(size));
    offset += size;
  }
}

/// Returns its status as of waitpid(2).
Result<int> spawn_and_wait(const std::vector<std::string>& command,
                           const std::array<FileDescriptor, 3>& streams) {
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const std::string& argument : command) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  int error = 0;
  for (int target = 0; target < 3 && error == 0; ++target) {
    const int stream = streams[static_cast<std::size_t>(target)].get();
    error = ::posix_spawn_file_actions_adddup2(&actions, stream, target);
  }
  pid_t pid = 0;
  if (error == 0) {
    error =
        ::posix_spawn(&pid, command.front().c_str(), &actions, nullptr, arguments.data(), environ);
  }
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return failed("run " + command.front(), error);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return failed("waitpid " + command.front(), errno);
  }
  return status;
}

}  // namespace

std::optional<std::string> find_tool(std::string_view name) {
  const char* path = std::getenv("PATH");
  std::string places = path == nullptr ? "" : path;
  places += ":/usr/sbin:/sbin";
  std::string_view rest = places;
  while (!rest.empty()) {
    const std::size_t end = rest.find(':');
    const std::string_view directory = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (directory.empty()) continue;
    std::string candidate = fmt::format("{}/{}", directory, name);
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return std::nullopt;
}

Result<std::string> run_tool(const std::vector<std::string>& command, std::string_view input) {
  std::array<FileDescriptor, 3> streams;
  for (std::size_t i = 0; i < streams.size(); ++i) {
    auto stream = open_stream(i == 0 ? input : std::string_view());
    if (!stream) return std::unexpected(std::move(stream.error()));
    streams[i] = std::move(*stream);
  }
  const Result<int> status = spawn_and_wait(command, streams);
  if (!status) return std::unexpected(status.error());
  if (*status == 0) return read_stream(streams[1]);

  const std::string name = command.front().substr(command.front().rfind('/') + 1);
  std::string reason = read_stream(streams[2]).value_or("");
  while (!reason.empty() && reason.back() == '\n') reason.pop_back();
  if (reason.empty() && WIFSIGNALED(*status)) {
    reason = fmt::format("ended by signal {}", WTERMSIG(*status));
  } else if (reason.empty()) {
    reason = fmt::format("failed with status {}", WEXITSTATUS(*status));
  }
  return failed(fmt::format("{}: {}", name, reason));
}

}  // namespace fairlead
