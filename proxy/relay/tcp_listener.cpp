#include "proxy/relay/tcp_listener.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <utility>

#include "proxy/mapping/error.h"
#include "proxy/net/tcp_pacing.h"

namespace fairlead {

TcpListener::TcpListener(Loop& loop, FileDescriptor socket, const Endpoint& host,
                         const Endpoint& backend, Counters& counters)
    : relay_(loop.tcp.lock()),
      socket_(std::move(socket)),
      host_(host),
      backend_(backend),
      access_(loop.settings.access_rules, Protocol::tcp, host.port),
      counters_(counters) {
  if (!relay_) loop.tcp = relay_ = std::make_shared<TcpRelay>(loop);
  if (system_is_paced()) begin_unpaced(socket_.get());
}

void TcpListener::start() {
  accepting_ = true;
  accepting_all_ = relay_->room() >= kRoomForAll;
  relay_->engine().accept(*this, kAccept, socket_.get(),
                          accepting_all_ ? Repeat::until_stopped : Repeat::once);
}

void TcpListener::retire(Queue queue) {
  retired_ = true;
  // The kernel resets whoever is in the queue when the socket is closed.
  for (int count = 0; queue == Queue::served && !paused_ && count < kLastClientsMax; ++count) {
    FileDescriptor client(relay_->engine().accept_waiting(socket_.get()));
    if (!client) break;
    welcome({.socket = std::move(client), .counters = counters_});
  }
  if (accepting_) {
    relay_->engine().cancel(*this, kAccept);
  } else {
    relay_->engine().close(std::move(socket_));
  }
}

void TcpListener::on_completion(Completion completion) {
  if (!completion.more) accepting_ = false;
  if (completion.result >= 0)
    welcome({.socket = FileDescriptor(completion.result), .counters = counters_});
  if (retired_) {
    if (!accepting_) relay_->engine().close(std::move(socket_));
    return;
  }
  if (paused_) return;
  if (accepting_) {
    if (accepting_all_ && relay_->room() < kRoomForAll) {
      accepting_all_ = false;
      relay_->engine().cancel(*this, kAccept);
    }
    return;
  }
  switch (-completion.result) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      pause(errno_text(-completion.result));
      break;
    case EINVAL:
    case EBADF:
    case ENOTSOCK:
    case EOPNOTSUPP:
      // Someone else who holds the socket has shut it down. It may be usable again: try, slowly.
      pause(host_.to_string() + ": " + errno_text(-completion.result));
      break;
    default:
      // The connection's error, not the listener's (accept(2), "Error handling").
      start();
      break;
  }
}

void TcpListener::welcome(Client client) {
  // One who has been introduced had a place while its header came, and keeps it.
  const bool has_place = client.introduced;
  if (has_place) {
    undialled_.push_front(std::move(client));
  } else {
    undialled_.push_back(std::move(client));
  }
  if (has_place || !paused_) serve_undialled();
}

void TcpListener::serve_undialled() {
  while (!undialled_.empty()) {
    switch (relay_->open(undialled_.front(), *this)) {
      case TcpRelay::Opened::yes:
        pause_noted_ = false;
        undialled_.pop_front();
        break;
      case TcpRelay::Opened::refused:
        undialled_.pop_front();
        break;
      case TcpRelay::Opened::full:
        pause("that is --max-connections");
        return;
      case TcpRelay::Opened::shortage:
        if (undialled_.size() <= std::max<std::size_t>(relay_->connections_open(), 1)) {
          pause("too few descriptors for the connections to the backend");
          return;
        }
        // Those who wait hold more than those who are served, and nothing else of ours will come
        // free: the last to come gives its descriptor to the first.
        relay_->engine().reset_on_close(undialled_.back().socket.get());
        undialled_.pop_back();
        ++counters_.connections_refused;
        break;
    }
  }
}

void TcpListener::pause(std::string_view reason) {
  if (accepting_) relay_->engine().cancel(*this, kAccept);
  if (!pause_noted_) {
    ++counters_.accept_pauses;
    relay_->note_pause(reason);
  }
  pause_noted_ = true;
  if (!paused_) relay_->resume_later(*this);
  paused_ = true;
}

void TcpListener::resume() {
  paused_ = false;
  serve_undialled();
  if (!paused_ && !accepting_ && !retired_) start();
}

}  // namespace fairlead
