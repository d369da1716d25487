// Network namespaces as files.

#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "proxy/mapping/error.h"
#include "proxy/net/file_descriptor.h"

namespace fairlead {

/// An open namespace; it lives at least as long as this does.
struct NamespaceFile {
  FileDescriptor fd;
  /// Tells namespaces apart, also when a file comes to name another one.
  std::uint64_t inode = 0;
};

/// The path that `PATH`, `pid:N` or `name:NAME` (of `ip netns`) stands for. The error says what is
/// accepted.
Result<std::string> namespace_path(std::string_view text);

/// Error: no such file, or no network namespace. One that `ip netns add` made and deleted again
/// leaves an ordinary file where it was, which is none either.
Result<NamespaceFile> open_namespace(const std::string& path);

/// The one that the calling thread is in.
Result<NamespaceFile> current_namespace();

/// `task` on a thread that is in another namespace and ends there: no way back, which could fail,
/// is needed. Returns once it is done, with its outcome. Needs CAP_SYS_ADMIN.
Result<void> visit_namespace(const NamespaceFile& there, const std::function<Result<void>()>& task);

}  // namespace fairlead
