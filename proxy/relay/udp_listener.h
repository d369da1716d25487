// A published UDP port.

#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "proxy/engine/engine.h"
#include "proxy/mapping/error.h"
#include "proxy/relay/listener.h"
#include "proxy/relay/udp_port.h"
#include "proxy/relay/udp_session.h"

namespace fairlead {

/// Sorts what clients write by session, and has each session pass it on. See udp_listener.cpp.
class UdpListener final : public Listener, private Handler {
 public:
  UdpListener(Loop& loop, FileDescriptor socket, const Endpoint& host, const Endpoint& backend,
              Counters& counters);

  /// Sets the options that the relay needs, also on a socket that another program made.
  void start() override;
  /// Sessions still send replies through the socket.
  void retire(Queue queue) override;
  void release() override;
  int socket() const override { return port_.socket.get(); }

 private:
  static constexpr Tag kReadable = 0;

  void on_completion(Completion completion) override;
  void wait();
  void relay(DatagramBatch& batch, std::size_t count);
  /// Whether the sender is one of --accept-proxy-protocol.
  bool is_front_end(const UdpFlow& flow) const;
  /// Takes the PROXY header off a message; what it says of the client, if anything.
  static Result<std::optional<AddressPair>> take_header(DatagramBatch& batch, std::size_t index);
  /// Counts and logs a datagram of a front end that has no header, or a wrong one.
  void refuse(const UdpFlow& flow, std::string_view reason);
  bool admits(const UdpSessionKey& key);
  UdpSession* session_of(const UdpSessionKey& key);

  UdpPort port_;
  bool retired_ = false;
  /// The engine waits for datagrams.
  bool waiting_ = false;
  bool released_ = false;
};

}  // namespace fairlead
