#include "proxy/proxy.h"

#include <spdlog/spdlog.h>
#include <string.h>

#include <utility>

#include "proxy/process/resource_limits.h"

namespace fairlead {
namespace {

ListenerCounts count_listeners(const std::vector<PublishedPort>& ports) {
  ListenerCounts counts;
  for (const PublishedPort& port : ports) {
    ++(port.socket.protocol == Protocol::udp ? counts.datagrams : counts.streams);
  }
  return counts;
}

}  // namespace

Result<std::unique_ptr<Proxy>> Proxy::start(const Options& options,
                                            std::vector<PublishedPort> ports) {
  RelaySettings settings = options.relay;
  set_default_limits(settings, raise_descriptor_limit(), count_listeners(ports));

  auto signal_fd = SignalReader::open();
  if (!signal_fd) return std::unexpected(signal_fd.error());
  auto chosen = make_engine(options.engine);
  if (!chosen) return std::unexpected(chosen.error());
  const std::string fallback_reason = std::move(chosen->fallback_reason);

  std::unique_ptr<Proxy> proxy(new Proxy(std::move(*chosen), settings, std::move(*signal_fd)));
  std::vector<std::string> served;
  proxy->listeners_.reserve(ports.size());
  for (PublishedPort& port : ports) {
    const ListeningSocket& socket = port.socket;
    served.push_back(fmt::format("{}/{} -> {}", socket.local.to_string(),
                                 protocol_name(socket.protocol), port.backend.to_string()));
    proxy->listeners_.push_back(make_listener(
        proxy->loop_, socket.protocol, std::move(port.socket.fd), socket.local, port.backend));
  }
  proxy->log_start(fallback_reason, served);
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
      spdlog::info("counters: {}", counters_text(loop_.counters));
    }
  }
  spdlog::info("stop on SIG{}: {}", ::sigabbrev_np(signals_.stop_signal()),
               counters_text(loop_.counters));
  engine_->stop();
}

void Proxy::log_start(const std::string& fallback_reason,
                      const std::vector<std::string>& served) const {
  if (!fallback_reason.empty()) spdlog::warn("io_uring cannot be had: {}", fallback_reason);
  // A range is told by its ends; every port of it at the debug level.
  constexpr std::size_t kLinesMax = 20;
  const bool all = served.size() <= kLinesMax || spdlog::should_log(spdlog::level::debug);
  for (std::size_t i = 0; i < served.size(); ++i) {
    if (all || i < kLinesMax / 2 || i + kLinesMax / 2 >= served.size()) {
      spdlog::info("listen on {}", served[i]);
    } else if (i == kLinesMax / 2) {
      spdlog::info("listen on {} more", served.size() - kLinesMax);
    }
  }
  spdlog::info("serve {} sockets with {}, at most {} connections and {} UDP sessions",
               served.size(), engine_->name(), loop_.settings.connections_max,
               loop_.settings.sessions_max);
}

std::string counters_text(const Counters& counters) {
  return fmt::format(
      "connections_accepted={} connections_open={} connections_refused={} connections_reset={} "
      "accept_pauses={} bytes_to_container={} bytes_to_client={} sessions_opened={} "
      "sessions_open={} sessions_evicted={} datagrams_to_container={} datagrams_to_client={} "
      "datagrams_dropped={}",
      counters.connections_accepted, counters.connections_open, counters.connections_refused,
      counters.connections_reset, counters.accept_pauses, counters.bytes_to_container,
      counters.bytes_to_client, counters.sessions_opened, counters.sessions_open,
      counters.sessions_evicted, counters.datagrams_to_container, counters.datagrams_to_client,
      counters.datagrams_dropped);
}

}  // namespace fairlead
