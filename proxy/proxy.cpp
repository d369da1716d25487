#include "proxy/proxy.h"

#include <fmt/format.h>
#include <malloc.h>
#include <string.h>

#include <algorithm>
#include <utility>

#include "proxy/log/log.h"
#include "proxy/process/resource_limits.h"
#include "proxy/relay/tcp_relay.h"

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

  if (const auto kept = keep_host_namespace(settings.dial); !kept) {
    return std::unexpected(kept.error());
  }
  auto signal_fd = SignalReader::open();
  if (!signal_fd) return std::unexpected(signal_fd.error());
  auto chosen = make_engine(options.engine);
  if (!chosen) return std::unexpected(chosen.error());
  const std::string fallback_reason = std::move(chosen->fallback_reason);

  std::unique_ptr<Proxy> proxy(
      new Proxy(std::move(chosen->engine), options, settings, std::move(*signal_fd)));
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

Proxy::Proxy(std::unique_ptr<Engine> engine, const Options& options, const RelaySettings& settings,
             FileDescriptor signal_fd)
    : engine_(std::move(engine)),
      loop_{.engine = *engine_, .settings = settings, .shared = shared_},
      // Where io_uring was refused, asking again would end the process: see isolation/.
      workers_(loop_, uses_io_uring() ? options.engine : EngineChoice::epoll, options.workers),
      signals_(*engine_, std::move(signal_fd)),
      drain_(*this, options.drain_ms),
      replies_(*this, std::min(options.drain_ms, kReplyMs)) {}

Proxy::~Proxy() { stop(); }

void Proxy::run() {
  // What reading the options has used is free now; a thousand idle proxies are made of what stays.
  ::malloc_trim(0);
  while (!is_finished()) {
    engine_->turn(loop_.deadlines.next());
    loop_.deadlines.run(engine_->now());
    workers_.note_turn();
    if (signals_.take_counters_request()) {
      log_info("counters: " + counters_text(shared_.counters));
    }
  }
  workers_.stop();
  log_info(fmt::format("stop {}: {}", stop_reason(), counters_text(shared_.counters)));
  stop();
}

void Proxy::stop() {
  workers_.stop();
  engine_->stop();
}

Result<void> Proxy::offer_handover(const std::string& path) {
  const auto descriptors = [this] {
    std::vector<int> sockets;
    sockets.reserve(listeners_.size());
    for (const auto& listener : listeners_) sockets.push_back(listener->socket());
    return sockets;
  };
  auto offer = HandoverOffer::open(*engine_, loop_.deadlines, path, descriptors,
                                   [this] { handed_over_ = true; });
  if (!offer) return std::unexpected(offer.error());
  handover_ = std::move(*offer);
  return {};
}

bool Proxy::is_finished() {
  if (signals_.stop_signal() == 0 && !handed_over_) return false;
  if (drain_.duration_ms() == 0 || signals_.is_urgent()) return true;
  if (!draining_) begin_drain();
  // The last connection may end on another loop.
  workers_.note_ends();
  return is_drained();
}

void Proxy::begin_drain() {
  draining_ = true;
  log_info(fmt::format("drain {}: {} connections have {} s to end", stop_reason(),
                       loop_.counters.connections_open.load(), drain_.duration_ms() / 1000));
  for (const auto& listener : listeners_) listener->retire();
  loop_.deadlines.add(drain_);
  loop_.deadlines.add(replies_);
  drain_.set(drain_end_, engine_->now());
  replies_.set(replies_end_, engine_->now());
}

bool Proxy::is_drained() const {
  const auto tcp = loop_.tcp.lock();
  const std::size_t connections = tcp ? tcp->busy() : loop_.counters.connections_open.load();
  const bool replies = loop_.counters.sessions_open > 0 && !replies_are_over_;
  return drain_is_over_ || (connections == 0 && !replies);
}

void Proxy::on_deadline(Deadline& deadline) {
  (&deadline == &drain_end_ ? drain_is_over_ : replies_are_over_) = true;
}

std::string Proxy::stop_reason() const {
  if (signals_.stop_signal() == 0) return "after the handover";
  return fmt::format("on SIG{}", ::sigabbrev_np(signals_.stop_signal()));
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
      counters.connections_accepted.load(), counters.connections_open.load(),
      counters.connections_refused.load(), counters.connections_reset.load(),
      counters.connections_timed_out.load(), counters.clients_denied.load(),
      counters.clients_over_limit.load(), counters.proxy_headers_refused.load(),
      counters.accept_pauses.load(), counters.bytes_to_container.load(),
      counters.bytes_to_client.load(), counters.sessions_opened.load(),
      counters.sessions_open.load(), counters.sessions_evicted.load(),
      counters.datagrams_to_container.load(), counters.datagrams_to_client.load(),
      counters.datagrams_dropped.load());
}

}  // namespace fairlead
