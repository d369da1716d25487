#include "netsetup/links/network_namespace.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>
#include <system_error>
#include <thread>

#include "netsetup/network/interface_names.h"
#include "proxy/mapping/decimal.h"

namespace fairlead {
namespace {

constexpr const char* kOwn = "/proc/thread-self/ns/net";

}  // namespace

Result<std::string> namespace_path(std::string_view text) {
  const auto refused = [&](std::string_view reason) {
    return failed("namespace \"" + std::string(text) + "\": " + std::string(reason) +
                  "; accepted: an absolute PATH, pid:N, name:NAME of `ip netns`");
  };
  if (text.starts_with("pid:")) {
    const auto pid = parse_decimal<std::uint32_t>(text.substr(4));
    if (!pid || *pid == 0) return refused("no process number");
    return "/proc/" + std::to_string(*pid) + "/ns/net";
  }
  if (text.starts_with("name:")) {
    const std::string name(text.substr(5));
    if (name.empty() || name.contains('/') || name == "." || name == "..") {
      return refused("no name");
    }
    return "/run/netns/" + name;
  }
  if (!text.starts_with('/')) return refused("no absolute path");
  return std::string(text);
}

Result<NamespaceFile> open_namespace(const std::string& path) {
  const std::string what = "network namespace " + path;
  FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return failed(what, errno);
  if (::ioctl(fd.get(), NS_GET_NSTYPE) != CLONE_NEWNET) {
    return failed(what + ": the file is no network namespace");
  }
  struct stat facts{};
  if (::fstat(fd.get(), &facts) != 0) return failed(what, errno);
  return NamespaceFile{std::move(fd), facts.st_ino};
}

Result<NamespaceFile> current_namespace() { return open_namespace(kOwn); }

Result<void> visit_namespace(const NamespaceFile& there,
                             const std::function<Result<void>()>& task) {
  Result<void> outcome;
  const auto visit = [&] {
    outcome = ::setns(there.fd.get(), CLONE_NEWNET) == 0 ? task()
                                                         : failed("enter network namespace", errno);
  };
  try {
    std::thread(visit).join();
  } catch (const std::system_error& error) {
    return failed("start a thread for a network namespace", error.code().value());
  }
  return outcome;
}

}  // namespace fairlead
