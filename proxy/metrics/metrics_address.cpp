#include "proxy/metrics/metrics_address.h"

#include <cstdint>

#include "proxy/mapping/decimal.h"
#include "proxy/process/socket_file.h"

namespace fairlead {
namespace {

constexpr std::string_view kUnix = "unix:";
/// Of `4194304.sock`, the longest: see PID_MAX_LIMIT of the kernel.
constexpr std::size_t kFileNameMax = 12;

std::optional<Endpoint> parse_endpoint(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (bracketed != host.contains(':')) return std::nullopt;
  const auto ip = IpAddress::parse(host);
  const auto port = parse_decimal<std::uint16_t>(text.substr(colon + 1));
  if (!ip || ip->is_multicast() || !port || *port == 0) return std::nullopt;
  return Endpoint{*ip, *port};
}

}  // namespace

Result<MetricsAddress> MetricsAddress::parse(std::string_view text) {
  MetricsAddress address;
  if (text.starts_with(kUnix)) {
    address.path = text.substr(kUnix.size());
    const std::size_t added = address.is_directory() ? kFileNameMax : 0;
    if (address.path.starts_with('/') && address.path.size() + added <= kSocketPathMax) {
      return address;
    }
  } else if (const auto endpoint = parse_endpoint(text)) {
    address.endpoint = endpoint;
    return address;
  }
  return failed(
      "accepted: ADDR:PORT, as in 127.0.0.1:9100 or [::1]:9100, or unix: with the absolute path of "
      "a socket, " +
      std::to_string(kSocketPathMax) +
      " bytes long at most, or of a directory, with a slash at its end");
}

std::string MetricsAddress::socket_path(pid_t pid) const {
  return is_directory() ? path + std::to_string(pid) + ".sock" : path;
}

}  // namespace fairlead
