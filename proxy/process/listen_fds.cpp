#include "proxy/process/listen_fds.h"

#include <charconv>
#include <optional>
#include <string>
#include <string_view>

namespace fairlead {
namespace {

constexpr int kFirstDescriptor = 3;
/// More than any unit file lists; keeps nonsense from becoming a long loop.
constexpr std::int64_t kCountLimit = 1'000'000;

std::optional<std::int64_t> parse_number(std::string_view text) {
  std::int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return number;
}

}  // namespace

Result<std::vector<int>> listen_fds(const char* listen_pid, const char* listen_fds,
                                    std::int64_t own_pid) {
  std::vector<int> descriptors;
  if (listen_pid == nullptr || listen_fds == nullptr) return descriptors;

  const auto pid = parse_number(listen_pid);
  if (!pid) {
    return failed("LISTEN_PID \"" + std::string(listen_pid) + "\": accepted: a process id");
  }
  if (*pid != own_pid) return descriptors;

  const auto count = parse_number(listen_fds);
  if (!count || *count < 0 || *count > kCountLimit) {
    return failed("LISTEN_FDS \"" + std::string(listen_fds) +
                  "\": accepted: how many sockets are passed, from 0 to " +
                  std::to_string(kCountLimit));
  }
  for (int i = 0; i < *count; ++i) descriptors.push_back(kFirstDescriptor + i);
  return descriptors;
}

}  // namespace fairlead
