#include "proxy/relay/tcp_listener.h"

#include <cerrno>
#include <utility>

#include "proxy/mapping/error.h"

namespace fairlead {

TcpListener::TcpListener(Loop& loop, FileDescriptor socket, const Endpoint& host,
                         const Endpoint& backend)
    : socket_(std::move(socket)), host_(host), backend_(backend) {
  relay_ = loop.tcp.lock();
  if (!relay_) loop.tcp = relay_ = std::make_shared<TcpRelay>(loop);
}

void TcpListener::start() {
  accepting_ = true;
  relay_->engine().accept(*this, kAccept, socket_.get());
}

void TcpListener::on_completion(Completion completion) {
  if (!completion.more) accepting_ = false;
  if (completion.result >= 0) {
    take(FileDescriptor(completion.result));
  }
  if (accepting_ || paused_) return;
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

void TcpListener::take(FileDescriptor client) {
  if (!undialled_.empty()) {
    undialled_.push_back(std::move(client));
    return;
  }
  if (relay_->open(client, backend_) == TcpRelay::Opened::not_now) {
    undialled_.push_back(std::move(client));
    pause("no descriptor for the backend connection, or --max-connections");
  }
}

void TcpListener::pause(std::string_view reason) {
  if (accepting_) relay_->engine().cancel(*this, kAccept);
  paused_ = true;
  relay_->pause(*this, reason);
}

void TcpListener::resume() {
  paused_ = false;
  while (!undialled_.empty()) {
    if (relay_->open(undialled_.front(), backend_) == TcpRelay::Opened::not_now) {
      pause("no descriptor for the backend connection, or --max-connections");
      return;
    }
    undialled_.pop_front();
  }
  if (!accepting_) start();
}

}  // namespace fairlead
