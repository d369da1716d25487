#include "proxy/process/capabilities.h"

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>

// syscalls[container_netns]: capget capset

namespace fairlead {
namespace {

using CapabilitySets = std::array<__user_cap_data_struct, 2>;

// Of the calling thread: without libc, which would set those of all threads.

Result<CapabilitySets> current_sets() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  CapabilitySets sets{};
  if (::syscall(SYS_capget, &header, sets.data()) < 0) return failed("capget", errno);
  return sets;
}

Result<void> set(const CapabilitySets& sets) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  if (::syscall(SYS_capset, &header, sets.data()) < 0) return failed("capset", errno);
  return {};
}

/// As they are in the sets of the kernel.
CapabilitySets with(const Capabilities& capabilities) {
  CapabilitySets sets{};
  for (const unsigned capability : capabilities) {
    __user_cap_data_struct& word = sets[CAP_TO_INDEX(capability)];
    word.permitted |= CAP_TO_MASK(capability);
  }
  return sets;
}

/// Where capset(2) is refused, the capabilities have been in effect from the start.
void put_into_effect(bool in_effect) {
  auto sets = current_sets();
  if (!sets) return;
  for (__user_cap_data_struct& word : *sets) word.effective = in_effect ? word.permitted : 0;
  (void)set(*sets);
}

}  // namespace

Result<void> keep_capabilities(const Capabilities& kept) {
  const auto had = current_sets();
  if (!had) return std::unexpected(had.error());
  CapabilitySets sets = with(kept);
  for (std::size_t i = 0; i < sets.size(); ++i) sets[i].permitted &= (*had)[i].permitted;
  // Inheritable ones are gone, and with them the ambient ones.
  return set(sets);
}

Result<void> limit_capabilities(const Capabilities& limit) {
  auto sets = current_sets();
  if (!sets) return std::unexpected(sets.error());
  const CapabilitySets most = with(limit);
  for (std::size_t i = 0; i < most.size(); ++i) {
    __user_cap_data_struct& word = (*sets)[i];
    word.permitted &= most[i].permitted;
    word.effective &= most[i].permitted;
    // And with them the ambient ones.
    word.inheritable &= most[i].permitted;
  }
  return set(*sets);
}

RaisedCapabilities::RaisedCapabilities() { put_into_effect(true); }

RaisedCapabilities::~RaisedCapabilities() { put_into_effect(false); }

}  // namespace fairlead
