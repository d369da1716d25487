// A session is in one of three places:
//
//   open      in the table and in the list by order of use;
//   closing   in neither, and in closing_: the engine has been asked to cancel the wait on its
//             socket, which must end before the socket may be closed. It is found by nobody any
//             more, so its client gets a new session with the next datagram;
//   gone.
//
// A session leaves the first place because it was idle or had to make room. Making room happens
// while a batch of datagrams is being sorted by session, so a session may be closing and still have
// datagrams in line: its socket is open until a later turn, and they are sent as usual.
//
// The socket of an ended session is free only in a later turn. When the system refuses a socket
// (EMFILE, ENFILE, ENOBUFS, no local port), as many sessions end at once as one batch can bring new
// ones, and the limit is set to what is left. The datagram at hand is lost; the sessions that
// follow find what the ended ones left. Each raises the limit by one, so that it finds back to
// where it was, or to where the system refuses again.

#include "proxy/relay/udp_sessions.h"

#include <fmt/format.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "proxy/mapping/error.h"

// syscalls: getrandom sched_yield

namespace fairlead {
namespace {

constexpr std::size_t kBucketsMin = 16;
/// Bounds what replies that come while other sessions are served may take. A limit, not a cost:
/// the kernel counts datagrams that wait, and net.ipv4.udp_mem bounds all sockets together.
constexpr int kBackendBufferBytes = 1024 * 1024;

/// How long a refusal is believed.
constexpr TimeMs kShortageMs = 10'000;

bool is_shortage(int error) {
  // EAGAIN and EADDRNOTAVAIL: connect() found no free local port.
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM ||
         error == EAGAIN || error == EADDRNOTAVAIL;
}

/// The halves of the 128-bit product, folded: one multiplication spreads all bits.
std::uint64_t fold(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

}  // namespace

UdpSessionHash::UdpSessionHash() {
  // Fails only before the kernel's generator is up, long before any port is published.
  if (::getrandom(seed_, sizeof seed_, 0) < 0) std::memset(seed_, 0x5a, sizeof seed_);
}

std::size_t UdpSessionHash::operator()(const UdpSessionKey& key) const {
  std::uint64_t hash = reinterpret_cast<std::uintptr_t>(key.port);
  const auto add = [&](std::uint64_t a, std::uint64_t b) {
    hash = fold(a ^ seed_[0], b ^ seed_[1] ^ hash);
  };
  std::uint64_t words[6] = {};
  std::memcpy(words, &key.flow, sizeof key.flow);
  for (std::size_t i = 0; i < std::size(words); i += 2) add(words[i], words[i + 1]);
  if (key.told != nullptr) {
    for (const Endpoint& end : {key.told->client, key.told->host}) {
      std::uint64_t address[2] = {};
      std::memcpy(address, end.ip.bytes().data(), end.ip.bytes().size());
      add(address[0], address[1]);
      add(end.port, 0);
    }
  }
  return hash;
}

std::shared_ptr<UdpSessions> UdpSessions::of(Loop& loop) {
  std::shared_ptr<UdpSessions> sessions = loop.udp_sessions.lock();
  if (!sessions) {
    sessions = std::make_shared<UdpSessions>(loop);
    loop.udp_sessions = sessions;
  }
  return sessions;
}

UdpSessions::UdpSessions(Loop& loop)
    : loop_(loop),
      in_order_of_use_(*this, loop.settings.udp_timeout_ms),
      buckets_(1),
      table_(Table::bucket_traits(buckets_.data(), buckets_.size())),
      limit_(configured_limit()) {
  loop_.deadlines.add(in_order_of_use_);
}

UdpSessions::~UdpSessions() {
  loop_.deadlines.remove(in_order_of_use_);
  table_.clear_and_dispose([](UdpSession* session) { delete session; });
  closing_.clear_and_dispose([](Deadline* session) { delete static_cast<UdpSession*>(session); });
}

std::size_t UdpSessions::configured_limit() const {
  const std::size_t limit = loop_.settings.sessions_max;
  return limit > 0 ? limit : std::numeric_limits<std::size_t>::max();
}

int UdpSessions::receive(int fd) {
  if (!receiving_) {
    receiving_ = true;
    loop_.engine.defer(*this);
    if (load_.gathers()) ::sched_yield();
  }
  const int count = batch_.receive(loop_.engine, fd);
  if (count == static_cast<int>(DatagramBatch::kMessages)) load_.note_full_batch();
  return count;
}

void UdpSessions::on_deferred() {
  receiving_ = false;
  load_.end_turn();
}

UdpSession* UdpSessions::find(const UdpSessionKey& key) {
  const auto found = table_.find(key);
  return found == table_.end() ? nullptr : &*found;
}

UdpSession* UdpSessions::open(const UdpSessionKey& key) {
  if (loop_.engine.now() >= shortage_ends_) limit_ = configured_limit();
  if (size() >= limit_) make_room_on(*key.port);
  FileDescriptor backend = connected_socket(key);
  if (!backend) return nullptr;

  auto* session = new UdpSession(key, std::move(backend));
  insert(*session);
  in_order_of_use_.set(*session, loop_.engine.now());
  ++session->counters().sessions_opened;
  ++session->counters().sessions_open;
  session->start();
  return session;
}

void UdpSessions::make_room_on(const UdpPort& port) {
  evict_down_to(limit_ - 1);
  // A limit that is lower for a while has been logged with its reason.
  if (limit_ != configured_limit()) return;
  loop_.shared.resource_shortages.warn(
      loop_.engine.now(),
      fmt::format("udp {}: that is --max-udp-sessions; the 1 least recently used "
                  "sessions make room",
                  port.host.to_string()));
}

FileDescriptor UdpSessions::connected_socket(const UdpSessionKey& key) {
  Engine& engine = loop_.engine;
  const UdpPort& port = *key.port;
  const SocketAddress& backend = port.backend_address;
  const int fd = loop_.dialler.open_socket(Protocol::udp, backend, key.addresses().client);
  if (fd < 0) {
    socket_refused(port, "socket", -fd);
    return {};
  }
  FileDescriptor socket(fd);
  // None of these is needed, so it does not matter if the kernel has not got one of them.
  engine.set_option(fd, SOL_UDP, UDP_GRO, 1);
  set_datagram_buffers(engine, fd, kBackendBufferBytes);
  if (const int result = engine.connect_datagram(fd, backend); result < 0) {
    engine.close(std::move(socket));
    socket_refused(port, "connect", -result);
    return {};
  }
  return socket;
}

void UdpSessions::socket_refused(const UdpPort& port, std::string_view call, int error) {
  const std::string reason = fmt::format("udp {}: {} to {}: {}", port.host.to_string(), call,
                                         port.backend.to_string(), errno_text(error));
  if (!is_shortage(error)) {
    loop_.shared.connect_failures.warn(loop_.engine.now(), reason);
    return;
  }
  // Sessions that are ending leave their sockets in the next turn; more need not end in this one.
  if (!closing_.empty()) return;
  const std::size_t leaving = std::min(DatagramBatch::kMessages, (size() + 1) / 2);
  if (leaving > 0) {
    evict_down_to(size() - leaving);
    limit_ = std::max<std::size_t>(size(), 1);
    shortage_ends_ = loop_.engine.now() + kShortageMs;
  }
  loop_.shared.resource_shortages.warn(
      loop_.engine.now(),
      fmt::format("{}; the {} least recently used sessions make room", reason, leaving));
}

void UdpSessions::insert(UdpSession& session) {
  if (table_.size() >= buckets_.size()) {
    set_bucket_count(std::max(kBucketsMin, buckets_.size() * 2));
  }
  table_.insert(session);
}

void UdpSessions::set_bucket_count(std::size_t count) {
  Buckets buckets(count);
  table_.rehash(Table::bucket_traits(buckets.data(), buckets.size()));
  // The table is in the new buckets now; the old ones are empty and go.
  buckets_.swap(buckets);
}

void UdpSessions::touch(UdpSession& session) {
  // Also when the clock has not moved: the order counts, and a flood may come within one tick.
  in_order_of_use_.set(session, loop_.engine.now());
}

void UdpSessions::on_deadline(Deadline& deadline) {
  auto& session = static_cast<UdpSession&>(deadline);
  // Who was stopped for a while (SIGSTOP) has replies waiting that nobody has looked at.
  if (loop_.engine.ready_events(session.backend_fd(), POLLIN) != 0) {
    touch(session);
  } else {
    end(session);
  }
}

void UdpSessions::evict_down_to(std::size_t count) {
  while (size() > count) {
    auto& session = static_cast<UdpSession&>(in_order_of_use_.front());
    ++session.counters().sessions_evicted;
    end(session);
  }
}

void UdpSessions::end(UdpSession& session) {
  table_.erase(table_.iterator_to(session));
  static_cast<Deadline&>(session).unlink();
  closing_.push_back(session);
  --session.counters().sessions_open;
  session.close();
}

void UdpSessions::end_all_of(const UdpPort& port) {
  for (auto next = table_.begin(); next != table_.end();) {
    UdpSession& session = *next++;
    if (session.key().port == &port) end(session);
  }
}

void UdpSessions::backend_failed(UdpSession& session) {
  if (session.is_closing()) return;
  const SocketAddress& backend = session.key().port->backend_address;
  if (loop_.dialler.is_outdated(session.backend_fd(), backend)) end(session);
}

void UdpSessions::closed(UdpSession& session) {
  closing_.erase(closing_.iterator_to(session));
  delete &session;
  if (!table_.empty()) return;
  batch_.release_memory();
  set_bucket_count(1);
}

}  // namespace fairlead
