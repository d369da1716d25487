#include "proxy/dial/container_netns.h"

#include <cstdint>

#include "proxy/mapping/decimal.h"

namespace fairlead {

Result<ContainerNetns> ContainerNetns::parse(std::string_view text) {
  constexpr std::string_view kPid = "pid:";
  constexpr std::string_view kName = "name:";
  if (text == "auto") return ContainerNetns{.kind = Kind::automatic};
  if (text.starts_with('/')) return ContainerNetns{Kind::path, std::string(text)};
  if (text.starts_with(kPid)) {
    const auto pid = parse_decimal<std::int32_t>(text.substr(kPid.size()));
    if (pid && *pid > 0) {
      return ContainerNetns{Kind::path, "/proc/" + std::to_string(*pid) + "/ns/net"};
    }
  }
  if (text.starts_with(kName)) {
    const std::string_view name = text.substr(kName.size());
    const bool is_file_name =
        !name.empty() && name.find('/') == name.npos && !name.starts_with('.');
    if (is_file_name) return ContainerNetns{Kind::path, "/run/netns/" + std::string(name)};
  }
  return failed("accepted: auto, an absolute path, pid:N, name:NAME");
}

}  // namespace fairlead
