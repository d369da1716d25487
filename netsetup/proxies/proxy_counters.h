// What proxies have counted, as they serve it to Prometheus (`fairlead-proxy --metrics`).

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fairlead {

/// Of one mapping or of several, since the proxy began.
struct ProxyCounters {
  /// Connections of clients that were relayed, and UDP sessions.
  std::uint64_t accepted = 0;
  /// Those of them that are open.
  std::uint64_t open = 0;
  /// Payload.
  std::uint64_t bytes_to_container = 0;
  std::uint64_t bytes_to_client = 0;

  ProxyCounters& operator+=(const ProxyCounters& other);
  bool operator==(const ProxyCounters&) const = default;
};

/// By Mapping::to_string().
using MappingCounters = std::map<std::string, ProxyCounters, std::less<>>;

/// The counters in a text of Prometheus' format; lines of others are passed over.
MappingCounters parse_proxy_counters(std::string_view exposition);

struct ProxyQuestion {
  /// The proxy's socket.
  std::string path;
  /// How many it serves, which bounds what it may answer.
  std::size_t mappings = 0;
};

/// How long proxies are waited for, which answer within a few milliseconds.
inline constexpr std::chrono::milliseconds kAnswerPatience{500};

/// Asks all of them at the same time. Nothing: it is not there, or has not answered as it should
/// within kAnswerPatience. (Where there are hundreds some are asked after others, each with that
/// patience.) Needs to be root, as the proxies' sockets are root's.
std::vector<std::optional<MappingCounters>> ask_proxies(std::span<const ProxyQuestion> questions);

/// Whether a proxy that runs has handed over: then it answers nobody any more. One that is only
/// slow to answer has not.
bool has_handed_over(const ProxyQuestion& question);

}  // namespace fairlead
