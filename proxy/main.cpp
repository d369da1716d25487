#include <fmt/format.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/isolation/isolation.h"
#include "proxy/log/log.h"
#include "proxy/net/listening_socket.h"
#include "proxy/net/own_addresses.h"
#include "proxy/net/published_ports.h"
#include "proxy/net/socket_address.h"
#include "proxy/options/command_line.h"
#include "proxy/options/config_file.h"
#include "proxy/options/docker_command_line.h"
#include "proxy/options/options.h"
#include "proxy/process/handover.h"
#include "proxy/process/listen_fds.h"
#include "proxy/process/resource_limits.h"
#include "proxy/process/sd_notify.h"
#include "proxy/process/signals.h"
#include "proxy/process/standard_streams.h"
#include "proxy/process/status_pipe.h"
#include "proxy/proxy.h"
#include "proxy/version.h"

namespace fairlead {
namespace {

constexpr int kExitSetUpFailed = 1;
constexpr int kExitUsage = 2;
constexpr int kDockerSocket = 4;

void print(int fd, std::string_view text) {
  [[maybe_unused]] const ssize_t written = ::write(fd, text.data(), text.size());
}

int refuse(int exit_code, const Error& error) {
  print(STDERR_FILENO, "fairlead-proxy: " + error.message + "\n");
  return exit_code;
}

int print_version() {
  const auto chosen = make_engine(EngineChoice::automatic);
  std::string engine = chosen ? std::string(chosen->engine->name()) : "none";
  const std::string& reason = chosen ? chosen->fallback_reason : chosen.error().message;
  if (!reason.empty()) engine += " (" + reason + ")";
  print(STDOUT_FILENO,
        fmt::format("fairlead-proxy (commit {}) version {}\nliburing {}, engine {}\n", kCommit,
                    kVersion, kLiburingVersion, engine));
  return 0;
}

Isolation isolation_for(const Options& options, const Proxy& proxy) {
  Isolation isolation{.account = options.account};
  if (proxy.uses_io_uring()) isolation.needs = isolation.needs | Need::io_uring;
  isolation.dial = options.relay.dial;
  if (!options.handover_path.empty()) {
    isolation.needs = isolation.needs | Need::handover;
    isolation.removable_files.push_back(options.handover_path);
  }
  if (options.metrics && !options.metrics->endpoint) {
    isolation.removable_files.push_back(options.metrics->socket_path(::getpid()));
  }
  if (options.log_level <= LogLevel::debug) isolation.refusal = Refusal::name;
  return isolation;
}

// As dockerd starts it.

Result<std::vector<OpenedPort>> docker_port(const DockerCommandLine& line, const Mapping& mapping) {
  std::vector<OpenedPort> ports;
  const Endpoint backend{mapping.container_ip, mapping.container_ports.first};
  if (line.use_listen_fd) {
    auto socket = adopt_listening_socket(kDockerSocket, mapping.protocol);
    if (!socket) return std::unexpected(socket.error());
    ports.push_back({std::move(*socket), backend});
  } else {
    const Endpoint host{mapping.host_ip.value_or(IpAddress()), mapping.host_ports.first};
    auto socket = open_listening_socket(mapping.protocol, host);
    if (!socket) {
      return std::unexpected(docker_listen_error(mapping.protocol, host, socket.error()));
    }
    ports.push_back({std::move(*socket), backend});
  }
  return ports;
}

Result<std::unique_ptr<Proxy>> start_for_docker(const DockerCommandLine& line) {
  const auto source = config_source(line.config_file, ::getenv(kConfigVariable));
  auto options = resolve_options(source, FileMappings::ignored, line.assignments);
  if (!options) return std::unexpected(options.error());
  // The daemon expects the end at once, and it is the daemon that has the sockets.
  options->drain_ms = 0;
  options->handover_path.clear();
  set_up_log(options->log_level, options->log_format);

  const auto mapping = line.mapping();
  if (!mapping) return std::unexpected(mapping.error());
  options->mappings = {*mapping};
  std::optional<MetricsAddress>& metrics = options->metrics;
  if (metrics && !metrics->is_directory()) {
    log_warn("metrics: not served: every port has a proxy of its own; accepted: unix:DIRECTORY/");
    metrics.reset();
  }
  if (const auto checked = check_proxy_protocol(options->relay.proxy_protocol, options->mappings);
      !checked) {
    return std::unexpected(checked.error());
  }
  auto ports = docker_port(line, *mapping);
  if (!ports) return std::unexpected(ports.error());
  auto proxy = Proxy::start(*options, std::move(*ports));
  if (!proxy) return proxy;
  if (const auto served = (*proxy)->serve_metrics({}); !served) {
    return std::unexpected(served.error());
  }
  if (const auto isolated = isolate(isolation_for(*options, **proxy)); !isolated) {
    return std::unexpected(isolated.error());
  }
  (*proxy)->settle();
  return proxy;
}

int run_for_docker(std::string_view program, std::span<const char* const> arguments) {
  StatusPipe status = StatusPipe::inherited();
  fill_standard_streams();
  const auto line = parse_docker_command_line(program, arguments);
  if (!line) {
    print(STDERR_FILENO, line.error().stderr_text);
    return line.error().exit_code;
  }
  if (line->version) return print_version();

  auto proxy = start_for_docker(*line);
  if (!proxy) {
    status.report_failure(proxy.error().message);
    return refuse(kExitSetUpFailed, proxy.error());
  }
  status.report_ready();
  (*proxy)->run();
  return 0;
}

// By hand, or as a service.

/// The sockets that were passed in, as sockets and as values.
struct PassedSockets {
  std::vector<ListeningSocket> sockets;
  std::vector<PassedSocket> values;

  Result<void> adopt(int descriptor, bool spare) {
    const auto protocol = passed_socket_protocol(descriptor);
    if (!protocol) return std::unexpected(protocol.error());
    auto socket = adopt_listening_socket(descriptor, *protocol);
    if (!socket) return std::unexpected(socket.error());
    values.push_back({socket->protocol, socket->local, socket->dual_stack, spare});
    sockets.push_back(std::move(*socket));
    return {};
  }
};

/// `handed_over` may serve mappings; the others among them are closed.
Result<std::vector<OpenedPort>> open_mapped_ports(const Options& options,
                                                  std::vector<FileDescriptor> handed_over) {
  if (const auto checked = check_mappings(options.mappings, own_addresses()); !checked) {
    return std::unexpected(checked.error());
  }
  const auto descriptors = listen_fds(::getenv("LISTEN_PID"), ::getenv("LISTEN_FDS"), ::getpid());
  if (!descriptors) return std::unexpected(descriptors.error());
  PassedSockets passed;
  for (const int descriptor : *descriptors) {
    if (const auto adopted = passed.adopt(descriptor, false); !adopted) {
      return failed("LISTEN_FDS: " + adopted.error().message);
    }
  }
  for (FileDescriptor& descriptor : handed_over) {
    if (const auto adopted = passed.adopt(descriptor.release(), true); !adopted) {
      return failed("handover: " + adopted.error().message);
    }
  }
  const auto plan = plan_ports(options.mappings, passed.values);
  if (!plan) return failed("LISTEN_FDS: " + plan.error().message);
  return open_ports(*plan, passed.sockets);
}

/// The TCP socket that listens at `endpoint`, out of `sockets`; none when it is not there.
FileDescriptor take_listening(std::vector<FileDescriptor>& sockets, const Endpoint& endpoint) {
  for (FileDescriptor& socket : sockets) {
    SocketAddress local;
    socklen_t size = SocketAddress::capacity();
    const bool found = passed_socket_protocol(socket.get()) == Protocol::tcp &&
                       ::getsockname(socket.get(), local.get(), &size) == 0 &&
                       local.endpoint() == endpoint;
    if (!found) continue;
    FileDescriptor taken = std::move(socket);
    std::erase_if(sockets, [](const FileDescriptor& each) { return !each; });
    return taken;
  }
  return {};
}

Result<std::unique_ptr<Proxy>> start_by_hand(const Options& options) {
  // Before the sockets: there may be more of them than the soft limit allows.
  raise_descriptor_limit();
  std::optional<Takeover> takeover;
  if (!options.handover_path.empty()) {
    auto asked = Takeover::ask(options.handover_path);
    if (!asked) return std::unexpected(asked.error());
    takeover = std::move(*asked);
  }
  FileDescriptor metrics;
  if (takeover && options.metrics && options.metrics->endpoint) {
    metrics = take_listening(takeover->sockets(), *options.metrics->endpoint);
  }
  auto ports = open_mapped_ports(
      options, takeover ? std::move(takeover->sockets()) : std::vector<FileDescriptor>());
  if (!ports) return std::unexpected(ports.error());
  auto proxy = Proxy::start(options, std::move(*ports));
  if (!proxy) return proxy;
  if (const auto served = (*proxy)->serve_metrics(std::move(metrics)); !served) {
    return std::unexpected(served.error());
  }
  if (!options.handover_path.empty()) {
    const auto offered = (*proxy)->offer_handover(options.handover_path);
    if (!offered) return std::unexpected(offered.error());
  }
  if (const auto isolated = isolate(isolation_for(options, **proxy)); !isolated) {
    return std::unexpected(isolated.error());
  }
  (*proxy)->settle();
  if (takeover) {
    // Only now can nothing go wrong any more.
    if (const auto confirmed = takeover->confirm((*proxy)->sockets()); !confirmed) {
      return std::unexpected(confirmed.error());
    }
  }
  return proxy;
}

void notify(const Result<NotifySocket>& manager, std::string_view state) {
  const auto sent = manager ? manager->send(state) : std::unexpected(manager.error());
  if (!sent) log_warn(sent.error().message);
}

int run_by_hand(std::span<const char* const> arguments) {
  fill_standard_streams();
  const auto line = parse_command_line(arguments);
  if (!line) return refuse(kExitUsage, line.error());
  if (line->help) {
    print(STDOUT_FILENO, help_text());
    return 0;
  }
  if (line->version) return print_version();

  const auto source = config_source(line->config_file, ::getenv(kConfigVariable));
  const auto options = resolve_options(source, FileMappings::used, line->assignments);
  if (!options) return refuse(kExitSetUpFailed, options.error());
  if (options->mappings.empty()) {
    return refuse(kExitUsage,
                  Error{"nothing to publish: give -p MAPPING, or `publish = MAPPING` in " +
                        source.path + "; see --help"});
  }
  if (const auto checked = check_proxy_protocol(options->relay.proxy_protocol, options->mappings);
      !checked) {
    return refuse(kExitUsage, checked.error());
  }
  set_up_log(options->log_level, options->log_format);
  const auto manager = NotifySocket::open(::getenv("NOTIFY_SOCKET"));
  auto proxy = start_by_hand(*options);
  if (!proxy) return refuse(kExitSetUpFailed, proxy.error());
  notify(manager, "READY=1");
  (*proxy)->run();
  notify(manager, "STOPPING=1");
  return 0;
}

}  // namespace
}  // namespace fairlead

int main(int argc, char** argv) {
  const std::span<const char* const> arguments(argv, static_cast<std::size_t>(argc));
  const std::string_view program = arguments.empty() ? "fairlead-proxy" : arguments[0];
  const auto options = arguments.subspan(arguments.empty() ? 0 : 1);
  fairlead::hold_signals();
  if (fairlead::is_docker_command_line(options)) {
    return fairlead::run_for_docker(program, options);
  }
  return fairlead::run_by_hand(options);
}
