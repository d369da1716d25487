#include "proxy/relay/introductions.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <iterator>
#include <span>
#include <utility>

#include "proxy/mapping/error.h"
#include "proxy/relay/tcp_relay.h"

namespace fairlead {
namespace {

ssize_t receive(Engine& engine, int fd, std::span<char> room, int flags) {
  iovec piece{room.data(), room.size()};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  return engine.receive_message(fd, message, flags);
}

}  // namespace

Introduction::Introduction(Introductions& introductions, Client client, Acceptor& acceptor)
    : introductions_(introductions), client_(std::move(client)), acceptor_(acceptor) {}

void Introduction::wait() {
  introductions_.engine().wait(*this, kReadable, client_.socket.get(), POLLIN);
}

void Introduction::on_deadline() { introductions_.engine().cancel(*this, kReadable); }

void Introduction::on_completion(Completion completion) {
  if (completion.result != -ECANCELED) {
    read();
  } else {
    introductions_.fail(*this,
                        fmt::format("none came within {} s", Introductions::kHeaderMs / 1000));
  }
}

void Introduction::read() {
  Engine& engine = introductions_.engine();
  const int fd = client_.socket.get();
  std::array<char, kProxyHeaderBytesMax> room;
  while (true) {
    const std::size_t taken = bytes_.size();
    const ssize_t seen = receive(engine, fd, std::span(room).first(room.size() - taken), MSG_PEEK);
    if (seen == -EINTR) continue;
    if (seen == -EAGAIN) {
      wait();
      return;
    }
    if (seen < 0) {
      introductions_.fail(*this, errno_text(static_cast<int>(-seen)));
      return;
    }
    if (seen == 0) {
      introductions_.fail(*this, "the connection ended before it was complete");
      return;
    }
    bytes_.append(room.data(), static_cast<std::size_t>(seen));
    const auto parsed = read_proxy_header(bytes_, Protocol::tcp);
    if (!parsed) {
      introductions_.fail(*this, parsed.error().message);
      return;
    }
    const std::optional<ProxyHeader>& header = *parsed;
    if (header) bytes_.resize(header->size_bytes);
    // They are there, so this cannot fall short.
    receive(engine, fd, std::span(room).first(bytes_.size() - taken), 0);
    if (header) {
      introductions_.succeed(*this, header->addresses);
      return;
    }
  }
}

Introductions::Introductions(Loop& loop, TcpRelay& relay)
    : loop_(loop), relay_(relay), overdue_(*this, kHeaderMs) {
  loop_.deadlines.add(overdue_);
}

Introductions::~Introductions() {
  for (Introduction& introduction : introductions_) {
    engine().close(std::move(introduction.client().socket));
  }
  loop_.deadlines.remove(overdue_);
}

bool Introductions::is_front_end(const Client& client) const {
  if (loop_.settings.front_ends.empty()) return false;
  SocketAddress peer;
  if (loop_.engine.peer_address(client.socket.get(), peer) < 0) return false;
  return loop_.settings.is_front_end(peer.endpoint().ip);
}

void Introductions::begin(Client client, Acceptor& acceptor) {
  Introduction& introduction = introductions_.emplace_back(*this, std::move(client), acceptor);
  introduction.place = std::prev(introductions_.end());
  overdue_.set(introduction, engine().now());
  introduction.wait();
}

Client Introductions::end(Introduction& introduction) {
  Client client = std::move(introduction.client());
  introductions_.erase(introduction.place);
  return client;
}

void Introductions::succeed(Introduction& introduction, const std::optional<AddressPair>& told) {
  Acceptor& acceptor = introduction.acceptor();
  Client client = end(introduction);
  if (told) client.told = std::make_unique<AddressPair>(*told);
  client.introduced = true;
  acceptor.welcome(std::move(client));
}

void Introductions::fail(Introduction& introduction, std::string_view reason) {
  const Endpoint host = introduction.acceptor().host();
  Client client = end(introduction);
  ++client.counters.proxy_headers_refused;
  loop_.shared.header_failures.warn(
      engine().now(),
      fmt::format("PROXY header of {} to {}: {}", client_text(addresses_of(engine(), client)),
                  host.to_string(), reason));
  engine().reset_on_close(client.socket.get());
  engine().close(std::move(client.socket));
  relay_.resume_one();
}

void Introductions::on_deadline(Deadline& deadline) {
  static_cast<Introduction&>(deadline).on_deadline();
}

}  // namespace fairlead
