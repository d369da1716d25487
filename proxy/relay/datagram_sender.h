// Sends runs of datagrams, by whatever means the way there allows.

#pragma once

#include <netinet/udp.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "proxy/engine/engine.h"
#include "proxy/net/socket_address.h"
#include "proxy/relay/datagram_run.h"
#include "proxy/relay/udp_flow.h"

namespace fairlead {

/// What one direction of a session has learnt about its way; kept with the session.
struct DatagramPath {
  /// Larger segments than this were refused: they are over the path's MTU, or an interface cannot
  /// compute checksums. Such datagrams are sent one by one, in fragments where need be.
  std::uint16_t segment_size_max = kDatagramBytesMax;
  /// The kernel would not take the flow's host address as a source.
  bool source_refused = false;
};

/// What became of the datagrams given to a sender.
struct SendTotals {
  std::uint64_t datagrams = 0;
  /// Payload, without prefixes.
  std::uint64_t bytes = 0;
  std::uint64_t dropped = 0;
  /// Why the last one was dropped; 0 when none was.
  int error = 0;
};

/// One socket, one destination, one batch of messages: forms runs of them and sends each by one
/// system call where it can. Order is kept.
///
/// Never waits. Without room in the send buffer a run is dropped and counted, which is what UDP
/// does anywhere on its way; with 1 MiB and more of room that means a device that does not keep up.
/// Waiting would need a copy of the run, and would only move the loss to the receive buffer.
class DatagramSender {
 public:
  /// To the peer of a connected socket. Each datagram leaves with `prefix` before its bytes; it
  /// must outlive the sender.
  DatagramSender(Engine& engine, int fd, DatagramPath& path, std::string_view prefix = {});
  /// To the flow's client, from the flow's host address. `family` is the socket's.
  DatagramSender(Engine& engine, int fd, DatagramPath& path, const UdpFlow& flow, int family);
  DatagramSender(const DatagramSender&) = delete;
  DatagramSender& operator=(const DatagramSender&) = delete;

  /// Sends the message's datagrams, now or with those that follow. The memory must stay as it is
  /// until finish().
  void send(const Message& message);
  /// Sends what is left.
  const SendTotals& finish();

 private:
  /// Pending ICMP errors that a send can meet before its own datagrams leave.
  static constexpr int kAttempts = 4;
  static constexpr std::size_t kSegmentControlBytes = CMSG_SPACE(sizeof(std::uint16_t));

  void send_run();
  void add(const Message& message);
  void send_one_by_one();
  int attempt(std::span<const iovec> pieces, std::size_t segment_size);
  ssize_t send_once(std::span<const iovec> pieces, std::size_t segment_size, bool with_source);
  void count(int error, std::size_t datagrams, std::size_t bytes);

  Engine& engine_;
  int fd_;
  DatagramPath& path_;
  bool connected_;
  SocketAddress destination_;
  /// The segment size, then the source address, so that any of the two can be left out.
  alignas(cmsghdr) std::array<std::byte, kSegmentControlBytes + kSourceControlBytes> control_{};
  std::size_t source_control_bytes_ = 0;
  std::string_view prefix_;
  DatagramRun run_;
  SendTotals totals_;
};

}  // namespace fairlead
