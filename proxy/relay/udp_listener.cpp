// How datagrams pass.
//
// Towards the backend: when the listening socket is readable, one recvmmsg(2) takes what is there,
// up to a batch. Each message is put in line with its session, which is found, or made, by the
// client's address and the address it wrote to; then each session sends its line through its
// connected socket. Equal datagrams leave as one segmented send, so a flood costs one system call
// in and one out for 64 datagrams. Order is kept within a session; between sessions UDP has none.
//
// What a front end sends begins with a PROXY header, which is taken off; one that is wrong is the
// datagram's end. Its datagrams must not be merged by the kernel, as each has a header of its own.
//
// Towards the client: each session waits for its backend socket and does the same the other way,
// through the listening socket, with the address the client wrote to as source.
//
// One batch a turn, for the listener and for each session: whoever is flooded takes its place in
// line again and the other connections of the loop get theirs. There is no buffer but the loop's
// one batch, and no queue but the sockets' own: whatever was received has been sent on, or dropped
// and counted, before the handler returns.
//
// Where clients have several datagrams under way each, others get the processor before a turn
// receives, so that runs are longer: see DatagramLoad.
//
// A session ends after settings.udp_timeout_ms without a datagram either way, and no earlier for
// any error: a backend that is away for a moment (ECONNREFUSED) finds its clients again. Only a
// session in a network namespace that its container no longer has ends with the first error.

#include "proxy/relay/udp_listener.h"

#include <fmt/format.h>
#include <netinet/udp.h>
#include <poll.h>

#include <array>
#include <utility>

#include "proxy/net/proxy_header.h"
#include "proxy/relay/admission.h"
#include "proxy/relay/datagram_batch.h"
#include "proxy/relay/udp_sessions.h"

// syscalls: getsockopt

namespace fairlead {
namespace {

/// About 10,000 small datagrams, 40 ms of a flood: what may come while the loop is busy elsewhere
/// or off the processor.
constexpr int kListenerBufferBytes = 4 * 1024 * 1024;

/// A socket that was passed to us may be IPv6 for an IPv4 host address.
int family_of(int fd, const Endpoint& host) {
  int family = 0;
  socklen_t size = sizeof family;
  if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) == 0) return family;
  return SocketAddress(host).family();
}

}  // namespace

UdpListener::UdpListener(Loop& loop, FileDescriptor socket, const Endpoint& host,
                         const Endpoint& backend, Counters& counters)
    : port_{.loop = loop,
            .counters = counters,
            .sessions = UdpSessions::of(loop),
            .socket = std::move(socket),
            .family = 0,
            .host = host,
            .backend = backend,
            .backend_address = SocketAddress(backend),
            .access = AccessList(loop.settings.access_rules, Protocol::udp, host.port)} {
  port_.family = family_of(port_.socket.get(), host);
}

void UdpListener::start() {
  Engine& engine = port_.loop.engine;
  const int fd = port_.socket.get();
  // Replies leave from the address that was asked; without it the kernel chooses.
  if (port_.family == AF_INET) {
    engine.set_option(fd, IPPROTO_IP, IP_PKTINFO, 1);
  } else {
    engine.set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    engine.set_option(fd, IPPROTO_IPV6, IPV6_RECVERR, 0);
  }
  // An unconnected socket reports ICMP errors only if asked to, and a passed one may have been:
  // nothing here could do anything about them. Setting 0 empties the queue, too.
  engine.set_option(fd, IPPROTO_IP, IP_RECVERR, 0);
  // A passed socket may have it set.
  engine.set_option(fd, SOL_UDP, UDP_GRO, port_.loop.settings.front_ends.empty() ? 1 : 0);
  set_datagram_buffers(engine, fd, kListenerBufferBytes);
  wait();
}

void UdpListener::retire(Queue) {
  retired_ = true;
  port_.loop.engine.cancel(*this, kReadable);
}

void UdpListener::release() {
  if (std::exchange(released_, true)) return;
  port_.sessions->end_all_of(port_);
  if (!waiting_) port_.loop.engine.close(std::move(port_.socket));
}

void UdpListener::wait() {
  waiting_ = true;
  port_.loop.engine.wait(*this, kReadable, port_.socket.get(), POLLIN);
}

void UdpListener::on_completion(Completion) {
  waiting_ = false;
  if (released_) port_.loop.engine.close(std::move(port_.socket));
  if (retired_) return;
  const int count = port_.sessions->receive(port_.socket.get());
  if (count > 0) {
    relay(port_.sessions->batch(), static_cast<std::size_t>(count));
  } else if (count != -EAGAIN) {
    port_.loop.shared.datagram_failures.warn(
        port_.loop.engine.now(),
        fmt::format("udp {}: receive: {}", port_.host.to_string(), errno_text(-count)));
  }
  wait();
}

void UdpListener::relay(DatagramBatch& batch, std::size_t count) {
  std::array<UdpSession*, DatagramBatch::kMessages> in_line;
  std::size_t in_line_count = 0;
  MessageChain chain;
  UdpSession* session = nullptr;
  for (std::size_t i = 0; i < count; ++i) {
    UdpSessionKey key{&port_, UdpFlow::of(batch.source(i), batch.header(i))};
    std::optional<AddressPair> told;
    if (is_front_end(key.flow)) {
      const auto taken = take_header(batch, i);
      if (!taken) {
        refuse(key.flow, taken.error().message);
        continue;
      }
      told = *taken;
      if (told) key.told = &*told;
    }
    // Datagrams of one client tend to come in a row.
    if (session == nullptr || session->key() != key) session = session_of(key);
    if (session == nullptr) {
      port_.counters.datagrams_dropped += batch.message(i).datagrams();
      continue;
    }
    const bool first = session->enqueue(static_cast<std::uint8_t>(i), chain);
    if (first) in_line[in_line_count++] = session;
  }
  for (std::size_t i = 0; i < in_line_count; ++i) in_line[i]->relay_to_backend(batch, chain);
}

bool UdpListener::is_front_end(const UdpFlow& flow) const {
  const RelaySettings& settings = port_.loop.settings;
  return !settings.front_ends.empty() &&
         settings.is_front_end(IpAddress::from_bytes(Family::v6, flow.client.s6_addr));
}

Result<std::optional<AddressPair>> UdpListener::take_header(DatagramBatch& batch,
                                                            std::size_t index) {
  const Message message = batch.message(index);
  const auto read =
      read_proxy_header({reinterpret_cast<const char*>(message.data), message.size}, Protocol::udp);
  if (!read) return std::unexpected(read.error());
  const std::optional<ProxyHeader>& header = *read;
  if (!header) return failed("the datagram ended before it was complete");
  batch.drop_front(index, header->size_bytes);
  return header->addresses;
}

void UdpListener::refuse(const UdpFlow& flow, std::string_view reason) {
  Loop& loop = port_.loop;
  ++port_.counters.proxy_headers_refused;
  ++port_.counters.datagrams_dropped;
  loop.shared.header_failures.warn(
      loop.engine.now(), fmt::format("PROXY header of {} to {}: {}",
                                     flow.client_address(port_.family).endpoint().to_string(),
                                     port_.host.to_string(), reason));
}

bool UdpListener::admits(const UdpSessionKey& key) {
  if (port_.access.empty()) return true;
  const Endpoint client = key.addresses().client;
  if (port_.access.admits(client.ip)) return true;
  note_denied(port_.loop, port_.counters, client, port_.host);
  return false;
}

UdpSession* UdpListener::session_of(const UdpSessionKey& key) {
  UdpSession* session = port_.sessions->find(key);
  if (session == nullptr) return admits(key) ? port_.sessions->open(key) : nullptr;
  port_.sessions->touch(*session);
  return session;
}

}  // namespace fairlead
