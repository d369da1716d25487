// A network namespace without a name: it lives as long as a descriptor or a process holds it, so
// that nothing is left in /run/netns however the bench ends.

#pragma once

#include <functional>
#include <string>

#include "proxy/mapping/error.h"
#include "proxy/net/file_descriptor.h"

namespace fairlead::bench {

class NetworkNamespace {
 public:
  /// Makes an empty namespace with its loopback up. Needs CAP_SYS_ADMIN.
  static Result<NetworkNamespace> create();

  int fd() const { return fd_.get(); }

  /// A path that `ip link ... netns PATH` understands, valid in children of this process.
  std::string path() const;

  /// Runs `work` on a thread of its own inside the namespace and waits for it.
  void run_inside(const std::function<void()>& work) const;

  /// Writes a sysctl as seen inside, e.g. ("net/ipv4/ip_forward", "1").
  Result<void> set_sysctl(const std::string& name, const std::string& value) const;

 private:
  explicit NetworkNamespace(FileDescriptor fd) : fd_(std::move(fd)) {}

  FileDescriptor fd_;
};

}  // namespace fairlead::bench
