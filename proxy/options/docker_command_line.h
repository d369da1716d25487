// The command line that dockerd gives a proxy, docker-proxy's contract:
// `-proto tcp -host-ip 0.0.0.0 -host-port 8080 -container-ip 172.17.0.2 -container-port 80
// [-use-listen-fd]`, or `-v`.
//
// Any long option of Fairlead's may be added as a flag (`-engine epoll`), so that a wrapper script
// can set it; the usage text remains docker-proxy's.

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/mapping/error.h"
#include "proxy/mapping/ip_address.h"
#include "proxy/mapping/mapping.h"
#include "proxy/options/go_flags.h"
#include "proxy/options/options.h"

namespace fairlead {

struct DockerCommandLine {
  // As given: what is wrong with these is no usage error but a failed set-up, told on descriptor 3.
  std::string proto = "tcp";
  /// Nothing: given as an empty text, Go's nil address.
  std::optional<IpAddress> host_ip = IpAddress{};
  std::int64_t host_port = -1;
  std::optional<IpAddress> container_ip = IpAddress{};
  std::int64_t container_port = -1;

  bool use_listen_fd = false;
  bool version = false;

  /// Fairlead's own options, in order.
  std::vector<Assignment> assignments;
  /// Of the last -config.
  std::optional<std::string> config_file;

  /// The mapping these stand for. An empty host address is `::`, as in docker-proxy. The error
  /// names flag, value and what is accepted.
  Result<Mapping> mapping() const;
};

/// Whether this is Docker's command line: one of its flags but -v and -version appears, or there
/// is nothing but one of those two in any spelling Go has for them.
bool is_docker_command_line(std::span<const char* const> arguments);

std::expected<DockerCommandLine, FlagsExit> parse_docker_command_line(
    std::string_view program, std::span<const char* const> arguments);

}  // namespace fairlead
