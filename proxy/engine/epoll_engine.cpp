#include "proxy/engine/epoll_engine.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/intrusive/list.hpp>
#include <cassert>
#include <cerrno>
#include <cstdlib>
#include <limits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "proxy/engine/buffer_pool.h"
#include "proxy/log/log.h"

// Theory of operation
//
// A descriptor is added to epoll by the first operation on it, edge-triggered, and stays as it is
// until it is closed: epoll reports its state once then and again at each change. Descriptor::ready
// remembers what was reported. A bit that is set means "perhaps": it stays until a system call, or
// poll(2), shows that it no longer holds. A bit that is clear is certain: nothing has changed
// since, or epoll would report it. So an operation started while its bit is clear only waits for an
// edge, at no cost; a receive or accept started while it is set is tried in the next turn; and all
// waits started in one turn with their bits set are checked by a single poll(2) in the next. An
// edge cannot be lost in between, since one that comes after the check is reported by epoll.
//
// An operation is in one of these places:
//
//   unchecked_   a wait, to be looked at by poll(2) in the next turn;
//   queued_      can go on in the next turn, or is over and only has to be told of;
//   running_     the same, in this turn;
//   starved_     a receive that found every buffer of its size lent, first in, first out;
//   none         waits for an edge.
//
// Each turn tries each queued operation once and requeues those that can go on, so that a fast
// sender takes no more than its share. System call and delivery alternate: the bytes of one receive
// are sent on, and their buffer is back, before the next receive takes the same, hot buffer.
// Whatever is to be noted about an operation is noted before its handler is called, since the
// handler may end it, close the descriptor or stop the engine; nothing is touched afterwards.
//
// Descriptor numbers are reused. An event carries the generation of the descriptor it was asked
// for, and is dropped when that has been closed meanwhile. Closing takes the descriptor out of
// epoll, unless another process still holds it, as a daemon may hold the listening socket it handed
// over; its events are then dropped in the same way.

// syscalls: epoll_create1 epoll_ctl epoll_wait|epoll_pwait poll|ppoll
// syscalls: accept4 connect getsockopt recvfrom

namespace fairlead {
namespace {

constexpr std::uint16_t kSmallBuffers = 256;
constexpr std::uint16_t kLargeBuffers = 32;

/// New connections taken in one turn before others get theirs.
constexpr int kAcceptsPerTurn = 64;

// epoll's constants are an enum of the system header, of which ~ and | make ints.
constexpr std::uint32_t kReadable = EPOLLIN;
constexpr std::uint32_t kWritable = EPOLLOUT;
constexpr std::uint32_t kBroken = std::uint32_t{EPOLLERR} | EPOLLHUP;
/// After a receive that did not fill its buffer there may be more to learn without another edge:
/// the end of the stream, an error, or the bytes after urgent data, at which a receive stops.
constexpr std::uint32_t kMoreToRead = kBroken | EPOLLRDHUP | EPOLLPRI;
constexpr std::uint32_t kReadEdges = kReadable | kMoreToRead;
constexpr std::uint32_t kAllEdges = kReadEdges | kWritable;

/// What a wait for `events` of poll(2), whose bits are epoll's, may end with.
constexpr std::uint32_t outcomes(short events) {
  return static_cast<std::uint16_t>(events) | kBroken;
}

enum class Kind : std::uint8_t { accept, connect, receive, wait };

using Hook =
    boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;

struct Operation : Hook {
  Operation(Handler& its_handler, Tag its_tag, Kind its_kind, int its_fd)
      : handler(&its_handler), fd(its_fd), kind(its_kind), tag(its_tag) {}

  void end_with(int result) {
    outcome = result;
    is_over = true;
  }

  Handler* handler;
  Operation* next_on_descriptor = nullptr;
  int fd;
  /// Valid when is_over.
  int outcome = 0;
  /// Accept only: how often in this turn.
  int accepts = 0;
  Kind kind;
  Tag tag;
  bool is_over = false;
  /// Accept and receive only.
  Repeat repeat = Repeat::once;
  /// Receive only.
  BufferSize size = BufferSize::small;
  /// Wait only.
  short events = 0;
};

using Queue = boost::intrusive::list<Operation, boost::intrusive::constant_time_size<false>>;

struct Descriptor {
  Operation* first_operation = nullptr;
  std::uint32_t generation = 0;
  /// What epoll has reported and nothing has disproved.
  std::uint32_t ready = 0;
  /// What epoll was asked to report; 0: not added.
  std::uint32_t edges = 0;
};

class EpollEngine final : public Engine {
 public:
  explicit EpollEngine(FileDescriptor epoll) : epoll_(std::move(epoll)) { update_now(); }

  std::string_view name() const override { return "epoll"; }

  void accept(Handler& handler, Tag tag, int listener, Repeat repeat) override;
  void connect(Handler& handler, Tag tag, int fd, const SocketAddress& address) override;
  void receive(Handler& handler, Tag tag, int fd, BufferSize size, Repeat repeat) override;
  void wait(Handler& handler, Tag tag, int fd, short events) override;
  void cancel(Handler& handler, Tag tag) override;
  void close(FileDescriptor fd) override { forget(fd.get()); }
  void let_go(int fd) override;
  void turn(std::optional<TimeMs> wake_at) override;
  void stop() override;
  bool buffers_scarce(BufferSize size) const override { return pools_[index(size)].scarce(); }
  void release_buffers() override;

  // These learn from EAGAIN that a descriptor is not ready, which saves a later wait its check.
  ssize_t send(int fd, std::span<const iovec> pieces) override;
  ssize_t send_message(int fd, const msghdr& message, int flags) override;
  ssize_t receive_message(int fd, msghdr& message, int flags) override;
  int receive_messages(int fd, std::span<mmsghdr> messages) override;

 private:
  static constexpr std::size_t index(BufferSize size) { return static_cast<std::size_t>(size); }
  static std::uint64_t name_of(const Handler& handler, Tag tag) {
    return reinterpret_cast<std::uintptr_t>(&handler) | tag;
  }

  Operation& start(Handler& handler, Tag tag, Kind kind, int fd);
  /// Has epoll report `edges`. False: it refuses, and the operation is over.
  bool watch(Operation& operation, std::uint32_t edges);
  Descriptor& descriptor(const Operation& operation) {
    return descriptors_[static_cast<std::size_t>(operation.fd)];
  }
  void forget(int fd);
  /// `fd` was found not to be ready.
  void not_ready(int fd, std::uint32_t event);

  bool can_resume_starved() const;
  void check_waits();
  int milliseconds_to_wait(std::optional<TimeMs> wake_at);
  void take_event(const epoll_event& event);
  void resume_starved();

  void run(Operation& operation);
  void run_accept(Operation& operation);
  void run_connect(Operation& operation);
  void run_receive(Operation& operation);
  /// Tells the handler of the last completion.
  void finish(Operation& operation, int result, Lease lease = {});

  FileDescriptor epoll_;
  std::vector<Descriptor> descriptors_;
  /// By name. Nodes do not move.
  std::unordered_map<std::uint64_t, Operation> operations_;
  Queue unchecked_;
  Queue queued_;
  Queue running_;
  std::array<Queue, 2> starved_;
  std::array<BufferPool, 2> pools_{BufferPool{kSmallBuffers, kSmallBufferBytes},
                                   BufferPool{kLargeBuffers, kLargeBufferBytes}};
  std::array<epoll_event, 256> events_{};
  std::array<pollfd, 64> checks_{};
};

// Starting and ending operations.

Operation& EpollEngine::start(Handler& handler, Tag tag, Kind kind, int fd) {
  const auto [node, is_new] =
      operations_.try_emplace(name_of(handler, tag), handler, tag, kind, fd);
  assert(is_new);
  Operation& operation = node->second;
  if (fd < 0) {
    operation.end_with(-EBADF);
    queued_.push_back(operation);
    return operation;
  }
  if (static_cast<std::size_t>(fd) >= descriptors_.size()) {
    descriptors_.resize(std::max<std::size_t>(static_cast<std::size_t>(fd) + 1, 64));
  }
  operation.next_on_descriptor = std::exchange(descriptor(operation).first_operation, &operation);
  return operation;
}

bool EpollEngine::watch(Operation& operation, std::uint32_t edges) {
  if (operation.is_over) return false;
  Descriptor& descriptor = this->descriptor(operation);
  if ((edges & ~descriptor.edges) == 0) return true;
  const bool is_added = descriptor.edges != 0;
  edges |= descriptor.edges;
  epoll_event event{};
  event.events = edges | EPOLLET;
  event.data.u64 =
      std::uint64_t{descriptor.generation} << 32 | static_cast<std::uint32_t>(operation.fd);
  int result =
      ::epoll_ctl(epoll_.get(), is_added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, operation.fd, &event);
  if (result < 0 && errno == EEXIST) {
    // The same open file under the same number as one that was closed here but is held elsewhere.
    result = ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, operation.fd, &event);
  }
  if (result < 0) {
    // EPERM: not pollable, such as a regular file. ENOSPC: fs.epoll.max_user_watches. ENOMEM.
    operation.end_with(-errno);
    queued_.push_back(operation);
    return false;
  }
  descriptor.edges = edges;
  return true;
}

void EpollEngine::accept(Handler& handler, Tag tag, int listener, Repeat repeat) {
  Operation& operation = start(handler, tag, Kind::accept, listener);
  operation.repeat = repeat;
  if (!watch(operation, kReadEdges)) return;
  if ((descriptor(operation).ready & kReadEdges) != 0) queued_.push_back(operation);
}

void EpollEngine::connect(Handler& handler, Tag tag, int fd, const SocketAddress& address) {
  Operation& operation = start(handler, tag, Kind::connect, fd);
  if (operation.is_over) return;
  // Before it is added: a socket that is not yet connecting is reported as hung up.
  const int result = ::connect(fd, address.get(), address.size());
  if (result < 0 && errno == EINPROGRESS) {
    watch(operation, kAllEdges);
  } else {
    operation.end_with(result < 0 ? -errno : 0);
    queued_.push_back(operation);
  }
}

void EpollEngine::receive(Handler& handler, Tag tag, int fd, BufferSize size, Repeat repeat) {
  Operation& operation = start(handler, tag, Kind::receive, fd);
  operation.size = size;
  operation.repeat = repeat;
  if (!watch(operation, kAllEdges)) return;
  if ((descriptor(operation).ready & kReadEdges) != 0) queued_.push_back(operation);
}

void EpollEngine::wait(Handler& handler, Tag tag, int fd, short events) {
  Operation& operation = start(handler, tag, Kind::wait, fd);
  operation.events = events;
  // Readable alone is what datagram sockets are waited for. For them each datagram that leaves the
  // send buffer is a writable edge, so those edges are not asked for without need.
  if (!watch(operation, events == POLLIN ? kReadEdges : kAllEdges)) return;
  if ((descriptor(operation).ready & outcomes(events)) != 0) unchecked_.push_back(operation);
}

void EpollEngine::cancel(Handler& handler, Tag tag) {
  const auto node = operations_.find(name_of(handler, tag));
  if (node == operations_.end()) return;
  Operation& operation = node->second;
  if (operation.is_over) return;
  operation.end_with(-ECANCELED);
  operation.unlink();
  queued_.push_back(operation);
}

void EpollEngine::finish(Operation& operation, int result, Lease lease) {
  if (operation.fd >= 0) {
    Operation** link = &descriptor(operation).first_operation;
    while (*link != &operation) link = &(*link)->next_on_descriptor;
    *link = operation.next_on_descriptor;
  }
  Handler& handler = *operation.handler;
  const Tag tag = operation.tag;
  operations_.erase(name_of(handler, tag));
  handler.on_completion({.tag = tag, .result = result, .more = false, .lease = std::move(lease)});
}

void EpollEngine::forget(int fd) {
  const auto number = static_cast<std::size_t>(fd);
  if (fd < 0 || number >= descriptors_.size()) return;
  Descriptor& descriptor = descriptors_[number];
  assert(descriptor.first_operation == nullptr);
  descriptor.ready = 0;
  descriptor.edges = 0;
  ++descriptor.generation;
}

void EpollEngine::let_go(int fd) {
  forget(fd);
  // ENOENT: it was never added.
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

void EpollEngine::stop() {
  // Each operation leaves the queue it is in.
  operations_.clear();
  descriptors_.clear();
  epoll_.reset();
}

// One turn.

void EpollEngine::turn(std::optional<TimeMs> wake_at) {
  check_waits();
  const int count = ::epoll_wait(epoll_.get(), events_.data(), static_cast<int>(events_.size()),
                                 milliseconds_to_wait(wake_at));
  if (count < 0 && errno != EINTR) {
    log_error("epoll_wait: " + errno_text(errno));
    std::abort();
  }
  update_now();
  for (int i = 0; i < count; ++i) take_event(events_[static_cast<std::size_t>(i)]);

  running_.splice(running_.end(), queued_);
  resume_starved();
  while (!running_.empty()) {
    Operation& operation = running_.front();
    running_.pop_front();
    run(operation);
  }
  run_deferred();
}

void EpollEngine::check_waits() {
  while (!unchecked_.empty()) {
    std::size_t count = 0;
    for (const Operation& operation : unchecked_) {
      if (count == checks_.size()) break;
      checks_[count++] = {.fd = operation.fd, .events = operation.events, .revents = 0};
    }
    // ENOMEM: nothing is known; they are looked at again in the next turn.
    if (::poll(checks_.data(), count, 0) < 0) return;
    for (const pollfd& check : std::span(checks_).first(count)) {
      Operation& operation = unchecked_.front();
      unchecked_.pop_front();
      std::uint32_t& ready = descriptor(operation).ready;
      ready = (ready & ~outcomes(check.events)) | static_cast<std::uint16_t>(check.revents);
      if (check.revents != 0) {
        operation.end_with(check.revents);
        queued_.push_back(operation);
      }
    }
  }
}

int EpollEngine::milliseconds_to_wait(std::optional<TimeMs> wake_at) {
  if (has_deferred() || !queued_.empty() || !unchecked_.empty() || can_resume_starved()) return 0;
  if (!wake_at) return -1;
  update_now();
  constexpr TimeMs kLongest = std::numeric_limits<int>::max();
  return static_cast<int>(std::clamp<TimeMs>(*wake_at - now(), 0, kLongest));
}

void EpollEngine::take_event(const epoll_event& event) {
  const auto number = static_cast<std::uint32_t>(event.data.u64);
  Descriptor& descriptor = descriptors_[number];
  if (descriptor.generation != event.data.u64 >> 32) return;
  descriptor.ready |= event.events;
  for (Operation* operation = descriptor.first_operation; operation != nullptr;
       operation = operation->next_on_descriptor) {
    // Queued already, or waiting for a buffer.
    if (operation->is_linked()) continue;
    std::uint32_t wanted = kReadEdges;
    if (operation->kind == Kind::connect) wanted = kWritable | kBroken;
    if (operation->kind == Kind::wait) {
      wanted = outcomes(operation->events);
      operation->outcome = static_cast<int>(event.events & wanted);
      operation->is_over = operation->outcome != 0;
    }
    if ((event.events & wanted) != 0) queued_.push_back(*operation);
  }
}

bool EpollEngine::can_resume_starved() const {
  for (std::size_t i = 0; i < starved_.size(); ++i) {
    if (!starved_[i].empty() && !pools_[i].exhausted()) return true;
  }
  return false;
}

/// Before any other receive can take the buffers that have come back.
void EpollEngine::resume_starved() {
  for (std::size_t i = 0; i < starved_.size(); ++i) {
    while (!starved_[i].empty() && !pools_[i].exhausted()) {
      Operation& operation = starved_[i].front();
      starved_[i].pop_front();
      run_receive(operation);
    }
  }
}

void EpollEngine::run(Operation& operation) {
  if (operation.is_over) {
    finish(operation, operation.outcome);
    return;
  }
  switch (operation.kind) {
    case Kind::accept:
      run_accept(operation);
      break;
    case Kind::connect:
      run_connect(operation);
      break;
    case Kind::receive: {
      const std::size_t pool = index(operation.size);
      if (!starved_[pool].empty() || pools_[pool].exhausted()) {
        starved_[pool].push_back(operation);
      } else {
        run_receive(operation);
      }
      break;
    }
    case Kind::wait:
      break;
  }
}

void EpollEngine::run_accept(Operation& operation) {
  const int fd = ::accept4(operation.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0 && errno == EAGAIN) {
    operation.accepts = 0;
    not_ready(operation.fd, kReadEdges);
  } else if (fd < 0 && errno != ECONNABORTED && errno != EINTR) {
    finish(operation, -errno);
  } else if (fd >= 0 && operation.repeat == Repeat::once) {
    finish(operation, fd);
  } else {
    if (++operation.accepts < kAcceptsPerTurn) {
      running_.push_front(operation);
    } else {
      operation.accepts = 0;
      queued_.push_back(operation);
    }
    if (fd < 0) return;
    operation.handler->on_completion({.tag = operation.tag, .result = fd, .more = true});
  }
}

void EpollEngine::run_connect(Operation& operation) {
  int error_number = 0;
  socklen_t size = sizeof error_number;
  if (::getsockopt(operation.fd, SOL_SOCKET, SO_ERROR, &error_number, &size) < 0) {
    error_number = errno;
  }
  finish(operation, -error_number);
}

void EpollEngine::run_receive(Operation& operation) {
  BufferPool& pool = pools_[index(operation.size)];
  const std::span<std::byte> space = pool.next();
  if (space.empty()) {
    finish(operation, -ENOMEM);
    return;
  }
  const ssize_t size = ::recv(operation.fd, space.data(), space.size(), MSG_DONTWAIT);
  if (size <= 0) {
    if (size == 0 || errno != EAGAIN) {
      finish(operation, size == 0 ? 0 : -errno);
    } else {
      not_ready(operation.fd, kReadable);
    }
    return;
  }
  Descriptor& descriptor = this->descriptor(operation);
  const auto size_bytes = static_cast<std::size_t>(size);
  if (size_bytes < space.size() && (descriptor.ready & kMoreToRead) == 0) {
    not_ready(operation.fd, kReadable);
  }
  Lease lease = pool.lend(size_bytes);
  if (operation.repeat == Repeat::once) {
    finish(operation, static_cast<int>(size), std::move(lease));
    return;
  }
  if ((descriptor.ready & kReadEdges) != 0) queued_.push_back(operation);
  operation.handler->on_completion({.tag = operation.tag,
                                    .result = static_cast<int>(size),
                                    .more = true,
                                    .lease = std::move(lease)});
}

void EpollEngine::release_buffers() {
  for (BufferPool& pool : pools_) pool.release_memory();
}

// System calls that do not wait.

void EpollEngine::not_ready(int fd, std::uint32_t event) {
  const auto number = static_cast<std::size_t>(fd);
  if (number >= descriptors_.size()) return;
  descriptors_[number].ready &= ~event;
}

ssize_t EpollEngine::send(int fd, std::span<const iovec> pieces) {
  const ssize_t sent = Engine::send(fd, pieces);
  if (sent == -EAGAIN) not_ready(fd, kWritable);
  return sent;
}

ssize_t EpollEngine::send_message(int fd, const msghdr& message, int flags) {
  const ssize_t sent = Engine::send_message(fd, message, flags);
  if (sent == -EAGAIN) not_ready(fd, kWritable);
  return sent;
}

ssize_t EpollEngine::receive_message(int fd, msghdr& message, int flags) {
  const ssize_t received = Engine::receive_message(fd, message, flags);
  if (received == -EAGAIN) not_ready(fd, kReadable);
  return received;
}

int EpollEngine::receive_messages(int fd, std::span<mmsghdr> messages) {
  const int received = Engine::receive_messages(fd, messages);
  if (received == -EAGAIN) not_ready(fd, kReadable);
  return received;
}

}  // namespace

Result<std::unique_ptr<Engine>> make_epoll_engine() {
  FileDescriptor epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return failed("epoll_create1", errno);
  return std::make_unique<EpollEngine>(std::move(epoll));
}

}  // namespace fairlead
