// Landlock as it has grown since the headers we build with (Linux 6.1, which has version 2). The
// kernel says which version it has. Values: include/uapi/linux/landlock.h of Linux 6.12.

#pragma once

#include <cstddef>
#include <cstdint>

namespace fairlead::landlock_abi {

/// landlock_ruleset_attr of version 6.
struct Ruleset {
  std::uint64_t handled_access_fs = 0;
  /// Since version 4 (Linux 6.7).
  std::uint64_t handled_access_net = 0;
  /// Since version 6 (Linux 6.12).
  std::uint64_t scoped = 0;
};

inline constexpr std::uint64_t kBindTcp = 1 << 0;
/// Neither may be used towards processes that are not under the same rules.
inline constexpr std::uint64_t kScopeAbstractUnixSocket = 1 << 0;
inline constexpr std::uint64_t kScopeSignal = 1 << 1;

/// How much of a Ruleset a kernel of this version takes.
constexpr std::size_t ruleset_bytes(long version) {
  if (version < 4) return offsetof(Ruleset, handled_access_net);
  return version < 6 ? offsetof(Ruleset, scoped) : sizeof(Ruleset);
}

/// All that can be denied of files: 13 rights in version 1, then REFER, TRUNCATE and, in version 5,
/// IOCTL_DEV.
constexpr std::uint64_t file_rights(long version) {
  const unsigned later = version < 4 ? static_cast<unsigned>(version) - 1 : version < 5 ? 2 : 3;
  return (std::uint64_t{1} << (13 + later)) - 1;
}

}  // namespace fairlead::landlock_abi
