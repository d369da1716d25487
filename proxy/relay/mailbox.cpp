#include "proxy/relay/mailbox.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <utility>

#include "proxy/relay/tcp_relay.h"

// syscalls: eventfd2 read write

namespace fairlead {

Mailbox::~Mailbox() = default;

Result<void> Mailbox::open() {
  const std::scoped_lock lock(mutex_);
  if (!wake_up_) wake_up_ = FileDescriptor(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!wake_up_) return failed("eventfd", errno);
  open_ = true;
  return {};
}

std::vector<std::unique_ptr<TcpConnection>> Mailbox::close() {
  const std::scoped_lock lock(mutex_);
  open_ = false;
  return std::exchange(posted_, {});
}

bool Mailbox::post(std::unique_ptr<TcpConnection>& connection) {
  const std::scoped_lock lock(mutex_);
  if (!open_) return false;
  posted_.push_back(std::move(connection));
  if (posted_.size() == 1) ::eventfd_write(wake_up_.get(), 1);
  return true;
}

void Mailbox::wake() {
  const std::scoped_lock lock(mutex_);
  if (wake_up_) ::eventfd_write(wake_up_.get(), 1);
}

void Mailbox::serve(TcpRelay& relay) {
  relay_ = &relay;
  wait();
}

void Mailbox::wait() { relay_->engine().wait(*this, kReadable, wake_up_.get(), POLLIN); }

void Mailbox::on_completion(Completion completion) {
  if (completion.result == -ECANCELED) return;
  // Before the box is emptied: what is posted after that is announced again.
  eventfd_t count = 0;
  ::eventfd_read(wake_up_.get(), &count);
  std::vector<std::unique_ptr<TcpConnection>> posted;
  {
    const std::scoped_lock lock(mutex_);
    posted.swap(posted_);
  }
  for (std::unique_ptr<TcpConnection>& connection : posted) relay_->adopt(std::move(connection));
  relay_->resume_one();
  wait();
}

}  // namespace fairlead
