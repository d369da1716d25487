#include "proxy/relay/tcp_connection.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "proxy/net/tcp_pacing.h"
#include "proxy/relay/tcp_relay.h"

// Theory of operation
//
// A connection is two sockets and two directions, each from one socket to the other. Reading from
// the client starts with the connection, so that a client that goes away is noticed while the
// backend is still being dialled; writing starts when the backend has answered.
//
// Completions only record what happened and ask for on_deferred(), which runs when all completions
// of the turn are in. There pump() brings each direction to where it should be; it may be called at
// any time and does nothing when nothing is to be done:
//
//   bytes in the backlog          send them, gathered in one call
//     the sink has no room        wait until it has; do not read the source meanwhile
//   backlog empty, source ended   shut the sink down for writing: the FIN, passed on
//   backlog empty, not ended      read the source
//
// That is all the back-pressure there is. In splice mode the pipe takes the backlog's place.
//
// A source that is not being read, since its sink has no room or since it has sent its FIN, could
// be reset without anyone noticing. After kUnreadMs such a socket is watched for errors (a wait for
// no event): not at once, because nearly always the other FIN, or room, comes first.
//
// A standing receive may not be told of a reset either (Engine::misses_resets()): under mixed load
// a client was seen to wait for its service's until it gave up. So kUnreadMs after such a receive
// has started or brought something its socket is looked at, and if it is broken the receive begins
// anew, which tells.
//
// An error of either socket ends the connection with a reset on both: what came before it is sent
// first, as far as there is room, and a reset is passed on as a reset. When both directions have
// ended the sockets are closed, both FINs having been sent.
//
// Ending takes two steps: operations in flight are cancelled, and when the last has completed the
// sockets are closed and the object is destroyed, always from on_deferred(), so that the engine
// holds no pointer to it. Moving to another loop takes the same two steps, with bytes that came
// meanwhile going along: between them nothing is sent and nothing new is started.

// syscalls: getsockopt

namespace fairlead {
namespace {

/// Most pieces gathered into one send.
constexpr std::size_t kPiecesMax = 64;

/// Bytes that one direction may splice before other connections get theirs. Messages that come
/// meanwhile wait for no more than one or two such moves, however many bulk streams there are:
/// Engine::defer_long().
constexpr std::size_t kSplicedPerTurn = 512UL * 1024;

}  // namespace

// malloc() adds 8 bytes, and rounds up to a multiple of 16.
static_assert(sizeof(TcpConnection) <= 216, "one for each connection, as the header says");

TcpConnection::TcpConnection(Client client, FileDescriptor backend,
                             const SocketAddress& backend_address, std::unique_ptr<Backlog> header)
    : client_(std::move(client)), backend_(std::move(backend)), backend_address_(backend_address) {
  directions_[kClient].backlog = std::move(header);
}

TcpConnection::~TcpConnection() {
  if (relay_ == nullptr) return;
  for (Direction& direction : directions_) {
    if (direction.backlog) relay_->put_back(std::move(direction.backlog));
    if (direction.pipe) relay_->pipes().put_back(std::move(*direction.pipe));
  }
  relay_->engine().close(std::move(client_.socket));
  relay_->engine().close(std::move(backend_));
}

void TcpConnection::join(TcpRelay& relay) {
  relay_ = &relay;
  if (started_) {
    for (const Direction& direction : directions_) {
      if (direction.pipe) relay_->pipes().take_over();
    }
    relay_->take_over_quiet(*this);
    relay_->engine().defer(*this);
    return;
  }
  started_ = true;
  unpaced_ = begin_unpaced(fd(kBackend));
  relay_->engine().connect(*this, writable(kBackend), fd(kBackend), backend_address_);
  started(writable(kBackend));
  start_receive(kClient);
}

void TcpConnection::begin_move() {
  moving_ = true;
  Deadline::unlink();
  for (Direction& direction : directions_) {
    if (direction.reading == Reading::receiving) direction.reading = Reading::stopping;
    if (direction.reading == Reading::watching) direction.reading = Reading::unwatching;
  }
  cancel_all();
  relay_->engine().defer(*this);
}

void TcpConnection::detach() {
  for (Direction& direction : directions_) {
    if (direction.backlog) relay_->copy_out(*direction.backlog);
    if (direction.pipe) relay_->pipes().give_away();
  }
  for (const Side side : {kClient, kBackend}) relay_->engine().let_go(fd(side));
  // What it was in the middle of may have touched it, and looked after its receives, to the last.
  quiet_.unlink();
  Deadline::unlink();
  relay_ = nullptr;
  moving_ = false;
}

void TcpConnection::on_completion(Completion completion) {
  if (!completion.more) {
    in_flight_ = static_cast<std::uint8_t>(in_flight_ & ~(1U << completion.tag));
  }
  if (closing_) {
    relay_->engine().defer(*this);
    return;
  }

  switch (completion.tag) {
    case readable(kClient):
      on_readable(kClient, completion);
      break;
    case readable(kBackend):
      on_readable(kBackend, completion);
      break;
    case writable(kBackend):
      if (!connected_) on_connected(completion.result);
      break;
    default:
      // Room to send, or an error that the next send returns.
      break;
  }
  pump_soon();
}

void TcpConnection::pump_soon() {
  Engine& engine = relay_->engine();
  const bool bulk = std::ranges::any_of(
      directions_, [](const Direction& direction) { return direction.policy.is_bulk(); });
  if (bulk && !closing_) {
    engine.defer_long(*this);
  } else {
    engine.defer(*this);
  }
}

void TcpConnection::on_deferred() {
  if (moving_ && !closing_) {
    if (in_flight_ == 0) relay_->send_away(*this);
    return;
  }
  if (!closing_) pump(kClient);
  if (!closing_) pump(kBackend);
  if (!closing_) {
    if (directions_[kClient].finished && directions_[kBackend].finished) {
      close(false);
    } else {
      watch_soon_if_unread();
      if (more_to_splice_) pump_soon();
      more_to_splice_ = false;
      relay_->note_active(*this, active_in_);
    }
  }
  if (closing_ && in_flight_ == 0) relay_->destroy(*this);
}

void TcpConnection::on_connected(int result) {
  Deadline::unlink();
  if (result == 0) {
    connected_ = true;
    if (unpaced_) {
      for (const Side side : {kClient, kBackend}) pace_if_far(fd(side));
    }
    relay_->touch(*this);
  } else {
    refuse(overdue_ ? ETIMEDOUT : -result);
  }
}

void TcpConnection::on_deadline() {
  if (closing_) return;
  if (!connected_) {
    overdue_ = true;
    relay_->engine().cancel(*this, writable(kBackend));
    return;
  }
  for (const Side side : {kClient, kBackend}) {
    Direction& direction = directions_[side];
    if (direction.reading == Reading::receiving && direction.unproven) {
      direction.unproven = false;
      if (relay_->engine().ready_events(fd(side), POLLERR | POLLHUP) != 0) cancel_receive(side);
    }
    if (direction.reading != Reading::idle || direction.hung_up) continue;
    relay_->engine().wait(*this, readable(side), fd(side), 0);
    started(readable(side));
    direction.reading = Reading::watching;
  }
}

void TcpConnection::on_quiet() {
  if (closing_) return;
  if (can_go_on()) {
    relay_->judge_later(*this);
  } else {
    end_quiet();
  }
}

bool TcpConnection::can_go_on() {
  Engine& engine = relay_->engine();
  if (engine.is_behind() || is_deferred()) return true;
  for (const Side side : {kClient, kBackend}) {
    const Reading reading = directions_[side].reading;
    short events = 0;
    if (reading == Reading::receiving || reading == Reading::polling) events |= POLLIN;
    if (in_flight(writable(side))) events |= POLLOUT;
    if (events != 0 && engine.ready_events(fd(side), events) != 0) return true;
  }
  return false;
}

void TcpConnection::end_quiet() {
  if (closing_) return;
  ++client_.counters.connections_timed_out;
  relay_->log_quiet(fmt::format(
      "{}connection of {} to {} is ended: nothing has passed for too long",
      half_closed() ? "half-closed " : "", client_text(addresses_of(relay_->engine(), client_)),
      backend_address_.endpoint().to_string()));
  close(true);
  relay_->engine().defer(*this);
}

void TcpConnection::on_readable(Side source, Completion& completion) {
  Direction& direction = directions_[source];
  const Reading was = direction.reading;
  if (!completion.more) direction.reading = Reading::idle;
  switch (was) {
    case Reading::receiving:
    case Reading::stopping:
      take_in(source, completion);
      break;
    case Reading::watching:
    case Reading::unwatching:
      if (completion.result > 0 && (completion.result & POLLERR) != 0) {
        int error_number = 0;
        socklen_t size = sizeof error_number;
        ::getsockopt(fd(source), SOL_SOCKET, SO_ERROR, &error_number, &size);
        fail(source, error_number);
      } else if (completion.result > 0) {
        direction.hung_up = true;
      }
      break;
    case Reading::polling:
    case Reading::idle:
      break;
  }
}

void TcpConnection::take_in(Side source, Completion& completion) {
  Direction& direction = directions_[source];
  if (completion.result > 0) {
    const std::size_t size = completion.lease.size();
    direction.policy.note_received(size);
    if (direction.large_receive) relay_->release_later();
    (source == kClient ? client_.counters.bytes_to_container : client_.counters.bytes_to_client) +=
        size;
    if (!direction.backlog) direction.backlog = relay_->take_backlog();
    direction.backlog->append(std::move(completion.lease));
    if (connected_) relay_->touch(*this);
    if (completion.more) prove_soon(source);
  } else if (completion.result == 0) {
    direction.ended = true;
  } else if (completion.result != -ECANCELED && completion.result != -ENOBUFS) {
    // What came before the error is still owed to the sink.
    pump(source);
    if (!closing_) fail(source, -completion.result);
  }
}

void TcpConnection::pump(Side source) {
  Direction& direction = directions_[source];
  if (direction.finished) return;
  if (!connected_) {
    if (direction.backlog) {
      // One receive's worth is enough until the backend has answered.
      stop_reading(source);
      relay_->copy_out_if_scarce(*direction.backlog);
    }
    return;
  }
  if (direction.splicing && !direction.backlog) {
    pump_splice(source);
  } else {
    pump_copy(source);
  }
}

void TcpConnection::pump_copy(Side source) {
  Direction& direction = directions_[source];
  if (direction.backlog && !send_backlog(source)) {
    if (closing_) return;
    stop_reading(source);
    relay_->copy_out_if_scarce(*direction.backlog);
  } else if (direction.ended) {
    pass_on_end(source);
  } else {
    keep_reading(source);
  }
}

/// True when all of it was sent.
bool TcpConnection::send_backlog(Side source) {
  Direction& direction = directions_[source];
  const Side sink = other(source);
  Backlog& backlog = *direction.backlog;
  std::array<iovec, kPiecesMax> pieces{};
  while (!backlog.empty()) {
    if (in_flight(writable(sink))) return false;
    const ssize_t sent = relay_->engine().send(fd(sink), backlog.front(pieces));
    if (sent > 0) {
      backlog.remove_front(static_cast<std::size_t>(sent));
      relay_->touch(*this);
      continue;
    }
    const int error_number = static_cast<int>(-sent);
    if (error_number == EINTR) continue;
    if (error_number != EAGAIN && error_number != ENOBUFS && error_number != ENOMEM) {
      fail(sink, error_number);
      return false;
    }
    wait_writable(sink);
    return false;
  }
  relay_->put_back(std::move(direction.backlog));
  return true;
}

void TcpConnection::pump_splice(Side source) {
  Direction& direction = directions_[source];
  const Side sink = other(source);
  Engine& engine = relay_->engine();
  for (std::size_t left = kSplicedPerTurn; !closing_;) {
    if (direction.pipe && direction.pipe->held_bytes > 0) {
      if (in_flight(writable(sink))) return;
      Pipe& pipe = *direction.pipe;
      const ssize_t moved = engine.splice(pipe.read_end.get(), fd(sink), pipe.held_bytes);
      if (moved > 0) {
        pipe.held_bytes -= static_cast<std::size_t>(moved);
        relay_->touch(*this);
      } else if (moved == -EAGAIN || moved == -ENOBUFS || moved == -ENOMEM) {
        wait_writable(sink);
        return;
      } else if (moved != -EINTR) {
        fail(sink, static_cast<int>(-moved));
      }
      continue;
    }
    if (direction.ended) {
      pass_on_end(source);
      return;
    }
    if (direction.reading != Reading::idle) {
      if (direction.reading == Reading::watching) stop_reading(source);
      return;
    }
    if (!direction.policy.use_splice(relay_->mode())) {
      // Messages again.
      direction.splicing = false;
      keep_reading(source);
      return;
    }
    if (left == 0) {
      more_to_splice_ = true;
      return;
    }
    if (!direction.pipe) {
      auto pipe = relay_->pipes().take();
      if (!pipe) {
        direction.splicing = false;
        direction.splice_refused = true;
        keep_reading(source);
        return;
      }
      direction.pipe = std::make_unique<Pipe>(std::move(*pipe));
    }
    const ssize_t moved = engine.splice(fd(source), direction.pipe->write_end.get(),
                                        std::min(direction.pipe->room_bytes, left));
    if (moved > 0) {
      left -= static_cast<std::size_t>(moved);
      direction.pipe->held_bytes = static_cast<std::size_t>(moved);
      direction.policy.note_received(direction.pipe->held_bytes);
      relay_->touch(*this);
      (source == kClient ? client_.counters.bytes_to_container
                         : client_.counters.bytes_to_client) += direction.pipe->held_bytes;
    } else if (moved == 0) {
      direction.ended = true;
    } else if (moved == -EAGAIN || moved == -ENOBUFS || moved == -ENOMEM) {
      relay_->pipes().put_back(std::move(*direction.pipe));
      direction.pipe.reset();
      relay_->release_later();
      engine.wait(*this, readable(source), fd(source), POLLIN);
      started(readable(source));
      direction.reading = Reading::polling;
      return;
    } else if (moved != -EINTR) {
      fail(source, static_cast<int>(-moved));
    }
  }
}

void TcpConnection::pass_on_end(Side source) {
  Direction& direction = directions_[source];
  direction.finished = true;
  // ENOTCONN: the sink was reset, which its own direction learns.
  relay_->engine().shutdown_write(fd(other(source)));
  relay_->touch(*this);
}

void TcpConnection::keep_reading(Side source) {
  Direction& direction = directions_[source];
  if (!direction.splicing && !direction.splice_refused &&
      direction.policy.use_splice(relay_->mode())) {
    direction.splicing = true;
  }
  switch (direction.reading) {
    case Reading::idle:
      if (direction.splicing) {
        pump_splice(source);
      } else {
        start_receive(source);
      }
      break;
    case Reading::receiving:
      if (direction.standing_receive && direction.policy.is_bulk()) stop_reading(source);
      break;
    case Reading::watching:
      stop_reading(source);
      break;
    case Reading::stopping:
    case Reading::polling:
    case Reading::unwatching:
      break;
  }
}

void TcpConnection::start_receive(Side source) {
  Direction& direction = directions_[source];
  ReceivePlan plan = direction.policy.receive_plan(relay_->frugal());
  // A standing receive would have to be cancelled before the first splice.
  if (relay_->mode() == RelayMode::splice && !direction.splice_refused) {
    plan = {BufferSize::small, Repeat::once};
  }
  relay_->engine().receive(*this, readable(source), fd(source), plan.size, plan.repeat);
  started(readable(source));
  direction.reading = Reading::receiving;
  direction.standing_receive = plan.repeat == Repeat::until_stopped;
  direction.large_receive = plan.size == BufferSize::large;
  if (direction.standing_receive) prove_soon(source);
}

void TcpConnection::prove_soon(Side source) {
  if (!relay_->engine().misses_resets()) return;
  directions_[source].unproven = true;
  // Until it is connected, the deadline is that of dialling; the backend's receive comes after.
  if (connected_ && !Deadline::is_linked()) relay_->watch_later(*this);
}

void TcpConnection::stop_reading(Side source) {
  Direction& direction = directions_[source];
  if (direction.reading == Reading::receiving && direction.standing_receive) {
    cancel_receive(source);
  } else if (direction.reading == Reading::watching) {
    direction.reading = Reading::unwatching;
    relay_->engine().cancel(*this, readable(source));
  }
}

void TcpConnection::cancel_receive(Side source) {
  directions_[source].reading = Reading::stopping;
  relay_->engine().cancel(*this, readable(source));
}

void TcpConnection::on_frugal() {
  if (closing_) return;
  for (const Side source : {kClient, kBackend}) {
    const Direction& direction = directions_[source];
    if (direction.reading == Reading::receiving && direction.large_receive) cancel_receive(source);
  }
}

void TcpConnection::wait_writable(Side sink) {
  relay_->engine().wait(*this, writable(sink), fd(sink), POLLOUT);
  started(writable(sink));
}

void TcpConnection::watch_soon_if_unread() {
  if (!connected_ || Deadline::is_linked()) return;
  for (const Direction& direction : directions_) {
    if (direction.reading == Reading::idle && !direction.hung_up) {
      relay_->watch_later(*this);
      return;
    }
  }
}

void TcpConnection::refuse(int error_number) {
  ++client_.counters.connections_refused;
  relay_->log_refused(fmt::format("connect {} for {}: {}", backend_address_.endpoint().to_string(),
                                  client_text(addresses_of(relay_->engine(), client_)),
                                  errno_text(error_number)));
  // A reset, as the client would have got from a closed port without a proxy: an orderly end could
  // be taken for an empty answer.
  close(true);
}

void TcpConnection::fail(Side side, int error_number) {
  if (closing_) return;
  ++client_.counters.connections_reset;
  relay_->log_failed(side == kClient ? "client" : "backend", error_number);
  close(true);
}

void TcpConnection::close(bool with_reset) {
  closing_ = true;
  Deadline::unlink();
  quiet_.unlink();
  if (with_reset) {
    for (const Side side : {kClient, kBackend}) relay_->engine().reset_on_close(fd(side));
  }
  cancel_all();
}

void TcpConnection::cancel_all() {
  for (Tag tag = 0; tag <= writable(kBackend); ++tag) {
    if (in_flight(tag)) relay_->engine().cancel(*this, tag);
  }
}

}  // namespace fairlead
