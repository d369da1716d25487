#include "docker/text_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <memory>

#include "proxy/net/file_descriptor.h"

namespace fairlead {
namespace {

constexpr std::size_t kSizeLimitBytes = 1024UL * 1024;

/// Where a chain of symbolic links leads to; the path itself when there is nothing.
std::string resolved(const std::string& path) {
  const std::unique_ptr<char, decltype(&::free)> real(::realpath(path.c_str(), nullptr), &::free);
  return real ? real.get() : path;
}

Result<void> write_all(int fd, const std::string& path, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(fd, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed("write " + path, errno);
    text.remove_prefix(static_cast<std::size_t>(count));
  }
  return {};
}

/// The new file before it takes its place.
Result<void> write_new(int fd, const std::string& path, const std::string& text,
                       const struct stat& like) {
  if (const auto written = write_all(fd, path, text); !written) return written;
  if (::fchown(fd, like.st_uid, like.st_gid) < 0)
    return failed("change the owner of " + path, errno);
  // After the owner: a change of owner takes the set-id bits.
  if (::fchmod(fd, like.st_mode & 07777) < 0) return failed("change the mode of " + path, errno);
  if (::fsync(fd) < 0) return failed("sync " + path, errno);
  return {};
}

/// So that the name, too, is on the disk.
void sync_directory(const std::filesystem::path& directory) {
  const FileDescriptor fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd) ::fsync(fd.get());
}

}  // namespace

Result<std::optional<std::string>> read_text_file(const std::string& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    if (errno == ENOENT) return std::nullopt;
    return failed("open " + path, errno);
  }
  std::string text;
  std::array<char, 4096> piece;
  while (true) {
    const ssize_t count = ::read(file.get(), piece.data(), piece.size());
    if (count == 0) return text;
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed("read " + path, errno);
    text.append(piece.data(), static_cast<std::size_t>(count));
    if (text.size() > kSizeLimitBytes) return failed("read " + path + ": larger than 1 MiB");
  }
}

Result<void> replace_text_file(const std::string& path, const std::string& text) {
  const std::filesystem::path target(resolved(path));
  struct stat like{};
  if (::lstat(target.c_str(), &like) < 0) {
    if (errno != ENOENT) return failed("stat " + target.string(), errno);
    like.st_uid = ::geteuid();
    like.st_gid = ::getegid();
    like.st_mode = 0644;
  } else if (!S_ISREG(like.st_mode)) {
    return failed(target.string() + " is no file, nor a symbolic link to one");
  }
  const std::filesystem::path directory = target.parent_path();
  std::string name = directory / ("." + target.filename().string() + ".XXXXXX");
  FileDescriptor fd(::mkostemp(name.data(), O_CLOEXEC));
  if (!fd) return failed("create a file in " + directory.string(), errno);
  Result<void> done = write_new(fd.get(), name, text, like);
  if (done && ::rename(name.c_str(), target.c_str()) < 0) {
    done = failed("rename " + name + " to " + target.string(), errno);
  }
  if (!done) {
    ::unlink(name.c_str());
    return done;
  }
  sync_directory(directory);
  return {};
}

Result<void> remove_text_file(const std::string& path) {
  if (::unlink(path.c_str()) < 0 && errno != ENOENT) return failed("remove " + path, errno);
  return {};
}

}  // namespace fairlead
