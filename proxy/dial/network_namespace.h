// Network namespaces, and the move of a thread between them.

#pragma once

#include <sys/types.h>

#include <compare>
#include <optional>
#include <string>

#include "proxy/mapping/error.h"
#include "proxy/mapping/ip_address.h"
#include "proxy/net/file_descriptor.h"

namespace fairlead {

/// What tells one living namespace from another: namespaces(7), "The /proc/pid/ns/ directory".
struct NamespaceId {
  dev_t device = 0;
  ino_t inode = 0;

  auto operator<=>(const NamespaceId&) const = default;
};

/// A namespace that is held open, and with it whatever is in it: hold none for longer than it is
/// used, or interfaces of a container that has ended live on.
class NetworkNamespace {
 public:
  /// Of a file like `/run/netns/web` or `/proc/7/ns/net`. The error names the file.
  static Result<NetworkNamespace> open(const std::string& path);

  /// The namespace that the file stands for at the moment; nothing when there is no such file, or
  /// it cannot be looked at.
  static std::optional<NamespaceId> id_of(const std::string& path);

  const std::string& path() const { return path_; }
  const NamespaceId& id() const { return id_; }
  int fd() const { return fd_.get(); }

  /// Moves the calling thread, and no other: sockets that it makes from here on belong to this
  /// namespace, sockets it has made stay where they are. Needs CAP_SYS_ADMIN, here and in the user
  /// namespace that owns this one.
  Result<void> enter() const;

 private:
  NetworkNamespace(std::string path, FileDescriptor fd, const NamespaceId& id)
      : path_(std::move(path)), fd_(std::move(fd)), id_(id) {}

  std::string path_;
  FileDescriptor fd_;
  NamespaceId id_;
};

/// The file of the calling thread's own namespace.
inline constexpr const char* kThreadNetns = "/proc/thread-self/ns/net";

/// Whether the socket belongs to another namespace than the calling thread is in. False on kernels
/// that do not tell (before Linux 5.14).
bool is_elsewhere(int socket);

/// Whether `lo` is up in the calling thread's namespace.
bool loopback_is_up();

/// Looks for the namespace that has this address on one of its interfaces: among Docker's
/// (/run/docker/netns), then those of `ip netns` (/run/netns), then those of all processes that
/// this one may look at. `home` is left out. The first of the three places that has one decides;
/// two in one place are an error, as is none.
/// Only those count that were made by root or by the user of this process.
///
/// Leaves the calling thread in one of the namespaces it has looked into.
Result<NetworkNamespace> find_namespace_of(const IpAddress& address, const NamespaceId& home);

}  // namespace fairlead
