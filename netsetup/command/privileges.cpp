#include "netsetup/command/privileges.h"

#include <linux/capability.h>
#include <sys/prctl.h>

#include <cerrno>
#include <iterator>
#include <variant>

#include "proxy/process/capabilities.h"

namespace fairlead {
namespace {

/// What it takes to look.
constexpr unsigned kToLook[] = {
    // Links, rules and sysctls; the kernel lets nobody else read rules.
    CAP_NET_ADMIN,
    // To enter the network namespaces of containers.
    CAP_SYS_ADMIN,
    // To find those that belong to a process.
    CAP_SYS_PTRACE,
    // To find those, and documents, in folders of other users.
    CAP_DAC_READ_SEARCH,
    // iptables-legacy talks to the kernel over a raw socket.
    CAP_NET_RAW,
};

/// And to change something. Most of it is for the proxies.
constexpr unsigned kToChange[] = {
    // Ports below 1024.
    CAP_NET_BIND_SERVICE,
    // Descriptors for ten thousand ports.
    CAP_SYS_RESOURCE,
    // `user` in their configuration, and to end the ones that have it.
    CAP_SETUID,
    CAP_SETGID,
    CAP_KILL,
};

}  // namespace

Result<void> limit_privileges(const NetCommandLine& line) {
  // Root's programs would get everything back when they are executed.
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return failed("no_new_privs", errno);
  Capabilities kept(std::begin(kToLook), std::end(kToLook));
  if (std::holds_alternative<EditCommand>(line.command)) {
    kept.insert(kept.end(), std::begin(kToChange), std::end(kToChange));
  }
  return limit_capabilities(kept);
}

}  // namespace fairlead
