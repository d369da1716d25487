#include "proxy/proxy.h"

#include <fmt/format.h>
#include <string.h>

#include <algorithm>
#include <utility>

#include "proxy/log/log.h"
#include "proxy/process/resource_limits.h"

namespace fairlead {
namespace {

ListenerCounts count_listeners(const std::vector<OpenedPort>& ports) {
  ListenerCounts counts;
  for (const OpenedPort& port : ports) {
    ++(port.socket.protocol == Protocol::udp ? counts.datagrams : counts.streams);
  }
  return counts;
}

/// Whether `next` is the port after `port`, leading to the port after its own.
bool follows(const ServedPort& port, const ServedPort& next) {
  return next.protocol == port.protocol && next.host.ip == port.host.ip &&
         next.host.port == port.host.port + 1 && next.backend.ip == port.backend.ip &&
         next.backend.port == port.backend.port + 1;
}

/// What is listened on, to where, which engine and why.
void log_start(const std::vector<ServedPort>& served, const Engine& engine,
               const std::string& fallback_reason, const RelaySettings& settings,
               const ListenerCounts& counts) {
  if (!fallback_reason.empty()) log_warn("io_uring cannot be had: " + fallback_reason);
  for (const std::string& line : served_text(served)) log_info("listen on " + line);
  std::string limits;
  if (counts.streams > 0)
    limits += fmt::format(", at most {} connections", settings.connections_max);
  if (counts.datagrams > 0)
    limits += fmt::format(", at most {} UDP sessions", settings.sessions_max);
  log_info(fmt::format("serve {} sockets with {}{}", served.size(), engine.name(), limits));
}

}  // namespace

Result<std::unique_ptr<Proxy>> Proxy::start(const Options& options, std::vector<OpenedPort> ports) {
  RelaySettings settings = options.relay;
  const ListenerCounts counts = count_listeners(ports);
  set_default_limits(settings, raise_descriptor_limit(), counts);

  auto signal_fd = SignalReader::open();
  if (!signal_fd) return std::unexpected(signal_fd.error());
  auto chosen = make_engine(options.engine);
  if (!chosen) return std::unexpected(chosen.error());
  const std::string fallback_reason = std::move(chosen->fallback_reason);

  std::unique_ptr<Proxy> proxy(new Proxy(std::move(*chosen), settings, std::move(*signal_fd)));
  std::vector<ServedPort> served;
  proxy->listeners_.reserve(ports.size());
  for (OpenedPort& port : ports) {
    const ListeningSocket& socket = port.socket;
    served.push_back({socket.protocol, socket.local, port.backend});
    proxy->listeners_.push_back(make_listener(
        proxy->loop_, socket.protocol, std::move(port.socket.fd), socket.local, port.backend));
  }
  log_start(served, *proxy->engine_, fallback_reason, settings, counts);
  for (const auto& listener : proxy->listeners_) listener->start();
  proxy->signals_.start();
  return proxy;
}

Proxy::Proxy(ChosenEngine chosen, const RelaySettings& settings, FileDescriptor signal_fd)
    : engine_(std::move(chosen.engine)),
      loop_{.engine = *engine_, .settings = settings},
      signals_(*engine_, std::move(signal_fd)) {}

Proxy::~Proxy() { engine_->stop(); }

void Proxy::run() {
  while (signals_.stop_signal() == 0) {
    engine_->turn(loop_.deadlines.next());
    loop_.deadlines.run(engine_->now());
    if (signals_.take_counters_request()) {
      log_info("counters: " + counters_text(loop_.counters));
    }
  }
  log_info(fmt::format("stop on SIG{}: {}", ::sigabbrev_np(signals_.stop_signal()),
                       counters_text(loop_.counters)));
  engine_->stop();
  // The service manager is told of the end from where it told us its address.
  loop_.dialler.go_home();
}

std::vector<std::string> served_text(std::vector<ServedPort> ports) {
  std::ranges::sort(ports);
  std::vector<std::string> lines;
  for (std::size_t first = 0; first < ports.size();) {
    std::size_t end = first + 1;
    while (end < ports.size() && follows(ports[end - 1], ports[end])) ++end;
    const ServedPort& port = ports[first];
    std::string host = port.host.to_string();
    std::string backend = port.backend.to_string();
    if (const ServedPort& last = ports[end - 1]; end - first > 1) {
      host += "-" + std::to_string(last.host.port);
      backend += "-" + std::to_string(last.backend.port);
    }
    lines.push_back(host + "/" + std::string(protocol_name(port.protocol)) + " -> " + backend);
    first = end;
  }
  return lines;
}

std::string counters_text(const Counters& counters) {
  return fmt::format(
      "connections_accepted={} connections_open={} connections_refused={} connections_reset={} "
      "connections_timed_out={} clients_denied={} clients_over_limit={} proxy_headers_refused={} "
      "accept_pauses={} bytes_to_container={} bytes_to_client={} "
      "sessions_opened={} "
      "sessions_open={} sessions_evicted={} datagrams_to_container={} datagrams_to_client={} "
      "datagrams_dropped={}",
      counters.connections_accepted, counters.connections_open, counters.connections_refused,
      counters.connections_reset, counters.connections_timed_out, counters.clients_denied,
      counters.clients_over_limit, counters.proxy_headers_refused, counters.accept_pauses,
      counters.bytes_to_container, counters.bytes_to_client, counters.sessions_opened,
      counters.sessions_open, counters.sessions_evicted, counters.datagrams_to_container,
      counters.datagrams_to_client, counters.datagrams_dropped);
}

}  // namespace fairlead
