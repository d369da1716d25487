#include "proxy/isolation/isolation.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>

#include "proxy/isolation/landlock_abi.h"
#include "proxy/log/log.h"
#include "proxy/net/file_descriptor.h"

namespace fairlead {
namespace {

// Stage 1: no way up. A program that is executed gains nothing from its set-user-ID bit or its file
// capabilities; stages 5 and 6 need this of those who are not privileged.

void give_up_gaining_privileges() { ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); }

// Stage 2: another user.

Result<void> become(const Account& account) {
  const std::string step =
      "--user " + std::to_string(account.uid) + ":" + std::to_string(account.gid) + ": ";
  // Capabilities outlive the change; stage 3 says which stay.
  ::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
  int parent_death_signal = 0;
  ::prctl(PR_GET_PDEATHSIG, &parent_death_signal, 0, 0, 0);
  const pid_t parent = ::getppid();

  if (::setgroups(0, nullptr) < 0) return failed(step + "setgroups", errno);
  if (::setresgid(account.gid, account.gid, account.gid) < 0) {
    return failed(step + "setresgid", errno);
  }
  if (::setresuid(account.uid, account.uid, account.uid) < 0) {
    return failed(step + "setresuid", errno);
  }
  // The kernel forgets the signal with the user; dockerd's proxies have to end with dockerd.
  ::prctl(PR_SET_PDEATHSIG, parent_death_signal, 0, 0, 0);
  if (parent_death_signal != 0 && ::getppid() != parent) ::raise(parent_death_signal);
  return {};
}

// Stage 3: capabilities. A relay needs none. To enter a container's network namespace takes
// CAP_SYS_ADMIN, to be somebody else there CAP_NET_ADMIN, to find it in a directory of root's
// CAP_DAC_READ_SEARCH, and to find it by a process CAP_SYS_PTRACE.

using CapabilitySets = std::array<__user_cap_data_struct, 2>;

Result<void> keep_capabilities(std::initializer_list<unsigned> kept) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  CapabilitySets had{};
  if (::syscall(SYS_capget, &header, had.data()) < 0) return failed("capget", errno);
  CapabilitySets sets{};
  for (const unsigned capability : kept) {
    const std::size_t word = CAP_TO_INDEX(capability);
    sets[word].permitted |= CAP_TO_MASK(capability) & had[word].permitted;
    sets[word].effective = sets[word].permitted;
  }
  // Inheritable ones are gone, and with them the ambient ones.
  if (::syscall(SYS_capset, &header, sets.data()) < 0) return failed("capset", errno);
  return {};
}

// Stage 4: nobody of the same user may trace the process or read its memory, and no core file has
// what clients have sent.

void hide_memory() { ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); }

// Stage 5: no file, and no new TCP listener: Landlock, since Linux 5.13. This binds also a ring
// that somebody made behind the back of stage 6.

/// Files in the directory of this one may be removed.
Result<void> keep_removing(const std::string& file, int ruleset) {
  const std::string directory = std::filesystem::absolute(file).parent_path();
  const FileDescriptor opened(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!opened) return failed("open " + directory, errno);
  landlock_path_beneath_attr rule{};
  rule.allowed_access = LANDLOCK_ACCESS_FS_REMOVE_FILE;
  rule.parent_fd = opened.get();
  if (::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0) {
    return failed("landlock_add_rule", errno);
  }
  return {};
}

Result<void> give_up_files(const std::string& removable_file) {
  const long version =
      ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (version < 0) return failed("landlock_create_ruleset", errno);
  landlock_abi::Ruleset handled{};
  handled.handled_access_fs = landlock_abi::file_rights(version);
  handled.handled_access_net = landlock_abi::kBindTcp;
  handled.scoped = landlock_abi::kScopeAbstractUnixSocket | landlock_abi::kScopeSignal;
  const FileDescriptor ruleset(static_cast<int>(
      ::syscall(SYS_landlock_create_ruleset, &handled, landlock_abi::ruleset_bytes(version), 0)));
  if (!ruleset) return failed("landlock_create_ruleset", errno);
  // Without a rule whatever is handled is denied.
  if (!removable_file.empty()) {
    if (auto kept = keep_removing(removable_file, ruleset.get()); !kept) return kept;
  }
  if (::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) < 0) {
    return failed("landlock_restrict_self", errno);
  }
  return {};
}

void warn_if_refused(const Result<void>& stage, std::string_view consequence) {
  if (!stage) log_warn(stage.error().message + ": " + std::string(consequence));
}

}  // namespace

Result<void> isolate(const Isolation& isolation) {
  const bool enters_namespaces = covers(isolation.needs, Need::container_netns);
  give_up_gaining_privileges();
  if (isolation.account) {
    if (auto changed = become(*isolation.account); !changed) return changed;
  }
  warn_if_refused(enters_namespaces ? keep_capabilities({CAP_SYS_ADMIN, CAP_NET_ADMIN,
                                                         CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE})
                                    : keep_capabilities({}),
                  "the proxy keeps its capabilities");
  // What instrumentation does at the end of a process takes files and the right to look at itself.
  if constexpr (FAIRLEAD_SANDBOX == 0) return {};
  hide_memory();
  // Under Landlock the namespace of another process cannot be opened by way of /proc, whatever is
  // allowed; and where one will be found is not known yet.
  if (!enters_namespaces) {
    warn_if_refused(give_up_files(isolation.removable_file),
                    "the proxy keeps the right to open files");
  }
  // Stage 6: no system call but those that are declared.
  Need needs = isolation.needs;
  if (!isolation.removable_file.empty()) needs = needs | Need::handover;
  warn_if_refused(install_system_call_filter(needs, isolation.refusal),
                  "the proxy may make any system call");
  return {};
}

}  // namespace fairlead
