// Theory of operation
//
// A connection is two associations and two directions, each from one socket to the other. A message
// is received, with its stream and payload protocol, into the listener's one buffer and sent at
// once. Only a message that does not end in that buffer, or for which the sink has no room, is
// copied and held; while one is complete and held, its source is not read. That is all the
// back-pressure there is.
//
// SCTP has no half-close: an association that is being shut down takes no more messages from either
// side, but still delivers those that were sent before. So when one side shuts down, the other is
// shut down after its last message; what comes back from it until it has ended, too, cannot be
// delivered any more and is dropped. Closing it at once would abort it, and lose what it has not
// acknowledged yet.
//
// An abort of either side is passed on as an abort, and a backend that cannot be reached aborts the
// client's association.
//
// Ending takes two steps: operations in flight are cancelled, and when the last has completed the
// connection is destroyed.

#include "proxy/relay/sctp_connection.h"

#include <fmt/format.h>
#include <poll.h>

#include <cerrno>
#include <utility>

#include "proxy/log/log.h"
#include "proxy/mapping/error.h"
#include "proxy/relay/sctp_listener.h"

namespace fairlead {
namespace {

/// Before the other connections of the loop get their turn.
constexpr int kMessagesPerTurn = 32;

}  // namespace

SctpConnection::SctpConnection(SctpListener& listener, Client client, FileDescriptor backend)
    : listener_(listener), client_(std::move(client)), backend_(std::move(backend)) {}

SctpConnection::~SctpConnection() {
  listener_.engine().close(std::move(client_.socket));
  listener_.engine().close(std::move(backend_));
}

void SctpConnection::start() {
  const Tag tag = writable(kBackend);
  listener_.engine().connect(*this, tag, fd(kBackend), listener_.backend());
  in_flight_ = static_cast<std::uint8_t>(in_flight_ | (1U << tag));
}

void SctpConnection::on_completion(Completion completion) {
  in_flight_ = static_cast<std::uint8_t>(in_flight_ & ~(1U << completion.tag));
  if (!closing_) {
    switch (completion.tag) {
      case readable(kClient):
      case writable(kBackend):
        if (connected_) {
          pump(kClient);
        } else {
          on_connected(completion.result);
        }
        break;
      default:
        pump(kBackend);
        break;
    }
  }
  if (!closing_ && directions_[kClient].finished && directions_[kBackend].finished) close(false);
  if (closing_ && in_flight_ == 0) listener_.destroy(*this);
}

void SctpConnection::on_connected(int result) {
  Deadline::unlink();
  if (result < 0) {
    listener_.log_refused(overdue_ ? ETIMEDOUT : -result);
    close(true);
    return;
  }
  connected_ = true;
  listener_.touch(*this);
  pump(kClient);
  if (!closing_) pump(kBackend);
}

void SctpConnection::on_deferred() {
  if (closing_ && in_flight_ == 0) listener_.destroy(*this);
}

void SctpConnection::on_deadline() {
  if (connected_) {
    listener_.note_quiet();
    close(true);
    // There may be nothing in flight whose end could be waited for.
    if (in_flight_ == 0) listener_.engine().defer(*this);
    return;
  }
  overdue_ = true;
  listener_.engine().cancel(*this, writable(kBackend));
}

void SctpConnection::pump(Side source) {
  Direction& direction = directions_[source];
  const Side sink = other(source);
  for (int messages = 0; !closing_; ++messages) {
    if (direction.complete) {
      if (in_flight(writable(sink))) return;
      if (!send(source, direction.info, direction.message)) return;
      direction.message = {};
      direction.complete = false;
    }
    if (direction.ended) {
      if (!direction.finished) listener_.engine().shutdown_write(fd(sink));
      direction.finished = true;
      return;
    }
    if (in_flight(readable(source))) return;
    if (messages == kMessagesPerTurn || !receive(source)) {
      if (!closing_) wait(readable(source), source, POLLIN);
      return;
    }
  }
}

bool SctpConnection::receive(Side source) {
  Direction& direction = directions_[source];
  const std::span<std::byte> buffer = listener_.buffer();
  alignas(cmsghdr) std::array<std::byte, kSctpReceiveControlBytes> control;
  iovec piece{buffer.data(), buffer.size()};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  const ssize_t result = listener_.engine().receive_message(fd(source), header, 0);
  if (result == -EAGAIN) return false;
  if (result == -EINTR) return true;
  if (result < 0) {
    fail(source, static_cast<int>(-result));
    return false;
  }
  if (result == 0) {
    direction.ended = true;
    return true;
  }
  const std::span<const std::byte> bytes = buffer.first(static_cast<std::size_t>(result));
  if ((header.msg_flags & MSG_NOTIFICATION) != 0) {
    switch (read_sctp_notice(bytes)) {
      case SctpNotice::shutdown_complete:
        direction.ended = true;
        break;
      case SctpNotice::message_given_up:
        direction.message = {};
        break;
      case SctpNotice::other:
        break;
    }
    return true;
  }
  const SctpMessageInfo info = read_sctp_info(header).value_or(SctpMessageInfo{});
  const bool ends = (header.msg_flags & MSG_EOR) != 0;
  listener_.count_bytes(source == kClient, bytes.size());
  listener_.touch(*this);
  if (ends && direction.message.empty()) {
    if (!send(source, info, bytes) && !closing_) {
      hold(direction, info, bytes);
      direction.complete = true;
    }
  } else if (direction.message.size() + bytes.size() > kMessageBytesMax) {
    fail(source, EMSGSIZE);
  } else {
    hold(direction, info, bytes);
    direction.complete = ends;
  }
  return true;
}

void SctpConnection::hold(Direction& direction, const SctpMessageInfo& info,
                          std::span<const std::byte> bytes) {
  direction.info = info;
  direction.message.insert(direction.message.end(), bytes.begin(), bytes.end());
}

bool SctpConnection::send(Side source, const SctpMessageInfo& info,
                          std::span<const std::byte> message) {
  const Side sink = other(source);
  alignas(cmsghdr) std::array<std::byte, kSctpSendControlBytes> control;
  write_sctp_info(control, info);
  iovec piece{const_cast<std::byte*>(message.data()), message.size()};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  const ssize_t result = listener_.engine().send_message(fd(sink), header, 0);
  if (result >= 0) return true;
  const int error_number = static_cast<int>(-result);
  if (error_number == EAGAIN || error_number == ENOBUFS || error_number == ENOMEM) {
    wait(writable(sink), sink, POLLOUT);
    return false;
  }
  // The sink is shutting down and takes no more: see above.
  const bool too_late = error_number == EPIPE || error_number == ESHUTDOWN;
  if (too_late && directions_[sink].ended) return true;
  fail(sink, error_number);
  return false;
}

void SctpConnection::wait(Tag tag, Side side, short events) {
  listener_.engine().wait(*this, tag, fd(side), events);
  in_flight_ = static_cast<std::uint8_t>(in_flight_ | (1U << tag));
}

void SctpConnection::fail(Side side, int error_number) {
  if (closing_) return;
  listener_.count_reset();
  if (logs(LogLevel::debug)) {
    log_debug(fmt::format("sctp connection ended by the {}: {}",
                          side == kClient ? "client" : "backend", errno_text(error_number)));
  }
  close(true);
}

void SctpConnection::close(bool with_abort) {
  closing_ = true;
  Deadline::unlink();
  for (const Side side : {kClient, kBackend}) {
    if (with_abort) listener_.engine().reset_on_close(fd(side));
    for (const Tag tag : {readable(side), writable(side)}) {
      if (in_flight(tag)) listener_.engine().cancel(*this, tag);
    }
  }
}

}  // namespace fairlead
