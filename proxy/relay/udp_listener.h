// A published UDP port.

#pragma once

#include <cstddef>

#include "proxy/engine/engine.h"
#include "proxy/relay/listener.h"
#include "proxy/relay/udp_port.h"
#include "proxy/relay/udp_session.h"

namespace fairlead {

/// Sorts what clients write by session, and has each session pass it on. See udp_listener.cpp.
class UdpListener final : public Listener, private Handler {
 public:
  UdpListener(Loop& loop, FileDescriptor socket, const Endpoint& host, const Endpoint& backend);

  /// Sets the options that the relay needs, also on a socket that another program made.
  void start() override;
  /// Sessions still send replies through the socket.
  void retire() override;
  int socket() const override { return port_.socket.get(); }

 private:
  static constexpr Tag kReadable = 0;

  void on_completion(Completion completion) override;
  void wait();
  void relay(DatagramBatch& batch, std::size_t count);
  bool admits(const UdpFlow& flow);
  UdpSession* session_of(const UdpFlow& flow);

  UdpPort port_;
  bool retired_ = false;
};

}  // namespace fairlead
