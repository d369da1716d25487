// One client's SCTP association and the one to the backend made for it.

#pragma once

#include <array>
#include <boost/intrusive/list.hpp>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "proxy/engine/engine.h"
#include "proxy/net/sctp_message.h"
#include "proxy/relay/client.h"
#include "proxy/relay/deadlines.h"

namespace fairlead {

class SctpListener;
struct SctpConnectionList;  // Tag of the list of a listener's connections.

/// Relays messages both ways until both associations have ended or one fails. Owned by its
/// listener; destroys itself through it.
class SctpConnection final : public Handler,
                             public Deadline,
                             public boost::intrusive::list_base_hook<
                                 boost::intrusive::tag<SctpConnectionList>,
                                 boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
 public:
  /// Longer messages end the connection: Linux has no way to send a message in parts, so all of it
  /// has to be held.
  static constexpr std::size_t kMessageBytesMax = 1024UL * 1024;

  SctpConnection(SctpListener& listener, Client client, FileDescriptor backend);
  ~SctpConnection();

  /// Connects to the backend.
  void start();
  /// The backend's answer is overdue, or nothing has passed for too long.
  void on_deadline();

 private:
  enum Side : std::uint8_t { kClient, kBackend };
  static constexpr Side other(Side side) { return side == kClient ? kBackend : kClient; }
  static constexpr Tag readable(Side side) { return side; }
  static constexpr Tag writable(Side side) { return static_cast<Tag>(2 + side); }

  /// From the socket of one side, the source, to the other's, the sink.
  struct Direction {
    /// Received in part, or complete and waiting for room. Takes no memory otherwise.
    std::vector<std::byte> message;
    SctpMessageInfo info;
    bool complete = false;
    /// The source has shut down.
    bool ended = false;
    /// And it was passed on.
    bool finished = false;
  };

  void on_completion(Completion completion) override;
  void on_deferred() override;
  void on_connected(int result);
  void pump(Side source);
  /// False when there is nothing more to receive now.
  bool receive(Side source);
  /// False when there is no room now.
  bool send(Side source, const SctpMessageInfo& info, std::span<const std::byte> message);
  void hold(Direction& direction, const SctpMessageInfo& info, std::span<const std::byte> bytes);
  void wait(Tag tag, Side side, short events);

  int fd(Side side) const { return (side == kClient ? client_.socket : backend_).get(); }
  bool in_flight(Tag tag) const { return (in_flight_ & (1U << tag)) != 0; }

  void fail(Side side, int error_number);
  void close(bool with_abort);

  SctpListener& listener_;
  Client client_;
  FileDescriptor backend_;
  std::array<Direction, 2> directions_;
  std::uint8_t in_flight_ = 0;
  bool connected_ = false;
  bool overdue_ = false;
  bool closing_ = false;
};

}  // namespace fairlead
