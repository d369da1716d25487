#include "proxy/process/resource_limits.h"

#include <sys/resource.h>

#include <algorithm>

namespace fairlead {

std::size_t raise_descriptor_limit() {
  rlimit limit{};
  // Cannot fail for a resource that exists.
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < limit.rlim_max) {
    const rlimit raised{.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  return limit.rlim_cur;
}

void set_default_limits(RelaySettings& settings, std::size_t descriptor_limit,
                        const ListenerCounts& listeners) {
  const std::size_t kept_back = std::min(kReservedDescriptors, descriptor_limit / 2) +
                                listeners.streams + listeners.datagrams;
  std::size_t share = descriptor_limit > kept_back ? descriptor_limit - kept_back : 0;
  if (listeners.streams > 0 && listeners.datagrams > 0) share /= 2;
  // With hardly any descriptors, one at a time is better than none.
  if (settings.connections_max == 0) {
    settings.connections_max = std::max<std::size_t>(share / 2, 1);
  }
  if (settings.sessions_max == 0) {
    settings.sessions_max = std::clamp<std::size_t>(share, 1, kSessionsCeiling);
  }
}

}  // namespace fairlead
