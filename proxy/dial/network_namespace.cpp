#include "proxy/dial/network_namespace.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "proxy/mapping/decimal.h"
#include "proxy/net/own_addresses.h"

// syscalls[container_netns]: openat newfstatat|fstat getdents64 setns socket getsockopt ioctl geteuid

namespace fairlead {
namespace {

NamespaceId id_from(const struct stat& file) { return {file.st_dev, file.st_ino}; }

std::vector<std::string> names_in(const char* directory) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> opened(::opendir(directory), ::closedir);
  if (!opened) return names;
  while (const dirent* entry = ::readdir(opened.get())) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  return names;
}

/// Another number for each namespace since the system was started.
std::optional<std::uint64_t> cookie_of_namespace(int socket) {
  std::uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  if (::getsockopt(socket, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) < 0) return std::nullopt;
  return cookie;
}

/// Whether root, or who runs this process, made the user namespace that owns the network namespace:
/// any other user of this host can make one, too, and give it the address of a container.
bool is_trusted(int netns) {
  const FileDescriptor owner(::ioctl(netns, NS_GET_USERNS));
  uid_t uid = 0;
  if (!owner || ::ioctl(owner.get(), NS_GET_OWNER_UID, &uid) != 0) return false;
  return uid == 0 || uid == ::geteuid();
}

/// Looks into each namespace once, whatever number of files it has.
class NamespaceSearch {
 public:
  NamespaceSearch(const IpAddress& address, const NamespaceId& home)
      : address_(address), seen_{home} {}

  void look_at(const std::string& path) {
    const auto id = NetworkNamespace::id_of(path);
    if (!id || std::ranges::find(seen_, *id) != seen_.end()) return;
    seen_.push_back(*id);
    auto candidate = NetworkNamespace::open(path);
    // A process may have ended since.
    if (!candidate) return;
    if (const auto entered = candidate->enter(); !entered) {
      if (obstacle_.empty()) obstacle_ = entered.error().message;
      return;
    }
    const auto addresses = own_addresses();
    if (std::ranges::find(addresses, address_) == addresses.end()) return;
    if (!is_trusted(candidate->fd())) {
      obstacle_ = path + " has it, but belongs to another user";
      return;
    }
    owners_.push_back(std::move(*candidate));
  }

  bool found() const { return !owners_.empty(); }

  Result<NetworkNamespace> outcome() {
    if (owners_.size() == 1) return std::move(owners_.front());
    if (owners_.size() > 1) {
      return failed("more than one network namespace has the address: " + owners_[0].path() + ", " +
                    owners_[1].path());
    }
    std::string reason = "no network namespace with this address was found";
    if (!obstacle_.empty()) reason += " (" + obstacle_ + ")";
    return failed(std::move(reason));
  }

 private:
  const IpAddress& address_;
  std::vector<NamespaceId> seen_;
  std::vector<NetworkNamespace> owners_;
  /// Why a namespace could not be looked into.
  std::string obstacle_;
};

}  // namespace

Result<NetworkNamespace> NetworkNamespace::open(const std::string& path) {
  FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return failed("open " + path, errno);
  struct stat file{};
  if (::fstat(fd.get(), &file) < 0) return failed("fstat " + path, errno);
  return NetworkNamespace(path, std::move(fd), id_from(file));
}

std::optional<NamespaceId> NetworkNamespace::id_of(const std::string& path) {
  struct stat file{};
  if (::stat(path.c_str(), &file) < 0) return std::nullopt;
  return id_from(file);
}

Result<void> NetworkNamespace::enter() const {
  if (::setns(fd_.get(), CLONE_NEWNET) == 0) return {};
  const int reason = errno;
  if (reason == EINVAL) return failed("enter " + path_ + ": this is no network namespace");
  Error error = errno_error("enter " + path_, reason);
  if (reason == EPERM) error.message += " (this takes CAP_SYS_ADMIN)";
  return std::unexpected(error);
}

bool is_elsewhere(int socket) {
  const FileDescriptor here(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto cookie = cookie_of_namespace(socket);
  return cookie && here && cookie != cookie_of_namespace(here.get());
}

bool loopback_is_up() {
  const FileDescriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  return ::ioctl(socket.get(), SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP) != 0;
}

Result<NetworkNamespace> find_namespace_of(const IpAddress& address, const NamespaceId& home) {
  NamespaceSearch search(address, home);
  for (const char* directory : {"/run/docker/netns", "/run/netns"}) {
    for (const std::string& name : names_in(directory)) {
      search.look_at(std::string(directory) + "/" + name);
    }
    if (search.found()) return search.outcome();
  }
  for (const std::string& name : names_in("/proc")) {
    if (parse_decimal<std::int32_t>(name)) search.look_at("/proc/" + name + "/ns/net");
  }
  return search.outcome();
}

}  // namespace fairlead
