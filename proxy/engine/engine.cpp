#include "proxy/engine/engine.h"

#include <fcntl.h>
#include <poll.h>
#include <time.h>

#include <array>
#include <cerrno>
#include <chrono>

// syscalls: sendto sendmsg recvmsg recvmmsg splice shutdown setsockopt socket connect pipe2 fcntl
// syscalls: getpeername getsockname accept4 poll|ppoll
// syscalls[container_netns]: bind

namespace fairlead {
namespace {

/// The kernel's result, or -errno.
template <typename T>
T checked(T result) {
  return result < 0 ? static_cast<T>(-errno) : result;
}

}  // namespace

void Engine::Deferred::add(Handler& handler) {
  if (handler.deferred_) return;
  handler.deferred_ = true;
  handler.next_deferred_ = nullptr;
  (first_ == nullptr ? first_ : last_->next_deferred_) = &handler;
  last_ = &handler;
}

const Handler* Engine::Deferred::run_first() {
  Handler* const handler = first_;
  first_ = handler->next_deferred_;
  handler->deferred_ = false;
  // It may destroy itself or defer itself again.
  handler->on_deferred();
  return handler;
}

void Engine::defer(Handler& handler) { deferred_.add(handler); }

void Engine::defer_long(Handler& handler) { deferred_long_.add(handler); }

void Engine::run_deferred() {
  if (const Handler* const last = deferred_.last()) {
    while (deferred_.run_first() != last) {
    }
  }
  if (const Handler* const last = deferred_long_.last()) {
    const auto until = std::chrono::steady_clock::now() + kLongTurn;
    while (deferred_long_.run_first() != last && std::chrono::steady_clock::now() < until) {
    }
  }
}

void Engine::update_now() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  now_ = TimeMs{time.tv_sec} * 1000 + time.tv_nsec / 1'000'000;
}

ssize_t Engine::send(int fd, std::span<const iovec> pieces) {
  if (pieces.size() == 1) {
    return checked(::send(fd, pieces[0].iov_base, pieces[0].iov_len, MSG_DONTWAIT | MSG_NOSIGNAL));
  }
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(pieces.data());
  message.msg_iovlen = pieces.size();
  return checked(::sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL));
}

ssize_t Engine::send_message(int fd, const msghdr& message, int flags) {
  return checked(::sendmsg(fd, &message, flags | MSG_DONTWAIT | MSG_NOSIGNAL));
}

ssize_t Engine::receive_message(int fd, msghdr& message, int flags) {
  return checked(::recvmsg(fd, &message, flags | MSG_DONTWAIT));
}

int Engine::receive_messages(int fd, std::span<mmsghdr> messages) {
  return checked(::recvmmsg(fd, messages.data(), static_cast<unsigned>(messages.size()),
                            MSG_DONTWAIT, nullptr));
}

ssize_t Engine::splice(int from, int to, std::size_t size_max) {
  return checked(::splice(from, nullptr, to, nullptr, size_max, SPLICE_F_NONBLOCK));
}

int Engine::accept_waiting(int listener) {
  return checked(::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

int Engine::shutdown_write(int fd) { return checked(::shutdown(fd, SHUT_WR)); }

short Engine::ready_events(int fd, short events) {
  pollfd look{.fd = fd, .events = events, .revents = 0};
  return ::poll(&look, 1, 0) == 1 ? static_cast<short>(look.revents & events) : short{0};
}

void Engine::reset_on_close(int fd) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  // Fails only on a descriptor that is no socket.
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

int Engine::open_socket(int family, int type, int protocol) {
  return checked(::socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol));
}

int Engine::bind(int fd, const SocketAddress& address) {
  return checked(::bind(fd, address.get(), address.size()));
}

int Engine::connect_datagram(int fd, const SocketAddress& address) {
  return checked(::connect(fd, address.get(), address.size()));
}

int Engine::peer_address(int fd, SocketAddress& address) {
  socklen_t size = SocketAddress::capacity();
  return checked(::getpeername(fd, address.get(), &size));
}

int Engine::own_address(int fd, SocketAddress& address) {
  socklen_t size = SocketAddress::capacity();
  return checked(::getsockname(fd, address.get(), &size));
}

int Engine::set_option(int fd, int level, int option, int value) {
  return checked(::setsockopt(fd, level, option, &value, sizeof value));
}

int Engine::open_pipe(FileDescriptor& read_end, FileDescriptor& write_end, int size_bytes) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC) < 0) return -errno;
  read_end = FileDescriptor(ends[0]);
  write_end = FileDescriptor(ends[1]);
  // EPERM above /proc/sys/fs/pipe-user-pages-soft, for users without CAP_SYS_RESOURCE.
  const int granted = ::fcntl(ends[1], F_SETPIPE_SZ, size_bytes);
  return granted > 0 ? granted : checked(::fcntl(ends[1], F_GETPIPE_SZ));
}

}  // namespace fairlead
