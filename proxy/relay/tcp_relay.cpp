#include "proxy/relay/tcp_relay.h"

#include <fmt/format.h>
#include <malloc.h>
#include <sys/socket.h>

#include <cerrno>
#include <iterator>
#include <limits>
#include <utility>

#include "proxy/log/log.h"
#include "proxy/mapping/error.h"
#include "proxy/net/tcp_options.h"
#include "proxy/relay/admission.h"

namespace fairlead {
namespace {

bool is_shortage(int error_number) {
  return error_number == EMFILE || error_number == ENFILE || error_number == ENOBUFS ||
         error_number == ENOMEM;
}

}  // namespace

TcpRelay::TcpRelay(Loop& loop)
    : loop_(loop),
      pipes_(loop.engine),
      introductions_(loop, *this),
      connecting_(*this, loop.settings.connect_timeout_ms),
      unread_(*this, kUnreadMs),
      idle_(quiet_owner_, loop.settings.idle_timeout_ms),
      half_closed_(quiet_owner_, loop.settings.half_closed_timeout_ms),
      judged_(judged_owner_, kJudgeMs),
      retries_(*this, kRetryMs),
      spare_(*this, kSpareMs) {
  for (DeadlineList* list :
       {&connecting_, &unread_, &idle_, &half_closed_, &judged_, &retries_, &spare_})
    loop_.deadlines.add(*list);
}

TcpRelay::~TcpRelay() {
  connections_.clear_and_dispose([](TcpConnection* connection) { delete connection; });
  for (DeadlineList* list :
       {&connecting_, &unread_, &idle_, &half_closed_, &judged_, &retries_, &spare_}) {
    loop_.deadlines.remove(*list);
  }
}

TcpRelay::Opened TcpRelay::open(Client& client, Acceptor& acceptor) {
  if (room() == 0) return Opened::full;
  if (!client.introduced && introductions_.is_front_end(client)) {
    introductions_.begin(std::move(client), acceptor);
    return Opened::yes;
  }
  if (!admit(loop_, client, acceptor.access(), acceptor.host())) return Opened::refused;
  const SocketAddress& backend = acceptor.backend();
  const bool sends_header = loop_.settings.proxy_protocol != ProxyProtocol::none;
  std::string header;
  Endpoint source;
  if (sends_header || loop_.dialler.needs_client()) {
    const auto addresses = addresses_of(engine(), client);
    if (!addresses) {
      ++client.counters.connections_reset;
      engine().close(std::move(client.socket));
      return Opened::refused;
    }
    source = addresses->client;
    if (sends_header) {
      header = encode_proxy_header(loop_.settings.proxy_protocol, Protocol::tcp, *addresses);
    }
  }
  const int backend_fd = loop_.dialler.open_socket(Protocol::tcp, backend, source);
  if (backend_fd < 0) {
    if (is_shortage(-backend_fd)) return Opened::shortage;
    ++client.counters.connections_refused;
    log_refused(
        fmt::format("socket for {}: {}", backend.endpoint().to_string(), errno_text(-backend_fd)));
    engine().reset_on_close(client.socket.get());
    engine().close(std::move(client.socket));
    return Opened::refused;
  }
  for (const SocketOption& option : kTcpOptions) {
    engine().set_option(backend_fd, option.level, option.name, option.value);
  }
  std::unique_ptr<Backlog> header_backlog;
  if (!header.empty()) {
    header_backlog = take_backlog();
    append_copy(*header_backlog, header);
  }
  auto connection = std::make_unique<TcpConnection>(std::move(client), FileDescriptor(backend_fd),
                                                    backend, std::move(header_backlog));
  ++connection->counters().connections_accepted;
  ++connection->counters().connections_open;
  ++loop_.shared.connections_open;
  Mailbox* other = next_in_turn();
  if (other == nullptr || !other->post(connection)) adopt(std::move(connection));
  return Opened::yes;
}

void TcpRelay::adopt(std::unique_ptr<TcpConnection> connection) {
  connections_.push_back(*connection);
  TcpConnection& adopted = *connection.release();
  if (!adopted.is_connected() && connecting_.duration_ms() > 0) {
    connecting_.set(adopted, engine().now());
  }
  adopted.join(*this);
}

void TcpRelay::destroy(TcpConnection& connection) {
  --connection.counters().connections_open;
  --loop_.shared.connections_open;
  delete &connection;
  if (connections_.empty()) release_later();
  resume_one();
  if (Mailbox* elsewhere = loop_.shared.waits_for_end; elsewhere != nullptr) elsewhere->wake();
}

Mailbox* TcpRelay::next_in_turn() {
  if (others_.empty()) return nullptr;
  turn_ = (turn_ + 1) % (others_.size() + 1);
  return turn_ == 0 ? nullptr : others_[turn_ - 1];
}

bool TcpRelay::empty() const { return connections_.empty(); }

std::size_t TcpRelay::take_active() {
  // 0 is for those that have never been active.
  if (++activity_period_ == 0) activity_period_ = 1;
  return std::exchange(active_, 0);
}

void TcpRelay::note_active(TcpConnection& connection, std::uint8_t& when) {
  if (when != activity_period_) {
    when = activity_period_;
    ++active_;
  }
  if (to_move_ == 0 || !connection.can_move()) return;
  --to_move_;
  connection.begin_move();
}

void TcpRelay::move_active(std::size_t count, Mailbox& other) {
  destination_ = &other;
  to_move_ = count;
}

void TcpRelay::move_all(Mailbox& other) {
  move_active(std::numeric_limits<std::size_t>::max(), other);
  for (TcpConnection& connection : connections_) {
    if (connection.can_move()) connection.begin_move();
  }
}

void TcpRelay::send_away(TcpConnection& connection) {
  connection.detach();
  connections_.erase(connections_.iterator_to(connection));
  std::unique_ptr<TcpConnection> moved(&connection);
  if (!destination_->post(moved)) {
    // That loop is ending: nothing more goes there.
    to_move_ = 0;
    adopt(std::move(moved));
  }
  if (connections_.empty()) release_later();
}

std::size_t TcpRelay::room() const {
  const std::size_t most = loop_.settings.connections_max;
  return busy() < most ? most - busy() : 0;
}

void TcpRelay::note_pause(std::string_view reason) {
  loop_.shared.resource_shortages.warn(
      engine().now(),
      fmt::format("accepting pauses at {} open connections: {}", connections_open(), reason));
}

void TcpRelay::resume_later(Acceptor& acceptor) {
  paused_.push_back(acceptor);
  loop_.shared.waits_for_end = own_;
  if (!retry_.is_linked()) retries_.set(retry_, engine().now());
}

void TcpRelay::resume_one() {
  if (paused_.empty()) return;
  if (std::next(paused_.begin()) == paused_.end()) loop_.shared.waits_for_end = nullptr;
  Acceptor& acceptor = paused_.front();
  paused_.pop_front();
  acceptor.resume();
}

void TcpRelay::resume_all() {
  // Each may pause again at once.
  auto resumed = std::move(paused_);
  loop_.shared.waits_for_end = nullptr;
  while (!resumed.empty()) {
    Acceptor& acceptor = resumed.front();
    resumed.pop_front();
    acceptor.resume();
  }
}

void TcpRelay::on_deadline(Deadline& deadline) {
  if (&deadline == &retry_) {
    resume_all();
  } else if (&deadline == &release_) {
    engine().release_buffers();
    pipes_.clear();
    spare_backlogs_.clear();
    ::malloc_trim(0);
  } else {
    static_cast<TcpConnection&>(deadline).on_deadline();
  }
}

std::unique_ptr<Backlog> TcpRelay::take_backlog() {
  if (spare_backlogs_.empty()) return std::make_unique<Backlog>();
  auto backlog = std::move(spare_backlogs_.back());
  spare_backlogs_.pop_back();
  return backlog;
}

void TcpRelay::put_back(std::unique_ptr<Backlog> backlog) {
  note_copied(backlog->copied_bytes(), 0);
  backlog->clear();
  if (spare_backlogs_.size() < kBacklogsKept) spare_backlogs_.push_back(std::move(backlog));
}

void TcpRelay::append_copy(Backlog& backlog, std::string_view bytes) {
  backlog.append_copy(bytes);
  note_copied(0, bytes.size());
}

void TcpRelay::copy_out_if_scarce(Backlog& backlog) {
  if (engine().buffers_scarce(BufferSize::small) || engine().buffers_scarce(BufferSize::large)) {
    copy_out(backlog);
  }
}

void TcpRelay::copy_out(Backlog& backlog) {
  const std::size_t before = backlog.copied_bytes();
  backlog.copy_out();
  note_copied(before, backlog.copied_bytes());
}

void TcpRelay::note_copied(std::size_t before, std::size_t after) {
  std::atomic<std::size_t>& stalled_bytes = loop_.shared.stalled_bytes;
  // Subtracting wraps around, and so does what it wraps around from.
  if (before != after) stalled_bytes += after - before;
  if (frugal_) {
    frugal_ = stalled_bytes > kStalledBytesBeforeFrugal / 2;
  } else if (stalled_bytes > kStalledBytesBeforeFrugal) {
    frugal_ = true;
    for (TcpConnection& connection : connections_) connection.on_frugal();
  }
}

DeadlineList& TcpRelay::quiet_list(const TcpConnection& connection) {
  return connection.half_closed() && half_closed_.duration_ms() > 0 ? half_closed_ : idle_;
}

void TcpRelay::touch(TcpConnection& connection) {
  DeadlineList& list = quiet_list(connection);
  if (list.duration_ms() > 0) list.set(connection.quiet(), engine().now());
}

void TcpRelay::take_over_quiet(TcpConnection& connection) {
  DeadlineList& list = quiet_list(connection);
  if (list.duration_ms() > 0) list.take_over(connection.quiet());
}

void TcpRelay::QuietOwner::on_deadline(Deadline& deadline) {
  static_cast<QuietDeadline&>(deadline).connection.on_quiet();
}

void TcpRelay::judge_later(TcpConnection& connection) {
  judged_.set(connection.quiet(), engine().now());
}

void TcpRelay::JudgedOwner::on_deadline(Deadline& deadline) {
  static_cast<QuietDeadline&>(deadline).connection.end_quiet();
}

void TcpRelay::watch_later(TcpConnection& connection) { unread_.set(connection, engine().now()); }

void TcpRelay::log_refused(std::string_view message) {
  loop_.shared.connect_failures.warn(engine().now(), message);
}

void TcpRelay::log_quiet(std::string_view message) {
  loop_.shared.quiet_connections.warn(engine().now(), message);
}

void TcpRelay::log_failed(std::string_view side, int error_number) {
  // Clients that go away are everyday; the counter tells how many.
  if (!logs(LogLevel::debug)) return;
  log_debug(fmt::format("connection ended by the {}: {}", side, errno_text(error_number)));
}

}  // namespace fairlead
