#include "proxy/engine/io_uring_engine.h"

#include <liburing.h>
#include <poll.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <unordered_map>
#include <utility>
#include <vector>

#include "proxy/engine/provided_buffers.h"
#include "proxy/engine/ring.h"

// Theory of operation
//
// One ring, used by one thread (IORING_SETUP_SINGLE_ISSUER), which runs the kernel's completion
// work only when it asks for completions (IORING_SETUP_DEFER_TASKRUN): nothing interrupts it, and
// bytes are copied out of a socket while its receive buffer is about to be used.
//
// An operation's user_data is its handler's address with the tag in the low bits; 0 is an
// operation of the engine's own, whose completion is dropped. A turn submits what was started since
// the last one and waits in one system call, then copies the completions out of the ring before any
// handler runs, so that handlers may start operations freely.
//
// Waiting in io_uring_enter counts as waiting for a disk on Linux 6.1.39 to 6.14: an idle proxy
// would show a whole CPU in iowait. So a turn that has nothing to do for a while (kBusyMs) waits
// for an eventfd instead, which the ring is told to signal only then. (Waiting for the ring's own
// descriptor does not work: with DEFER_TASKRUN it becomes readable only after the work was run.)
//
// Where one connection's messages go back and forth, one at a time, most time goes into waking
// processors that sleep. So after some turns in a row that brought one message of one handler
// each, the next one is looked out for (kLookOut) before the thread sleeps, and whoever wants the
// processor meanwhile gets it. A look-out in vain ends that until there were as many such turns
// again. With 64 B requests over a bridge, one at a time, that was 1.18 of what kernel DNAT moves
// instead of 0.78, for 54 us of processor time a request instead of 33.
//
// Receives take their buffers from two ProvidedBuffers. When none is left the kernel ends a receive
// with ENOBUFS; a receive started while none is left waits in starved_ until a lease has come back.
// The last of them goes first: whoever sends fastest took the last buffers, so it was told first
// that none is left, and first in line again it would take them all again. As many as there are
// buffers go in a turn; nothing may have come for any of those, so while others wait that could go
// as well, a turn does not sleep.
//
// A multishot receive that is woken by bytes and by a reset at once may receive the bytes, take
// both signals for dealt with, and wait for ever (liburing issue 1549; Linux mended most orders of
// events in 2026, "fix multishot recv missing EOF on wakeup race"). A FIN is not missed: TCP says
// with the bytes before it that there is more to receive.
//
// A poll request ends when the peer has sent its FIN (POLLRDHUP), asked for or not (IO_POLL_UNMASK
// in io_uring/poll.c). Who waits for room to send, or for a reset, would be woken at once, again
// and again. So what such waits ask for is kept in waits_, and one that ends so is started again as
// a multishot request, which tells changes only.

// syscalls[io_uring]: sched_yield

namespace fairlead {
namespace {

constexpr TimeMs kBusyMs = 10;

constexpr std::chrono::microseconds kLookOut{50};
constexpr int kMessagesToLookOut = 16;

constexpr std::uint16_t kSmallBuffers = 256;
constexpr std::uint16_t kLargeBuffers = 32;
/// Buffer ids from here on are large ones: a completion tells the id, not the group.
constexpr std::uint16_t kFirstLargeId = kSmallBuffers;

/// For the completions of a turn. Not initialized, and on the stack: 4 kB of which an idle proxy
/// uses the first few bytes, on a page that is in use already.
using EventSpace = std::array<Ring::Event, 256>;

/// user_data of the engine's own operations.
constexpr std::uint64_t kOwn = 0;
constexpr std::uint64_t kTagBits = kTagLimit - 1;
/// Added to the name of a wait that is in waits_. No address of a process has this bit set.
constexpr std::uint64_t kInWaits = 1ULL << 63;

std::uint64_t name_of(Handler& handler, Tag tag) {
  return reinterpret_cast<std::uintptr_t>(&handler) | tag;
}

class IoUringEngine final : public Engine {
 public:
  Result<void> set_up();

  std::string_view name() const override { return "io_uring"; }

  void accept(Handler& handler, Tag tag, int listener, Repeat repeat) override;
  void connect(Handler& handler, Tag tag, int fd, const SocketAddress& address) override;
  void receive(Handler& handler, Tag tag, int fd, BufferSize size, Repeat repeat) override;
  void wait(Handler& handler, Tag tag, int fd, short events) override;
  void cancel(Handler& handler, Tag tag) override;
  void close(FileDescriptor fd) override { fd.reset(); }
  void turn(std::optional<TimeMs> wake_at) override;
  void stop() override;
  bool buffers_scarce(BufferSize size) const override {
    return size == BufferSize::small ? small_buffers_.scarce() : large_buffers_.scarce();
  }
  bool is_behind() override { return ring_.has_events(); }
  bool misses_resets() const override { return true; }
  void release_buffers() override;

 private:
  /// A receive that waits for a buffer.
  struct Receive {
    Handler* handler;
    Tag tag;
    int fd;
    BufferSize size;
    Repeat repeat;
  };

  /// A wait that the peer's FIN must not end.
  struct Wait {
    int fd;
    short events;
    /// What it ends with once its multishot request has been taken back.
    int result = 0;
    bool cancelled = false;
  };

  ProvidedBuffers& buffers(BufferSize size) {
    return size == BufferSize::small ? small_buffers_ : large_buffers_;
  }
  /// An entry whose completion goes to a handler.
  io_uring_sqe& start(Handler& handler, Tag tag);
  void submit_receive(const Receive& receive);
  void submit_cancel(std::uint64_t name);
  void take_wait_event(const Ring::Event& event);
  void resume_starved();
  /// A receive waits although there is a buffer for it.
  bool starved_can_go();
  void wait_for_events(std::optional<TimeMs> wake_at);
  void note_messages(std::span<const Ring::Event> events);
  void look_out();
  Completion completion_of(const Ring::Event& event);
  static void deliver(std::uint64_t name, Completion completion);

  Ring ring_;
  ProvidedBuffers small_buffers_{ring_.raw(), 0, 0, kSmallBuffers, kSmallBufferBytes};
  ProvidedBuffers large_buffers_{ring_.raw(), 1, kFirstLargeId, kLargeBuffers, kLargeBufferBytes};
  /// One queue for each size, so that waiting for one does not hold up the other.
  std::array<std::vector<Receive>, 2> starved_;
  /// How many of each queue were waiting when this turn began.
  std::array<std::size_t, 2> starved_before_{};
  /// A receive has found no buffer in this turn: those started now wait, too.
  bool shortage_ = false;
  std::unordered_map<std::uint64_t, Wait> waits_;
  /// Ended without having been in the ring: names and results.
  std::vector<std::pair<std::uint64_t, int>> own_completions_;
  /// Turns in a row that brought one message of this handler and nothing else.
  int messages_in_row_ = 0;
  std::uint64_t messenger_ = 0;
  /// Operations in the ring whose last completion is still to come.
  std::uint64_t in_flight_ = 0;
};

Result<void> IoUringEngine::set_up() {
  update_now();
  return ring_.set_up();
}

io_uring_sqe& IoUringEngine::start(Handler& handler, Tag tag) {
  io_uring_sqe& entry = ring_.next_entry();
  entry.user_data = name_of(handler, tag);
  ++in_flight_;
  return entry;
}

// The io_uring_prep_* functions clear what they do not set, but not user_data.

void IoUringEngine::accept(Handler& handler, Tag tag, int listener, Repeat repeat) {
  io_uring_sqe& entry = start(handler, tag);
  constexpr int kFlags = SOCK_NONBLOCK | SOCK_CLOEXEC;
  if (repeat == Repeat::until_stopped) {
    ::io_uring_prep_multishot_accept(&entry, listener, nullptr, nullptr, kFlags);
  } else {
    ::io_uring_prep_accept(&entry, listener, nullptr, nullptr, kFlags);
  }
}

void IoUringEngine::connect(Handler& handler, Tag tag, int fd, const SocketAddress& address) {
  io_uring_sqe& entry = start(handler, tag);
  ::io_uring_prep_connect(&entry, fd, address.get(), address.size());
}

void IoUringEngine::receive(Handler& handler, Tag tag, int fd, BufferSize size, Repeat repeat) {
  const Receive receive{&handler, tag, fd, size, repeat};
  if (const auto provided = buffers(size).provide(); !provided) {
    // As any receive that finds no memory.
    own_completions_.emplace_back(name_of(handler, tag), -ENOMEM);
  } else if (shortage_) {
    std::vector<Receive>& queue = starved_[static_cast<std::size_t>(size)];
    const std::size_t before =
        std::min(starved_before_[static_cast<std::size_t>(size)], queue.size());
    queue.insert(queue.begin() + static_cast<std::ptrdiff_t>(before), receive);
  } else if (buffers(size).exhausted()) {
    starved_[static_cast<std::size_t>(size)].push_back(receive);
  } else {
    submit_receive(receive);
  }
}

void IoUringEngine::submit_receive(const Receive& receive) {
  io_uring_sqe& entry = start(*receive.handler, receive.tag);
  if (receive.repeat == Repeat::until_stopped) {
    ::io_uring_prep_recv_multishot(&entry, receive.fd, nullptr, 0, 0);
  } else {
    ::io_uring_prep_recv(&entry, receive.fd, nullptr, buffer_bytes(receive.size), 0);
  }
  entry.flags |= IOSQE_BUFFER_SELECT;
  entry.buf_group = buffers(receive.size).group();
}

void IoUringEngine::wait(Handler& handler, Tag tag, int fd, short events) {
  io_uring_sqe& entry = start(handler, tag);
  ::io_uring_prep_poll_add(&entry, fd, static_cast<unsigned>(events));
  // A FIN is readable.
  if ((events & POLLIN) != 0) return;
  waits_.emplace(entry.user_data, Wait{fd, events});
  entry.user_data |= kInWaits;
}

void IoUringEngine::take_wait_event(const Ring::Event& event) {
  const std::uint64_t name = event.name & ~kInWaits;
  const auto wait = waits_.find(name);
  const bool is_over = (event.flags & IORING_CQE_F_MORE) == 0;
  if (is_over) --in_flight_;
  const bool is_fin_only = event.result > 0 && (event.result & ~POLLRDHUP) == 0;
  if (!is_over) {
    if (is_fin_only || wait->second.result != 0) return;
    wait->second.result = event.result;
    submit_cancel(event.name);
  } else if (is_fin_only && wait->second.result == 0 && !wait->second.cancelled) {
    io_uring_sqe& entry = ring_.next_entry();
    ::io_uring_prep_poll_multishot(&entry, wait->second.fd,
                                   static_cast<unsigned>(wait->second.events));
    entry.user_data = event.name;
    ++in_flight_;
  } else {
    int result = wait->second.result != 0 ? wait->second.result : event.result;
    if (result > 0) result &= ~POLLRDHUP;
    if (result == 0) result = -ECANCELED;
    waits_.erase(wait);
    deliver(name, {.result = result});
  }
}

void IoUringEngine::cancel(Handler& handler, Tag tag) {
  for (std::vector<Receive>& queue : starved_) {
    const auto waiting = std::ranges::find_if(queue, [&](const Receive& receive) {
      return receive.handler == &handler && receive.tag == tag;
    });
    if (waiting != queue.end()) {
      queue.erase(waiting);
      own_completions_.emplace_back(name_of(handler, tag), -ECANCELED);
      return;
    }
  }
  const std::uint64_t name = name_of(handler, tag);
  const auto wait = waits_.find(name);
  if (wait != waits_.end()) wait->second.cancelled = true;
  submit_cancel(wait != waits_.end() ? name | kInWaits : name);
}

void IoUringEngine::submit_cancel(std::uint64_t name) {
  io_uring_sqe& entry = ring_.next_entry();
  ::io_uring_prep_cancel64(&entry, name, 0);
  entry.user_data = kOwn;
  entry.flags |= IOSQE_CQE_SKIP_SUCCESS;
}

void IoUringEngine::resume_starved() {
  for (std::size_t i = 0; i < starved_.size(); ++i) {
    std::vector<Receive>& queue = starved_[i];
    const std::size_t count = std::min(queue.size(), buffers(static_cast<BufferSize>(i)).in_ring());
    const auto served = queue.begin() + static_cast<std::ptrdiff_t>(count);
    std::for_each(queue.begin(), served,
                  [this](const Receive& receive) { submit_receive(receive); });
    queue.erase(queue.begin(), served);
    starved_before_[i] = queue.size();
  }
  shortage_ = false;
}

bool IoUringEngine::starved_can_go() {
  return std::ranges::any_of(std::array{BufferSize::small, BufferSize::large}, [this](auto size) {
    return !starved_[static_cast<std::size_t>(size)].empty() && buffers(size).in_ring() > 0;
  });
}

void IoUringEngine::turn(std::optional<TimeMs> wake_at) {
  resume_starved();
  wait_for_events(wake_at);
  update_now();

  // Handlers may add to either; that is for the next turn.
  const auto own_completions = std::exchange(own_completions_, {});
  EventSpace space;
  const std::span<const Ring::Event> events = ring_.take_events(space);
  note_messages(events);
  for (const Ring::Event& event : events) {
    if ((event.name & kInWaits) != 0) {
      take_wait_event(event);
    } else if (event.name != kOwn) {
      deliver(event.name, completion_of(event));
    }
  }
  for (const auto& [name, result] : own_completions) deliver(name, {.result = result});
  run_deferred();
}

void IoUringEngine::wait_for_events(std::optional<TimeMs> wake_at) {
  if (has_deferred() || !own_completions_.empty() || starved_can_go()) {
    ring_.enter(false, std::nullopt);
    return;
  }
  if (messages_in_row_ == kMessagesToLookOut) look_out();
  std::optional<TimeMs> wait_ms;
  if (wake_at) {
    update_now();
    wait_ms = std::max<TimeMs>(*wake_at - now(), 0);
  }
  if (!ring_.waiting_is_iowait()) {
    ring_.enter(true, wait_ms);
    return;
  }
  const TimeMs busy_ms = std::min(wait_ms.value_or(kBusyMs), kBusyMs);
  ring_.enter(true, busy_ms);
  if (!ring_.has_events() && wait_ms != busy_ms) {
    if (wait_ms) *wait_ms -= busy_ms;
    ring_.park(wait_ms);
  }
}

void IoUringEngine::note_messages(std::span<const Ring::Event> events) {
  if (events.size() != 1 || (events[0].flags & IORING_CQE_F_BUFFER) == 0 ||
      events[0].result >= static_cast<int>(kSmallBufferBytes)) {
    messages_in_row_ = 0;
    return;
  }
  const std::uint64_t messenger = events[0].name & ~kTagBits;
  if (std::exchange(messenger_, messenger) != messenger) messages_in_row_ = 0;
  messages_in_row_ = std::min(messages_in_row_ + 1, kMessagesToLookOut);
}

void IoUringEngine::look_out() {
  using std::chrono::steady_clock;
  // What was started since is not yet the kernel's.
  ring_.enter(false, std::nullopt);
  const steady_clock::time_point until = steady_clock::now() + kLookOut;
  while (!ring_.has_work()) {
    if (steady_clock::now() >= until) {
      messages_in_row_ = 0;
      return;
    }
    ::sched_yield();
  }
}

Completion IoUringEngine::completion_of(const Ring::Event& event) {
  Completion completion{.result = event.result};
  completion.more = (event.flags & IORING_CQE_F_MORE) != 0;
  if (!completion.more) --in_flight_;
  if ((event.flags & IORING_CQE_F_BUFFER) != 0) {
    const auto buffer_id = static_cast<std::uint16_t>(event.flags >> IORING_CQE_BUFFER_SHIFT);
    ProvidedBuffers& lender = buffer_id < kFirstLargeId ? small_buffers_ : large_buffers_;
    completion.lease = lender.lend(buffer_id, static_cast<std::size_t>(std::max(event.result, 0)));
  }
  if (event.result == -ENOBUFS) {
    shortage_ = true;
    small_buffers_.keep_more_if_exhausted();
    large_buffers_.keep_more_if_exhausted();
  }
  return completion;
}

void IoUringEngine::deliver(std::uint64_t name, Completion completion) {
  completion.tag = static_cast<Tag>(name & kTagBits);
  reinterpret_cast<Handler*>(name & ~kTagBits)->on_completion(std::move(completion));
}

void IoUringEngine::stop() {
  constexpr TimeMs kPatienceMs = 1'000;
  for (std::vector<Receive>& queue : starved_) queue.clear();
  own_completions_.clear();
  waits_.clear();
  ring_.abandon_prepared();
  io_uring_sqe& entry = ring_.next_entry();
  ::io_uring_prep_cancel64(&entry, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
  entry.user_data = kOwn;
  entry.flags |= IOSQE_CQE_SKIP_SUCCESS;
  update_now();
  const TimeMs give_up_at = now() + kPatienceMs;
  ring_.enter(false, std::nullopt);
  while (in_flight_ > 0 && now() < give_up_at) {
    EventSpace space;
    for (const Ring::Event& event : ring_.take_events(space)) {
      if (event.name != kOwn) completion_of(event);
    }
    if (in_flight_ > 0) ring_.enter(true, give_up_at - now());
    update_now();
  }
}

void IoUringEngine::release_buffers() {
  // What has come and nobody has been told of is in buffers that are not lent yet.
  if (is_behind()) return;
  small_buffers_.release_memory();
  large_buffers_.release_memory();
}

}  // namespace

Result<std::unique_ptr<Engine>> make_io_uring_engine() {
  auto engine = std::make_unique<IoUringEngine>();
  if (auto ready = engine->set_up(); !ready) return std::unexpected(ready.error());
  return engine;
}

}  // namespace fairlead
