#include "proxy/isolation/isolation.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "proxy/isolation/landlock_abi.h"
#include "proxy/log/log.h"
#include "proxy/net/file_descriptor.h"
#include "proxy/process/capabilities.h"

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

// Stage 3: capabilities. A relay needs none. What a dial in a container's network namespace takes
// is in effect only while it is made; it is not given up after the first one, since a container
// that is started again has a new namespace, and one that is gone is dialled from the host.

bool dials_in_namespaces(const DialSettings& dial) {
  return dial.netns.kind != ContainerNetns::Kind::host;
}

/// The directory of the namespace's file; empty when that is not known yet, or is a process's.
std::filesystem::path netns_directory(const ContainerNetns& netns) {
  if (netns.kind != ContainerNetns::Kind::path) return {};
  // A name is often a link, and it may lead to a process.
  std::error_code none;
  const auto directory = std::filesystem::weakly_canonical(netns.path, none).parent_path();
  return directory.native().starts_with("/proc/") ? std::filesystem::path() : directory;
}

Capabilities capabilities_to_dial(const DialSettings& dial) {
  if (!dials_in_namespaces(dial)) return {};
  // To enter a namespace.
  Capabilities kept{CAP_SYS_ADMIN};
  // To be somebody else there.
  if (dial.source != Source::container) kept.push_back(CAP_NET_ADMIN);
  // To find it in a directory of root's.
  if (::geteuid() != 0) kept.push_back(CAP_DAC_READ_SEARCH);
  // To find it by a process.
  if (netns_directory(dial.netns).empty()) kept.push_back(CAP_SYS_PTRACE);
  return kept;
}

// Stage 4: nobody of the same user may trace the process or read its memory, and no core file has
// what clients have sent.

void hide_memory() { ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); }

// Stage 5: no file, and no new TCP listener: Landlock, since Linux 5.13. It holds also where the
// kernel has no filter for stage 6.

/// What may be done with the files beneath a directory, of all that Landlock can deny.
struct FileRule {
  std::string directory;
  std::uint64_t rights;
};

Result<void> add_rule(const FileRule& file_rule, int ruleset) {
  const std::string& directory = file_rule.directory;
  const FileDescriptor opened(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!opened) return failed("open " + directory, errno);
  landlock_path_beneath_attr rule{};
  rule.allowed_access = file_rule.rights;
  rule.parent_fd = opened.get();
  if (::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0) {
    return failed("landlock_add_rule", errno);
  }
  return {};
}

std::vector<FileRule> file_rules(const Isolation& isolation) {
  std::vector<FileRule> rules;
  // And two for the namespace of a container.
  rules.reserve(isolation.removable_files.size() + 2);
  for (const std::string& file : isolation.removable_files) {
    rules.push_back(
        {std::filesystem::absolute(file).parent_path(), LANDLOCK_ACCESS_FS_REMOVE_FILE});
  }
  if (dials_in_namespaces(isolation.dial)) {
    rules.push_back({netns_directory(isolation.dial.netns), LANDLOCK_ACCESS_FS_READ_FILE});
    if (isolation.dial.source != Source::container) {
      rules.push_back(
          {"/proc/sys/net", LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE});
    }
  }
  return rules;
}

Result<void> give_up_files(const Isolation& isolation) {
  const long version =
      ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (version < 0) return failed("landlock_create_ruleset", errno);
  landlock_abi::Ruleset handled{};
  handled.handled_access_fs = landlock_abi::file_rights(version);
  // A socket that dials as somebody else is bound to that address.
  handled.handled_access_net = dials_in_namespaces(isolation.dial) ? 0 : landlock_abi::kBindTcp;
  handled.scoped = landlock_abi::kScopeAbstractUnixSocket | landlock_abi::kScopeSignal;
  const FileDescriptor ruleset(static_cast<int>(
      ::syscall(SYS_landlock_create_ruleset, &handled, landlock_abi::ruleset_bytes(version), 0)));
  if (!ruleset) return failed("landlock_create_ruleset", errno);
  // Without a rule whatever is handled is denied.
  for (const FileRule& rule : file_rules(isolation)) {
    if (auto added = add_rule(rule, ruleset.get()); !added) return added;
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
  const bool dials_in_namespace = dials_in_namespaces(isolation.dial);
  give_up_gaining_privileges();
  if (isolation.account) {
    if (auto changed = become(*isolation.account); !changed) return changed;
  }
  warn_if_refused(keep_capabilities(capabilities_to_dial(isolation.dial)),
                  "the proxy keeps its capabilities");
  // What instrumentation does at the end of a process takes files and the right to look at itself.
  if constexpr (FAIRLEAD_SANDBOX == 0) return {};
  hide_memory();
  // Under Landlock the namespace of another process cannot be opened by way of /proc, whatever is
  // allowed: pid:N and auto have to do without it.
  if (!dials_in_namespace || !netns_directory(isolation.dial.netns).empty()) {
    warn_if_refused(give_up_files(isolation), "the proxy keeps the right to open files");
  }
  // Stage 6: no system call but those that are declared.
  Need needs = isolation.needs;
  if (!isolation.removable_files.empty()) needs = needs | Need::socket_file;
  if (dials_in_namespace) needs = needs | Need::container_netns;
  warn_if_refused(install_system_call_filter(needs, isolation.refusal),
                  "the proxy may make any system call");
  return {};
}

}  // namespace fairlead
