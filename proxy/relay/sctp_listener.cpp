#include "proxy/relay/sctp_listener.h"

#include <fmt/format.h>

#include <cerrno>
#include <utility>

#include "proxy/mapping/error.h"
#include "proxy/relay/admission.h"

namespace fairlead {

SctpListener::SctpListener(Loop& loop, FileDescriptor socket, const Endpoint& host,
                           const Endpoint& backend, Counters& counters)
    : loop_(loop),
      counters_(counters),
      socket_(std::move(socket)),
      host_(host),
      backend_(backend),
      access_(loop.settings.access_rules, Protocol::sctp, host.port),
      connecting_(*this, loop.settings.connect_timeout_ms),
      idle_(*this, loop.settings.idle_timeout_ms),
      retries_(*this, kRetryMs) {
  loop_.deadlines.add(connecting_);
  loop_.deadlines.add(idle_);
  loop_.deadlines.add(retries_);
}

SctpListener::~SctpListener() {
  connections_.clear_and_dispose([](SctpConnection* connection) { delete connection; });
  loop_.deadlines.remove(connecting_);
  loop_.deadlines.remove(idle_);
  loop_.deadlines.remove(retries_);
}

void SctpListener::start() {
  set_sctp_options(socket_.get());
  accept();
}

void SctpListener::retire(Queue) {
  retired_ = true;
  if (accepting_) {
    engine().cancel(*this, kAccept);
  } else {
    engine().close(std::move(socket_));
  }
}

void SctpListener::accept() {
  accepting_ = true;
  // One at a time: associations are few and long, and one too many should stay in the backlog.
  engine().accept(*this, kAccept, socket_.get(), Repeat::once);
}

void SctpListener::on_completion(Completion completion) {
  if (!completion.more) accepting_ = false;
  if (completion.result >= 0) {
    open({.socket = FileDescriptor(completion.result), .counters = counters_});
  }
  if (retired_) {
    if (!accepting_) engine().close(std::move(socket_));
    return;
  }
  if (accepting_ || retry_.is_linked()) return;
  switch (-completion.result) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case EINVAL:
    case EBADF:
      pause(errno_text(-completion.result));
      break;
    default:
      // The connection's error, not the listener's.
      accept();
      break;
  }
}

void SctpListener::open(Client client) {
  if (!admit(loop_, client, access_, host_)) return;
  const std::size_t limit = loop_.settings.connections_max;
  const int fd = limit > 0 && loop_.shared.connections_open >= limit
                     ? -EMFILE
                     : loop_.dialler.open_socket(Protocol::sctp, backend_, {});
  if (fd < 0) {
    engine().reset_on_close(client.socket.get());
    engine().close(std::move(client.socket));
    ++counters_.connections_refused;
    pause(errno_text(-fd));
    return;
  }
  set_sctp_options(fd);
  auto* connection = new SctpConnection(*this, std::move(client), FileDescriptor(fd));
  connections_.push_back(*connection);
  ++counters_.connections_accepted;
  ++counters_.connections_open;
  ++loop_.shared.connections_open;
  if (connecting_.duration_ms() > 0) connecting_.set(*connection, engine().now());
  connection->start();
}

void SctpListener::touch(SctpConnection& connection) {
  if (idle_.duration_ms() > 0) idle_.set(connection, engine().now());
}

void SctpListener::note_quiet() {
  ++counters_.connections_timed_out;
  loop_.shared.quiet_connections.warn(
      engine().now(), fmt::format("sctp {}: a connection is ended: nothing has passed for too long",
                                  host_.to_string()));
}

void SctpListener::destroy(SctpConnection& connection) {
  delete &connection;
  --counters_.connections_open;
  --loop_.shared.connections_open;
  if (connections_.empty()) buffer_.reset();
}

void SctpListener::pause(std::string_view reason) {
  if (accepting_) engine().cancel(*this, kAccept);
  if (retry_.is_linked()) return;
  ++counters_.accept_pauses;
  loop_.shared.resource_shortages.warn(
      engine().now(), fmt::format("sctp {}: accepting pauses at {} open connections: {}",
                                  host_.to_string(), loop_.shared.connections_open.load(), reason));
  retries_.set(retry_, engine().now());
}

void SctpListener::on_deadline(Deadline& deadline) {
  if (&deadline != &retry_) {
    static_cast<SctpConnection&>(deadline).on_deadline();
  } else if (!accepting_ && !retired_) {
    accept();
  }
}

std::span<std::byte> SctpListener::buffer() {
  if (!buffer_) buffer_ = std::make_unique_for_overwrite<std::byte[]>(kBufferBytes);
  return {buffer_.get(), kBufferBytes};
}

void SctpListener::count_bytes(bool to_container, std::size_t size) {
  (to_container ? counters_.bytes_to_container : counters_.bytes_to_client) += size;
}

void SctpListener::log_refused(int error_number) {
  ++counters_.connections_refused;
  loop_.shared.connect_failures.warn(
      engine().now(), fmt::format("sctp {}: connect {}: {}", host_.to_string(),
                                  backend_.endpoint().to_string(), errno_text(error_number)));
}

}  // namespace fairlead
