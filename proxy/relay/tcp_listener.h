// A published TCP port.

#pragma once

#include <deque>

#include "proxy/relay/listener.h"
#include "proxy/relay/tcp_relay.h"

namespace fairlead {

class TcpListener final : public Listener, private Handler, private Acceptor {
 public:
  TcpListener(Loop& loop, FileDescriptor socket, const Endpoint& host, const Endpoint& backend,
              Counters& counters);

  void start() override;
  void retire(Queue queue) override;
  int socket() const override { return socket_.get(); }

 private:
  static constexpr Tag kAccept = 0;

  /// With less room than this for connections they are accepted one at a time: those that wait in
  /// the backlog (net.core.somaxconn, 4096 by default) would otherwise be accepted all at once, and
  /// hold the descriptors that their connections to the backend need.
  static constexpr std::size_t kRoomForAll = 4096;
  /// So many are taken from the queue at the end: nobody can hold it up by coming for ever.
  static constexpr int kLastClientsMax = 4096;

  void on_completion(Completion completion) override;
  const Endpoint& host() const override { return host_; }
  const SocketAddress& backend() const override { return backend_; }
  const AccessList& access() const override { return access_; }
  void resume() override;
  void welcome(Client client) override;
  void serve_undialled();
  void pause(std::string_view reason);

  std::shared_ptr<TcpRelay> relay_;
  FileDescriptor socket_;
  Endpoint host_;
  SocketAddress backend_;
  AccessList access_;
  Counters& counters_;
  /// Accepted when no backend socket could be had, oldest first. They are served when one can.
  std::deque<Client> undialled_;
  bool accepting_ = false;
  /// All that come, not one at a time.
  bool accepting_all_ = false;
  bool paused_ = false;
  bool retired_ = false;
  /// Since the last connection was opened.
  bool pause_noted_ = false;
};

}  // namespace fairlead
