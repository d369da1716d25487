#include "proxy/relay/udp_session.h"

#include <fmt/format.h>
#include <poll.h>

#include <utility>

#include "proxy/mapping/error.h"
#include "proxy/relay/udp_sessions.h"

namespace fairlead {

static_assert(sizeof(UdpSession) <= 160, "one for each client, as the header says");

AddressPair UdpSessionKey::addresses() const {
  if (told != nullptr) return *told;
  const IpAddress host =
      flow.has_host() ? IpAddress::from_bytes(Family::v6, flow.host.s6_addr) : port->host.ip;
  return {flow.client_address(port->family).endpoint(), {host, port->host.port}};
}

UdpSession::UdpSession(const UdpSessionKey& key, FileDescriptor backend)
    : port_(*key.port),
      flow_(key.flow),
      told_(key.told == nullptr ? nullptr : std::make_unique<const AddressPair>(*key.told)),
      backend_(std::move(backend)) {}

void UdpSession::wait() { port_.loop.engine.wait(*this, kReadable, backend_.get(), POLLIN); }

void UdpSession::close() {
  closing_ = true;
  port_.loop.engine.cancel(*this, kReadable);
}

bool UdpSession::enqueue(std::uint8_t index, MessageChain& chain) {
  const bool first = first_in_line_ == kNoMessage;
  if (first) {
    first_in_line_ = index;
  } else {
    chain[last_in_line_] = index;
  }
  last_in_line_ = index;
  chain[index] = kNoMessage;
  return first;
}

void UdpSession::relay_to_backend(const DatagramBatch& batch, const MessageChain& chain) {
  const std::string header = proxy_header();
  DatagramSender sender(port_.loop.engine, backend_.get(), to_backend_, header);
  for (std::uint8_t i = first_in_line_; i != kNoMessage; i = chain[i]) {
    sender.send(batch.message(i));
  }
  first_in_line_ = kNoMessage;
  const SendTotals& totals = sender.finish();
  port_.sessions->load().note_sent(totals.datagrams);
  port_.counters.datagrams_to_container += totals.datagrams;
  port_.counters.bytes_to_container += totals.bytes;
  if (totals.dropped > 0) {
    count_drops(totals, port_.backend);
    port_.sessions->backend_failed(*this);
  }
}

std::string UdpSession::proxy_header() const {
  const ProxyProtocol version = port_.loop.settings.proxy_protocol;
  if (version == ProxyProtocol::none) return {};
  return encode_proxy_header(version, Protocol::udp, key().addresses());
}

void UdpSession::on_completion(Completion) {
  if (closing_) {
    port_.loop.engine.close(std::move(backend_));
    port_.sessions->closed(*this);
    return;
  }
  const bool reachable = relay_to_client();
  wait();
  if (!reachable) port_.sessions->backend_failed(*this);
}

bool UdpSession::relay_to_client() {
  const DatagramBatch& batch = port_.sessions->batch();
  const int count = port_.sessions->receive(backend_.get());
  if (count < 0) {
    // ICMP: the backend is not there now. The kernel has said so once, and waiting goes on.
    if (count == -EAGAIN) return true;
    port_.loop.shared.datagram_failures.warn(
        port_.loop.engine.now(), fmt::format("udp {}: backend {}: {}", port_.host.to_string(),
                                             port_.backend.to_string(), errno_text(-count)));
    return false;
  }
  port_.sessions->touch(*this);
  DatagramSender sender(port_.loop.engine, port_.socket.get(), to_client_, flow_, port_.family);
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) sender.send(batch.message(i));
  const SendTotals& totals = sender.finish();
  port_.sessions->load().note_sent(totals.datagrams);
  port_.counters.datagrams_to_client += totals.datagrams;
  port_.counters.bytes_to_client += totals.bytes;
  if (totals.dropped > 0) count_drops(totals, flow_.client_address(port_.family).endpoint());
  return true;
}

void UdpSession::count_drops(const SendTotals& totals, const Endpoint& destination) {
  port_.counters.datagrams_dropped += totals.dropped;
  port_.loop.shared.datagram_failures.warn(
      port_.loop.engine.now(), fmt::format("udp {}: send to {}: {}", port_.host.to_string(),
                                           destination.to_string(), errno_text(totals.error)));
}

}  // namespace fairlead
