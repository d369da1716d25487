#include "proxy/process/listen_fds.h"

#include <string>

#include "proxy/mapping/decimal.h"

namespace fairlead {
namespace {

constexpr int kFirstDescriptor = 3;
/// More than any unit file lists; keeps nonsense from becoming a long loop.
constexpr std::int64_t kCountLimit = 1'000'000;

}  // namespace

Result<std::vector<int>> listen_fds(const char* listen_pid, const char* listen_fds,
                                    std::int64_t own_pid) {
  std::vector<int> descriptors;
  if (listen_pid == nullptr || listen_fds == nullptr) return descriptors;

  const auto pid = parse_decimal<std::int64_t>(listen_pid);
  if (!pid) {
    return failed("LISTEN_PID \"" + std::string(listen_pid) + "\": accepted: a process id");
  }
  if (*pid != own_pid) return descriptors;

  const auto count = parse_decimal<std::int64_t>(listen_fds);
  if (!count || *count < 0 || *count > kCountLimit) {
    return failed("LISTEN_FDS \"" + std::string(listen_fds) +
                  "\": accepted: how many sockets are passed, from 0 to " +
                  std::to_string(kCountLimit));
  }
  for (int i = 0; i < *count; ++i) descriptors.push_back(kFirstDescriptor + i);
  return descriptors;
}

}  // namespace fairlead
