// One client of a published UDP port.

#pragma once

#include <array>
#include <boost/intrusive/unordered_set_hook.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "proxy/engine/engine.h"
#include "proxy/net/file_descriptor.h"
#include "proxy/net/proxy_header.h"
#include "proxy/relay/datagram_batch.h"
#include "proxy/relay/datagram_sender.h"
#include "proxy/relay/deadlines.h"
#include "proxy/relay/udp_flow.h"
#include "proxy/relay/udp_port.h"

namespace fairlead {

/// What a session is found by. A front end may send on behalf of many clients from one socket:
/// each has a session, and so an address of its own for the service, and all are answered at that
/// socket.
struct UdpSessionKey {
  UdpPort* port;
  /// With whom datagrams are exchanged.
  UdpFlow flow;
  /// What the front end has said of the client; nothing: the flow's own addresses count.
  const AddressPair* told = nullptr;

  /// The client's address and the one it wrote to: for the backend, and for every decision about
  /// clients.
  AddressPair addresses() const;

  bool operator==(const UdpSessionKey& other) const {
    if (port != other.port || flow != other.flow) return false;
    if (told == nullptr || other.told == nullptr) return told == other.told;
    return *told == *other.told;
  }
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
  UdpSession(const UdpSessionKey& key, FileDescriptor backend);

  UdpSessionKey key() const { return {&port_, flow_, told_.get()}; }

  Counters& counters() { return port_.counters; }
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
  const UdpFlow flow_;
  const std::unique_ptr<const AddressPair> told_;
  FileDescriptor backend_;
  DatagramPath to_backend_;
  DatagramPath to_client_;
  std::uint8_t first_in_line_ = kNoMessage;
  std::uint8_t last_in_line_ = kNoMessage;
  bool closing_ = false;
};

}  // namespace fairlead
