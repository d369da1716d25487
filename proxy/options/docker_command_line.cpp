#include "proxy/options/docker_command_line.h"

#include <algorithm>
#include <array>

namespace fairlead {
namespace {

/// net.IP's UnmarshalText: an empty text is no address.
GoFlags::Setter address_setter(std::optional<IpAddress>& target) {
  return [&target](std::string_view value) -> Result<void> {
    target = IpAddress::parse(value);
    if (!target && !value.empty()) return failed("invalid IP address: " + std::string(value));
    return {};
  };
}

Result<PortRange> port_of(std::string_view flag, std::int64_t port) {
  if (port < 1 || port > 65535) {
    return failed("-" + std::string(flag) + " " + std::to_string(port) + ": accepted: 1 to 65535");
  }
  const auto number = static_cast<std::uint16_t>(port);
  return PortRange{number, number};
}

}  // namespace

bool is_docker_command_line(std::span<const char* const> arguments) {
  static constexpr std::array<std::string_view, 6> kFlags = {
      "proto", "host-ip", "host-port", "container-ip", "container-port", "use-listen-fd"};
  for (const char* argument : arguments) {
    if (std::ranges::find(kFlags, flag_name(argument)) != kFlags.end()) return true;
  }
  if (arguments.size() != 1) return false;
  const std::string_view name = flag_name(arguments[0]);
  return name == "v" || name == "version";
}

std::expected<DockerCommandLine, FlagsExit> parse_docker_command_line(
    std::string_view program, std::span<const char* const> arguments) {
  DockerCommandLine line;
  GoFlags flags;
  flags.add_string("proto", "proxy protocol", line.proto);
  flags.add_value("host-ip", "host ip", "0.0.0.0", address_setter(line.host_ip));
  flags.add_int("host-port", "host port", line.host_port);
  flags.add_value("container-ip", "container ip", "0.0.0.0", address_setter(line.container_ip));
  flags.add_int("container-port", "container port", line.container_port);
  flags.add_bool("use-listen-fd", "use a supplied listen fd", line.use_listen_fd);
  flags.add_bool("v", "print version information and quit", line.version);
  flags.add_bool("version", "print version information and quit", line.version);

  Options scratch;
  for (const OptionDefinition& option : option_definitions()) {
    if (option.name == kPublishOption) continue;
    flags.add_hidden(option.name, [&](std::string_view value) -> Result<void> {
      line.assignments.push_back({std::string(option.name), std::string(value)});
      return option.set(scratch, value);
    });
  }
  flags.add_hidden("config", [&](std::string_view value) -> Result<void> {
    if (value.empty()) return failed("accepted: the path of a file");
    line.config_file = value;
    return {};
  });

  if (auto parsed = flags.parse(program, arguments); !parsed) {
    return std::unexpected(parsed.error());
  }
  return line;
}

Result<Mapping> DockerCommandLine::mapping() const {
  const auto protocol = parse_protocol(proto);
  // docker-proxy's text.
  if (!protocol) return failed("unsupported protocol " + proto);
  const auto host_ports = port_of("host-port", host_port);
  if (!host_ports) return std::unexpected(host_ports.error());
  const auto container_ports = port_of("container-port", container_port);
  if (!container_ports) return std::unexpected(container_ports.error());
  if (host_ip && host_ip->is_multicast()) {
    return failed("-host-ip " + host_ip->to_string() + ": accepted: an address of this host");
  }
  if (!container_ip || container_ip->is_unspecified() || container_ip->is_multicast()) {
    const std::string given = container_ip ? container_ip->to_string() : "\"\"";
    return failed("-container-ip " + given + ": accepted: the address of a container");
  }

  Mapping mapping{.protocol = *protocol,
                  .host_ip = host_ip ? *host_ip : IpAddress::any(Family::v6),
                  .host_ports = *host_ports,
                  .container_ip = *container_ip,
                  .container_ports = *container_ports};
  if (const auto checked = check_mappings({&mapping, 1}); !checked) {
    return std::unexpected(checked.error());
  }
  return mapping;
}

}  // namespace fairlead
