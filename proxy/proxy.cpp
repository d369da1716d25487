#include "proxy/proxy.h"

#include <fmt/format.h>
#include <malloc.h>
#include <string.h>
#include <time.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "proxy/log/log.h"
#include "proxy/metrics/exposition.h"
#include "proxy/process/resource_limits.h"
#include "proxy/relay/tcp_relay.h"
#include "proxy/relay/udp_sessions.h"

namespace fairlead {
namespace {

ListenerCounts count_listeners(const std::vector<OpenedPort>& ports) {
  ListenerCounts counts;
  for (const OpenedPort& port : ports) {
    ++(port.socket.protocol == Protocol::udp ? counts.datagrams : counts.streams);
  }
  return counts;
}

constexpr std::pair<std::string_view, Counters::Count Counters::*> kCounterNames[] = {
    {"connections_accepted", &Counters::connections_accepted},
    {"connections_open", &Counters::connections_open},
    {"connections_refused", &Counters::connections_refused},
    {"connections_reset", &Counters::connections_reset},
    {"connections_timed_out", &Counters::connections_timed_out},
    {"clients_denied", &Counters::clients_denied},
    {"clients_over_limit", &Counters::clients_over_limit},
    {"proxy_headers_refused", &Counters::proxy_headers_refused},
    {"accept_pauses", &Counters::accept_pauses},
    {"bytes_to_container", &Counters::bytes_to_container},
    {"bytes_to_client", &Counters::bytes_to_client},
    {"sessions_opened", &Counters::sessions_opened},
    {"sessions_open", &Counters::sessions_open},
    {"sessions_evicted", &Counters::sessions_evicted},
    {"datagrams_to_container", &Counters::datagrams_to_container},
    {"datagrams_to_client", &Counters::datagrams_to_client},
    {"datagrams_dropped", &Counters::datagrams_dropped},
};

double seconds_of(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
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
    proxy->listeners_.push_back(make_listener(proxy->loop_, socket.protocol,
                                              std::move(port.socket.fd), socket.local, port.backend,
                                              proxy->counters_of(port.mapping)));
  }
  log_start(served, *proxy->engine_, fallback_reason, settings, counts);
  for (const auto& listener : proxy->listeners_) listener->start();
  proxy->signals_.start();
  return proxy;
}

Proxy::Proxy(std::unique_ptr<Engine> engine, const Options& options, const RelaySettings& settings,
             FileDescriptor signal_fd)
    : mappings_(options.metrics ? options.mappings : std::vector<Mapping>()),
      metrics_address_(options.metrics),
      started_at_seconds_(seconds_of(CLOCK_REALTIME)),
      counters_(std::max<std::size_t>(mappings_.size(), 1)),
      engine_(std::move(engine)),
      loop_{.engine = *engine_, .settings = settings, .shared = shared_},
      workers_(loop_, options.workers),
      signals_(*engine_, std::move(signal_fd)),
      drain_(*this, options.drain_ms),
      handover_drain_(*this, options.handover_drain_ms.value_or(options.drain_ms)),
      replies_(*this, kReplyMs) {}

Proxy::~Proxy() { stop(); }

void Proxy::run() {
  // What reading the options has used is free now; a thousand idle proxies are made of what stays.
  ::malloc_trim(0);
  while (!is_finished()) {
    engine_->turn(loop_.deadlines.next());
    loop_.deadlines.run(engine_->now());
    workers_.note_turn();
    if (signals_.take_counters_request()) {
      log_info("counters: " + counters_text(counters_));
    }
  }
  workers_.stop();
  log_info(fmt::format("stop {}: {}", stop_reason(), counters_text(counters_)));
  stop();
}

void Proxy::stop() {
  workers_.stop();
  engine_->stop();
}

Result<void> Proxy::serve_metrics(FileDescriptor inherited) {
  if (!metrics_address_) return {};
  auto server =
      MetricsServer::open(*engine_, loop_.deadlines, *metrics_address_, std::move(inherited),
                          [this] { return exposition(process_facts(), mappings_, counters_); });
  if (!server) return std::unexpected(server.error());
  metrics_ = std::move(*server);
  return {};
}

ProcessFacts Proxy::process_facts() const {
  return {.engine = engine_->name(),
          .loops = workers_.running(),
          .connections_max = loop_.settings.connections_max,
          .sessions_max = loop_.settings.sessions_max,
          .started_at_seconds = started_at_seconds_,
          .cpu_seconds = seconds_of(CLOCK_PROCESS_CPUTIME_ID)};
}

std::vector<int> Proxy::sockets() const {
  std::vector<int> sockets;
  sockets.reserve(listeners_.size() + 1);
  for (const auto& listener : listeners_) sockets.push_back(listener->socket());
  if (metrics_ && metrics_->socket() >= 0) sockets.push_back(metrics_->socket());
  return sockets;
}

Result<void> Proxy::offer_handover(const std::string& path) {
  const auto taken = [this](std::vector<int> given_up) {
    handed_over_ = true;
    given_up_ = std::move(given_up);
    std::ranges::sort(given_up_);
    if (metrics_) metrics_->retire();
  };
  auto offer =
      HandoverOffer::open(*engine_, loop_.deadlines, path, [this] { return sockets(); }, taken);
  if (!offer) return std::unexpected(offer.error());
  handover_ = std::move(*offer);
  return {};
}

void Proxy::settle() {
  if (metrics_) metrics_->settle();
  if (handover_) handover_->settle();
}

bool Proxy::is_finished() {
  const bool told = signals_.stop_signal() != 0;
  if (!told && !handed_over_) return false;
  if (signals_.is_urgent() || (told && draining_ == &handover_drain_)) return true;
  if (draining_ == nullptr) {
    DeadlineList& drain = told ? drain_ : handover_drain_;
    if (drain.duration_ms() == 0) return true;
    begin_drain(drain);
  }
  // The last connection may end on another loop.
  workers_.note_ends();
  return is_drained();
}

void Proxy::begin_drain(DeadlineList& drain) {
  draining_ = &drain;
  log_info(fmt::format("drain {}: {} connections have {} s to end", stop_reason(),
                       shared_.connections_open.load(), drain.duration_ms() / 1000));
  for (const auto& listener : listeners_) {
    const bool given_up = std::ranges::binary_search(given_up_, listener->socket());
    // A new proxy has the queue, too.
    listener->retire(handed_over_ && !given_up ? Listener::Queue::left : Listener::Queue::served);
    if (given_up) listener->release();
  }
  loop_.deadlines.add(drain);
  loop_.deadlines.add(replies_);
  drain.set(drain_end_, engine_->now());
  replies_.set(replies_end_, engine_->now());
}

bool Proxy::is_drained() const {
  const auto tcp = loop_.tcp.lock();
  const std::size_t connections = tcp ? tcp->busy() : shared_.connections_open.load();
  const auto udp = loop_.udp_sessions.lock();
  const bool replies = udp && udp->size() > 0 && !replies_are_over_;
  return drain_is_over_ || (connections == 0 && !replies);
}

void Proxy::on_deadline(Deadline& deadline) {
  if (&deadline == &drain_end_) {
    drain_is_over_ = true;
  } else {
    replies_are_over_ = true;
    for (const auto& listener : listeners_) listener->release();
  }
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

std::string counters_text(std::span<const Counters> counters) {
  std::string text;
  for (const auto& [name, count] : kCounterNames) {
    std::uint64_t sum = 0;
    for (const Counters& each : counters) sum += (each.*count).load();
    fmt::format_to(std::back_inserter(text), "{}{}={}", text.empty() ? "" : " ", name, sum);
  }
  return text;
}

}  // namespace fairlead
