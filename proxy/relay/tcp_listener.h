// A published TCP port.

#pragma once

#include <deque>

#include "proxy/relay/listener.h"
#include "proxy/relay/tcp_relay.h"

namespace fairlead {

class TcpListener final : public Listener, private Handler, private PausedListener {
 public:
  TcpListener(Loop& loop, FileDescriptor socket, const Endpoint& host, const Endpoint& backend);

  void start() override;

 private:
  static constexpr Tag kAccept = 0;

  void on_completion(Completion completion) override;
  void resume() override;
  void take(FileDescriptor client);
  void pause(std::string_view reason);

  std::shared_ptr<TcpRelay> relay_;
  FileDescriptor socket_;
  Endpoint host_;
  SocketAddress backend_;
  /// Accepted when no backend socket could be had, oldest first. They are served when one can.
  std::deque<FileDescriptor> undialled_;
  bool accepting_ = false;
  bool paused_ = false;
};

}  // namespace fairlead
