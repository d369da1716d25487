// The I/O seam of the proxy: a small proactor.
//
// The relay is written once, against this interface. Two engines stand behind it, io_uring and
// epoll, and the tests' scripted double.
//
// Two kinds of call:
//   - operations that wait (accept, connect, receive, wait for readiness) start here and end in
//     Handler::on_completion, always from turn() and never from inside the call that started them;
//   - system calls that do not wait (send, splice, shutdown, ...) return at once. They are here so
//     that a test can make them short or fail. Sending is one of them: on a stream socket with
//     room, a direct call costs less than a queue entry and its completion, the bytes' lease ends
//     at once and nothing can overtake them; without room the caller waits for writability.
//
// Not thread-safe: an engine belongs to the thread that makes it.

#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "proxy/engine/handler.h"
#include "proxy/mapping/error.h"
#include "proxy/net/file_descriptor.h"
#include "proxy/net/socket_address.h"

namespace fairlead {

/// Milliseconds of CLOCK_MONOTONIC.
using TimeMs = std::int64_t;

/// Receive buffers come in two sizes. Small ones stay hot in the cache when many connections
/// exchange messages; large ones cost the fewest system calls per byte.
enum class BufferSize : std::uint8_t { small, large };

inline constexpr std::size_t kSmallBufferBytes = 16UL * 1024;
inline constexpr std::size_t kLargeBufferBytes = 256UL * 1024;

constexpr std::size_t buffer_bytes(BufferSize size) {
  return size == BufferSize::small ? kSmallBufferBytes : kLargeBufferBytes;
}

/// Whether an accept or a receive ends with its first completion or goes on until the end of the
/// stream, an error or cancel(). An engine may end one that goes on with any completion (io_uring
/// does when its completion queue is full): what counts is Completion::more.
enum class Repeat : std::uint8_t { once, until_stopped };

class Engine {
 public:
  /// About what it takes to move 512 KiB of bulk.
  static constexpr std::chrono::microseconds kLongTurn{100};

  Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  /// REQUIRES: no operation in flight (see stop()), no lease alive.
  virtual ~Engine() = default;

  /// `io_uring` or `epoll`.
  virtual std::string_view name() const = 0;

  // Operations.

  /// Accepts one connection, or one after the other until an error ends it (EMFILE, ENFILE, ...:
  /// start it again when that has passed) or cancel(); in that case as many as are waiting may be
  /// accepted before the first completes. `result` is a new non-blocking, close-on-exec descriptor
  /// that the handler now owns.
  virtual void accept(Handler& handler, Tag tag, int listener, Repeat repeat) = 0;

  /// Completes with 0 or -errno. `address` must live until then.
  virtual void connect(Handler& handler, Tag tag, int fd, const SocketAddress& address) = 0;

  /// Completes with bytes, 0 at the end of the stream, or -errno. -ENOBUFS: all buffers were lent
  /// when bytes came; nothing is lost, and the receive started next waits for a buffer to come
  /// back.
  virtual void receive(Handler& handler, Tag tag, int fd, BufferSize size, Repeat repeat) = 0;

  /// Completes once, with those of `events` (POLLIN, POLLOUT) that hold now, and POLLERR and
  /// POLLHUP asked for or not. `events` may be 0, to learn of a reset only.
  virtual void wait(Handler& handler, Tag tag, int fd, short events) = 0;

  /// Ends an operation early. It still completes, with -ECANCELED or with what it did before the
  /// cancellation reached it. Does nothing when the operation has already completed.
  virtual void cancel(Handler& handler, Tag tag) = 0;

  /// Closes a descriptor. Every one that an operation was started on must be closed so, or left
  /// open until stop(): what an engine knows of it must not be taken for the next descriptor of
  /// that number. REQUIRES: no operation on it is in flight, or the kernel would keep the socket
  /// open behind the closed descriptor.
  virtual void close(FileDescriptor fd) = 0;

  /// The same for a descriptor that stays open, since another engine takes it over.
  virtual void let_go(int /*fd*/) {}

  /// Calls handler.on_deferred() when the completions of this turn have been delivered; called
  /// from on_deferred() itself, at the end of the next turn, which then does not wait. More calls
  /// before then change nothing.
  void defer(Handler& handler);

  /// The same for one that will take long, as moving bulk does: after those of defer(), and as many
  /// of them in a turn as begin within kLongTurn. The others have the turns that follow, which do
  /// not wait, so that messages which come meanwhile go between them.
  void defer_long(Handler& handler);

  /// Waits for completions until `wake_at` (nothing: for ever), delivers what there is, then the
  /// deferred calls. Returns early, without completions, on a signal.
  virtual void turn(std::optional<TimeMs> wake_at) = 0;

  /// Cancels every operation and waits until the kernel has let go of them all. Nothing more is
  /// delivered. After this handlers may be destroyed in any order and listening ports can be bound
  /// again at once.
  virtual void stop() = 0;

  /// True while so many buffers are lent that a stalled connection should copy out what it holds
  /// and give its leases back.
  virtual bool buffers_scarce(BufferSize size) const = 0;

  /// Operations have completed that no turn has told of yet, so that what they have received is to
  /// be found nowhere else.
  virtual bool is_behind() { return false; }

  /// A receive with Repeat::until_stopped may not be told of a reset, and goes on for ever.
  virtual bool misses_resets() const { return false; }

  /// Gives the memory of the receive buffers back to the system. Does nothing while any is lent, or
  /// has been received into and not been told of.
  virtual void release_buffers() {}

  /// Time at the start of this turn; no system call.
  TimeMs now() const { return now_; }

  // System calls that do not wait. All return what the kernel returns, or -errno.

  virtual ssize_t send(int fd, std::span<const iovec> pieces);
  /// One message with its control data; for datagrams and SCTP. Flags: MSG_DONTWAIT is added.
  virtual ssize_t send_message(int fd, const msghdr& message, int flags);
  virtual ssize_t receive_message(int fd, msghdr& message, int flags);
  /// recvmmsg(2): the number of messages.
  virtual int receive_messages(int fd, std::span<mmsghdr> messages);
  /// Never waits for either side and never sets SPLICE_F_MORE, which holds the last bytes back for
  /// up to 200 ms when nothing follows.
  virtual ssize_t splice(int from, int to, std::size_t size_max);
  /// accept4(2) of a client that waits already; -EAGAIN when none does. Non-blocking and
  /// close-on-exec; the caller owns it.
  virtual int accept_waiting(int listener);
  /// shutdown(fd, SHUT_WR).
  virtual int shutdown_write(int fd);
  /// Those of `events` (poll(2)) that hold at this moment.
  virtual short ready_events(int fd, short events);
  /// Makes the coming close() send a reset instead of a FIN (SO_LINGER with time 0).
  virtual void reset_on_close(int fd);
  /// socket(2), non-blocking and close-on-exec; the caller owns it.
  virtual int open_socket(int family, int type, int protocol);
  virtual int bind(int fd, const SocketAddress& address);
  /// connect(2) of a datagram socket, which never waits: it only fixes the peer.
  virtual int connect_datagram(int fd, const SocketAddress& address);
  /// getpeername(2) of a connected socket; -ENOTCONN when it is no longer connected.
  virtual int peer_address(int fd, SocketAddress& address);
  /// getsockname(2).
  virtual int own_address(int fd, SocketAddress& address);
  /// setsockopt(2) of an int.
  virtual int set_option(int fd, int level, int option, int value);
  /// pipe2(2), non-blocking and close-on-exec, with room for `size_bytes` where the limits allow
  /// it; otherwise what the kernel gives. Returns the room in bytes.
  virtual int open_pipe(FileDescriptor& read_end, FileDescriptor& write_end, int size_bytes);

 protected:
  /// Those deferred before this call; those deferred meanwhile are left for the next.
  void run_deferred();
  /// A turn must not wait.
  bool has_deferred() const { return !deferred_.empty() || !deferred_long_.empty(); }
  void update_now();
  void set_now(TimeMs now) { now_ = now; }

 private:
  /// First in, first out; linked through the handlers themselves.
  class Deferred {
   public:
    bool empty() const { return first_ == nullptr; }
    /// Null when empty.
    const Handler* last() const { return empty() ? nullptr : last_; }
    void add(Handler& handler);
    /// Which it was; it may be gone.
    const Handler* run_first();

   private:
    Handler* first_ = nullptr;
    Handler* last_ = nullptr;
  };

  Deferred deferred_;
  Deferred deferred_long_;
  TimeMs now_ = 0;
};

/// What `--engine` names.
enum class EngineChoice : std::uint8_t { automatic, io_uring, epoll };

struct ChosenEngine {
  std::unique_ptr<Engine> engine;
  /// Empty, or why `automatic` did not take io_uring, with the likely cause.
  std::string fallback_reason;
};

/// Fails when the engine asked for by name cannot be had.
Result<ChosenEngine> make_engine(EngineChoice choice);

}  // namespace fairlead
