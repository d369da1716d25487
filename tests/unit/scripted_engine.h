// An engine without a kernel: the tests' double of the I/O interface.
//
// Sockets are played by the test. Each has a Peer, the far end: what the peer has sent is received,
// what the relay sends arrives there as far as there is room, resets and FINs go both ways. A turn
// completes what the peers' states allow, all of it taken before the first handler is called, as
// io_uring does. Nothing happens by itself and there is no time but set_now(), so a run can be
// repeated exactly.
//
// Any call that may fail can be made to: the next of a kind, or the n-th of all.
//
// On destruction it checks what every user of an engine owes it: no operation in flight, every
// socket that had one closed through it exactly once, every lease given back.

#pragma once

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "proxy/engine/buffer_pool.h"
#include "proxy/engine/engine.h"

namespace fairlead {

class ScriptedEngine final : public Engine {
 public:
  static constexpr std::size_t kUnlimited = std::numeric_limits<std::size_t>::max();

  enum class Call : std::uint8_t {
    accept,
    connect,
    receive,
    send,
    splice,
    shutdown_write,
    open_socket,
    set_option,
    bind,
    open_pipe,
    receive_message,
    peer_address,
  };
  static constexpr std::size_t kCalls = 12;

  /// The far end of a socket.
  struct Peer {
    /// Where it is, and where the relay's end of the connection is.
    Endpoint address{*IpAddress::parse("192.0.2.7"), 40'000};
    Endpoint relay_address{*IpAddress::parse("192.0.2.1"), 8080};

    // What the peer did.

    /// Sent, not yet received.
    std::string to_relay;
    /// And after it a FIN.
    bool fin = false;
    /// How much more it takes before a send finds no room.
    std::size_t room = kUnlimited;
    /// How the connection to it ends, once it does: 0 or -errno.
    std::optional<int> connect_result;
    /// Connected from the start, or since.
    bool connected = false;
    /// The connection is broken: bytes that were sent before can still be received, then comes this
    /// error, once, to whoever asks first.
    bool broken = false;
    int error_number = 0;

    // What the relay did.

    std::optional<Endpoint> bound_to;
    /// By level and name.
    std::map<std::pair<int, int>, int> options;
    std::string from_relay;
    bool got_fin = false;
    bool got_reset = false;
    bool closed = false;

    void reset() {
      broken = true;
      error_number = ECONNRESET;
    }
  };

  explicit ScriptedEngine(std::uint16_t small_buffers = 8, std::uint16_t large_buffers = 2);
  ~ScriptedEngine() override;

  // What the test does.

  /// A listening socket: clients that call connect_to() are accepted from it.
  int listening_socket();
  /// A client comes; its far end, valid for the engine's life.
  Peer& connect_to(int listener);
  /// The far ends of the sockets that were opened, oldest first.
  std::deque<Peer*>& opened() { return opened_; }
  /// New sockets get this as their connect_result.
  void set_connect_result(std::optional<int> result) { connect_result_ = result; }

  /// Each `call` from now on that `errors` has an entry for fails with it; 0 lets one succeed.
  void script(Call call, std::deque<int> errors) { script_[index(call)] = std::move(errors); }
  /// The `number`-th call that can fail, counted from 1, does, with the error of its kind.
  void fail_call(std::uint64_t number, std::map<Call, int> errors) {
    failing_call_ = number;
    failing_errors_ = std::move(errors);
  }
  /// How many calls that can fail there were.
  std::uint64_t calls() const { return call_count_; }
  /// Every transfer of `size` bytes is cut down to what this returns, 1 at least; sends may be cut
  /// down to 0, which is EAGAIN.
  std::function<std::size_t(Call call, std::size_t size)> shorten;
  /// What is_behind() says.
  bool behind = false;
  /// A receive is told of the bytes that are there before its cancellation reaches it.
  bool cancels_late = false;

  void set_time(TimeMs now) { set_now(now); }
  /// Turns until nothing is left to do. False when it never comes to rest.
  bool run();
  std::size_t operations_in_flight() const { return operations_.size(); }
  /// Receives from this far end that have begun are not told of its reset, as io_uring's may be.
  void deafen(const Peer& peer);
  /// Operations on the socket of this far end.
  std::size_t operations_on(const Peer& peer) const;
  std::size_t completions() const { return completion_count_; }
  /// Lets go of the descriptors of closed sockets; none can be opened afterwards.
  void forget_closed();
  /// Room in pipes that are opened from now on.
  void set_pipe_room(int size_bytes) { pipe_room_bytes_ = size_bytes; }

  // Engine.

  std::string_view name() const override { return "scripted"; }
  void accept(Handler& handler, Tag tag, int listener, Repeat repeat) override;
  void connect(Handler& handler, Tag tag, int fd, const SocketAddress& address) override;
  void receive(Handler& handler, Tag tag, int fd, BufferSize size, Repeat repeat) override;
  void wait(Handler& handler, Tag tag, int fd, short events) override;
  void cancel(Handler& handler, Tag tag) override;
  void close(FileDescriptor fd) override;
  void turn(std::optional<TimeMs> wake_at) override;
  void stop() override;
  bool buffers_scarce(BufferSize size) const override { return pools_[index(size)].scarce(); }
  bool is_behind() override { return behind; }
  bool misses_resets() const override { return true; }
  void release_buffers() override;

  ssize_t send(int fd, std::span<const iovec> pieces) override;
  ssize_t splice(int from, int to, std::size_t size_max) override;
  ssize_t receive_message(int fd, msghdr& message, int flags) override;
  int peer_address(int fd, SocketAddress& address) override;
  int own_address(int fd, SocketAddress& address) override;
  int accept_waiting(int listener) override;
  int shutdown_write(int fd) override;
  short ready_events(int fd, short events) override;
  void reset_on_close(int fd) override;
  int open_socket(int family, int type, int protocol) override;
  int set_option(int fd, int level, int option, int value) override;
  int bind(int fd, const SocketAddress& address) override;
  int open_pipe(FileDescriptor& read_end, FileDescriptor& write_end, int size_bytes) override;

 private:
  struct Operation {
    Call call;
    Handler* handler;
    Tag tag;
    int fd;
    /// Nothing but readiness is asked for.
    bool is_wait = false;
    short events = 0;
    BufferSize size = BufferSize::small;
    Repeat repeat = Repeat::once;
    bool cancelled = false;
    /// Was started when no buffer was left: waits for one.
    bool starved = false;
    /// Tells of bytes only.
    bool deaf = false;
  };
  struct Socket {
    std::unique_ptr<Peer> peer;
    /// Clients not yet accepted.
    std::deque<FileDescriptor> pending;
    bool is_listening = false;
    bool had_operation = false;
    bool reset_on_close = false;
  };
  struct FakePipe {
    std::string bytes;
    std::size_t room_bytes = 0;
  };

  static constexpr std::size_t index(Call call) { return static_cast<std::size_t>(call); }
  static constexpr std::size_t index(BufferSize size) { return static_cast<std::size_t>(size); }

  /// A descriptor of this process, so that the number is real and can be closed.
  static FileDescriptor new_descriptor();
  Socket& add_socket(int fd);
  Socket& socket(int fd);
  Operation& start(Call call, Handler& handler, Tag tag, int fd);
  /// The error that this call is scripted to fail with, or 0.
  int scripted_error(Call call);
  std::size_t cut(Call call, std::size_t size) const;

  /// What the operation completes with now, if it does.
  std::optional<Completion> try_complete(Operation& operation);
  std::optional<Completion> try_accept(Repeat repeat, Socket& listener);
  std::optional<Completion> try_connect(Peer& peer);
  std::optional<Completion> try_receive(Operation& operation, Peer& peer);
  static std::optional<Completion> try_wait(const Operation& operation, const Peer& peer);
  static int ready_events(const Peer& peer);
  /// -errno of what is wrong with sending to the peer, or 0.
  static int take_error(Peer& peer);

  std::map<int, Socket> sockets_;
  /// Both ends of each pipe.
  std::map<int, std::shared_ptr<FakePipe>> pipes_;
  /// Closed, but kept open so that numbers are not used twice.
  std::vector<FileDescriptor> closed_;
  std::deque<Peer*> opened_;
  /// In the order they were started. Stable: completions are taken from it while it may grow.
  std::deque<std::shared_ptr<Operation>> operations_;
  std::array<BufferPool, 2> pools_;
  std::optional<int> connect_result_ = 0;
  std::array<std::deque<int>, kCalls> script_;
  std::uint64_t failing_call_ = 0;
  std::map<Call, int> failing_errors_;
  std::uint64_t call_count_ = 0;
  std::size_t completion_count_ = 0;
  int pipe_room_bytes_ = 1 << 20;
};

}  // namespace fairlead
