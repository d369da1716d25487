// One client's connection and the one to the backend made for it.

#pragma once

#include <array>
#include <boost/intrusive/list.hpp>
#include <cstdint>
#include <memory>
#include <string_view>

#include "proxy/engine/engine.h"
#include "proxy/relay/backlog.h"
#include "proxy/relay/client.h"
#include "proxy/relay/deadlines.h"
#include "proxy/relay/pipe_pool.h"
#include "proxy/relay/relay_policy.h"

namespace fairlead {

class TcpConnection;
class TcpRelay;

struct TcpConnectionList;  // Tag of the list of all connections of a relay.

/// When too little has passed over a connection for too long.
struct QuietDeadline : Deadline {
  explicit QuietDeadline(TcpConnection& its_connection) : connection(its_connection) {}
  TcpConnection& connection;
};

/// Relays bytes both ways, half-closes included, until both directions have ended or one side
/// fails. Owned by its TcpRelay; destroys itself through it. An idle one takes 224 bytes, 8 of them
/// of malloc().
class TcpConnection final : public Handler,
                            public Deadline,
                            public boost::intrusive::list_base_hook<
                                boost::intrusive::tag<TcpConnectionList>,
                                boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
 public:
  /// Takes over both sockets. `backend_address` must outlive the connection. `header` is sent to
  /// the backend before anything of the client's; it may be none.
  TcpConnection(Client client, FileDescriptor backend, const SocketAddress& backend_address,
                std::unique_ptr<Backlog> header);
  ~TcpConnection();

  /// From now on it belongs to this relay, and to its thread: starts to connect, or goes on where
  /// it left another relay.
  void join(TcpRelay& relay);
  /// Takes everything back from the relay's engine. TcpRelay::send_away() is called when that is
  /// done, from on_deferred().
  void begin_move();
  bool is_connected() const { return connected_; }
  Counters& counters() { return client_.counters; }
  /// The backend has answered, and neither side has failed.
  bool can_move() const { return connected_ && !closing_ && !moving_; }
  /// Nothing is left in the relay's engine: bytes are copied out of its buffers, its sockets known
  /// no more. REQUIRES: nothing in flight.
  void detach();

  void on_completion(Completion completion) override;
  void on_deferred() override;
  /// Its deadline has passed: the backend's answer is overdue, or a socket has not been read for a
  /// while.
  void on_deadline();
  /// Nothing has passed for too long, as far as the relay has looked.
  void on_quiet();
  /// Nothing has passed for too long.
  void end_quiet();
  /// Memory is short: takes back requests for much at a time.
  void on_frugal();

  QuietDeadline& quiet() { return quiet_; }
  /// One side has finished sending, and the other side knows.
  bool half_closed() const {
    return directions_[kClient].finished != directions_[kBackend].finished;
  }

 private:
  enum Side : std::uint8_t { kClient, kBackend };
  static constexpr Side other(Side side) { return side == kClient ? kBackend : kClient; }

  // Tags: what a socket is asked for. Connecting ends with writability, so it has that tag.
  static constexpr Tag readable(Side side) { return side; }
  static constexpr Tag writable(Side side) { return static_cast<Tag>(2 + side); }

  /// What the source's `readable` operation is at the moment.
  enum class Reading : std::uint8_t {
    idle,
    /// A receive.
    receiving,
    /// A receive that was cancelled.
    stopping,
    /// Waiting for bytes to splice.
    polling,
    /// Waiting for a reset only, since bytes may not be taken now.
    watching,
    /// A watch that was cancelled.
    unwatching,
  };

  /// From the socket of one side, the source, to the other's, the sink.
  struct Direction {
    /// Received and not yet sent; nothing while there is none.
    std::unique_ptr<Backlog> backlog;
    /// Nothing while no bytes are in it, between two bursts.
    std::unique_ptr<Pipe> pipe;
    RelayPolicy policy;
    Reading reading = Reading::idle;
    bool standing_receive : 1 = false;
    /// The standing receive has started or brought something since its socket was looked at.
    bool unproven : 1 = false;
    bool large_receive : 1 = false;
    bool splicing : 1 = false;
    bool splice_refused : 1 = false;
    /// The source has sent its FIN.
    bool ended : 1 = false;
    /// And it was passed on.
    bool finished : 1 = false;
    /// Both directions of the source are shut down: watching it would return at once.
    bool hung_up : 1 = false;
  };

  int fd(Side side) const { return (side == kClient ? client_.socket : backend_).get(); }
  /// Bytes have come, or room for them, of which nobody has told it yet.
  bool can_go_on();
  bool in_flight(Tag tag) const { return (in_flight_ & (1U << tag)) != 0; }
  void started(Tag tag) { in_flight_ = static_cast<std::uint8_t>(in_flight_ | (1U << tag)); }

  void on_connected(int result);
  void on_readable(Side source, Completion& completion);
  void take_in(Side source, Completion& completion);

  /// When the completions of this turn have been delivered, or, moving bulk, after messages.
  void pump_soon();
  void pump(Side source);
  void pump_copy(Side source);
  void pump_splice(Side source);
  bool send_backlog(Side source);
  void pass_on_end(Side source);
  void keep_reading(Side source);
  void start_receive(Side source);
  /// Has its standing receive looked after in a moment, where that may miss a reset.
  void prove_soon(Side source);
  void stop_reading(Side source);
  void cancel_receive(Side source);
  void wait_writable(Side sink);
  void watch_soon_if_unread();

  void refuse(int error_number);
  void fail(Side side, int error_number);
  void close(bool with_reset);
  void cancel_all();

  /// Nothing on the way from one relay to another.
  TcpRelay* relay_ = nullptr;
  Client client_;
  FileDescriptor backend_;
  // Here, where they fill a gap: there are as many of these as there are connections.
  std::uint8_t in_flight_ = 0;
  /// When it last had something to do: see TcpRelay::note_active().
  std::uint8_t active_in_ = 0;
  bool started_ : 1 = false;
  /// Both sockets began unpaced on a system that paces: see tcp_pacing.h.
  bool unpaced_ : 1 = false;
  bool connected_ : 1 = false;
  bool overdue_ : 1 = false;
  bool closing_ : 1 = false;
  bool moving_ : 1 = false;
  /// A pump has used up its turn.
  bool more_to_splice_ : 1 = false;
  std::array<Direction, 2> directions_;
  QuietDeadline quiet_{*this};
  const SocketAddress& backend_address_;
};

}  // namespace fairlead
