// The kernel settings that container networks need, and giving back what was there before.

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "netsetup/network/network.h"
#include "proxy/mapping/error.h"

namespace fairlead {

/// A file below /proc/sys, as `net/ipv4/ip_forward`.
struct SysctlSetting {
  std::string path;
  std::string value;

  auto operator<=>(const SysctlSetting&) const = default;
};

/// A setting that was changed; kept with the state.
struct SysctlRecord {
  std::string path;
  std::string before;
  /// What it was set to: if it is something else when it is to be given back, somebody else has
  /// taken charge of it, and it stays.
  std::string ours;

  auto operator<=>(const SysctlRecord&) const = default;
};

/// What a host is like, as far as the settings depend on it.
struct SysctlFacts {
  /// The interfaces that lead out, with which --forwarding interface has to do: those with a
  /// default route of either family.
  std::vector<std::string> uplinks;
  /// Those of them that take router advertisements, which the kernel ceases to do on a router.
  std::vector<std::string> advertised;
  /// Whether the kernel has IPv6 at all.
  bool ipv6 = false;
  /// net.ipv6.conf.IF.force_forwarding, kernel 6.17.
  bool ipv6_forwarding_by_interface = false;
};

/// `uplinks` as in SysctlFacts. `records`: which of the present settings are ours.
Result<SysctlFacts> read_sysctl_facts(std::vector<std::string> uplinks,
                                      const std::vector<SysctlRecord>& records);

/// In the order in which they are to be made. Settings of a bridge need the bridge to be there.
std::vector<SysctlSetting> plan_sysctls(const Networks& networks, const SysctlFacts& facts);

/// `records` and one more for each setting that apply_sysctls() is going to change: to be kept
/// safely before it does.
Result<std::vector<SysctlRecord>> record_sysctls(const std::vector<SysctlSetting>& wanted,
                                                 std::vector<SysctlRecord> records);

/// Makes the settings, and gives back what is recorded but not wanted any more. What is to be
/// recorded from then on. REQUIRES: records come from record_sysctls() for `wanted`. Applying
/// nothing gives all of it back.
Result<std::vector<SysctlRecord>> apply_sysctls(const std::vector<SysctlSetting>& wanted,
                                                const std::vector<SysctlRecord>& records);

}  // namespace fairlead
