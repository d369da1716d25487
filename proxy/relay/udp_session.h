// One client of a published UDP port.

#pragma once

#include <array>
#include <boost/intrusive/unordered_set_hook.hpp>
#include <cstdint>
#include <string>

#include "proxy/engine/engine.h"
#include "proxy/net/file_descriptor.h"
#include "proxy/relay/datagram_batch.h"
#include "proxy/relay/datagram_sender.h"
#include "proxy/relay/deadlines.h"
#include "proxy/relay/udp_flow.h"
#include "proxy/relay/udp_port.h"

namespace fairlead {

/// What a session is found by.
struct UdpSessionKey {
  const UdpPort* port;
  UdpFlow flow;

  bool operator==(const UdpSessionKey&) const = default;
};

/// For each message of a batch, the next one of the same session.
using MessageChain = std::array<std::uint8_t, DatagramBatch::kMessages>;

/// Relays between one client and a socket of its own that is connected to the backend, so that the
/// backend can tell clients apart and every reply finds its way back. Takes 160 bytes, and no
/// buffer: datagrams pass through the loop's batch.
///
/// Made and ended by UdpSessions. It waits for replies from start() to close().
class UdpSession final : public Handler,
                         public Deadline,
                         public boost::intrusive::unordered_set_base_hook<> {
 public:
  /// `backend` is connected.
  UdpSession(UdpPort& port, const UdpFlow& flow, FileDescriptor backend);

  const UdpSessionKey& key() const { return key_; }

  int backend_fd() const { return backend_.get(); }
  bool is_closing() const { return closing_; }

  void start() { wait(); }

  /// Puts the batch's message `index` in line for the backend. True when it is the first in line.
  bool enqueue(std::uint8_t index, MessageChain& chain);
  /// Sends what is in line. Must be called before the next receive.
  void relay_to_backend(const DatagramBatch& batch, const MessageChain& chain);

  /// Nothing more is relayed to the client. When the engine has let go of the socket, it is closed
  /// and UdpSessions::closed() is told.
  void close();

 private:
  static constexpr Tag kReadable = 0;
  static constexpr std::uint8_t kNoMessage = DatagramBatch::kMessages;

  void on_completion(Completion completion) override;
  /// Of each datagram to the backend; empty when none is asked for.
  std::string proxy_header() const;
  /// False when the backend cannot be reached.
  bool relay_to_client();
  void wait();
  /// Counts and tells of datagrams that did not reach `destination`.
  void count_drops(const SendTotals& totals, const Endpoint& destination);

  UdpPort& port_;
  UdpSessionKey key_;
  FileDescriptor backend_;
  DatagramPath to_backend_;
  DatagramPath to_client_;
  std::uint8_t first_in_line_ = kNoMessage;
  std::uint8_t last_in_line_ = kNoMessage;
  bool closing_ = false;
};

}  // namespace fairlead
