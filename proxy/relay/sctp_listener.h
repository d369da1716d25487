// A published SCTP port.

#pragma once

#include <boost/intrusive/list.hpp>
#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "proxy/net/socket_address.h"
#include "proxy/relay/access_list.h"
#include "proxy/relay/client.h"
#include "proxy/relay/listener.h"
#include "proxy/relay/sctp_connection.h"

namespace fairlead {

/// Accepts one-to-one associations and relays the messages of each, with stream, payload protocol
/// and order. Addresses of a multi-homed client or backend are the kernel's business.
class SctpListener final : public Listener, private Handler, private DeadlineList::Owner {
 public:
  SctpListener(Loop& loop, FileDescriptor socket, const Endpoint& host, const Endpoint& backend,
               Counters& counters);
  ~SctpListener() override;

  void start() override;
  /// The queue is left: an association in it is reset.
  void retire(Queue queue) override;
  int socket() const override { return socket_.get(); }

  // For connections.

  Engine& engine() { return loop_.engine; }
  const SocketAddress& backend() const { return backend_; }
  /// To receive into; not kept between two calls of Handler::on_completion().
  std::span<std::byte> buffer();
  void count_bytes(bool to_container, std::size_t size);
  void count_reset() { ++counters_.connections_reset; }
  void log_refused(int error_number);
  /// A message has passed: puts off the end for --idle-timeout.
  void touch(SctpConnection& connection);
  void note_quiet();
  void destroy(SctpConnection& connection);

 private:
  static constexpr Tag kAccept = 0;
  static constexpr TimeMs kRetryMs = 100;
  static constexpr std::size_t kBufferBytes = 64UL * 1024;

  void on_completion(Completion completion) override;
  void on_deadline(Deadline& deadline) override;
  void accept();
  void open(Client client);
  void pause(std::string_view reason);

  Loop& loop_;
  Counters& counters_;
  FileDescriptor socket_;
  Endpoint host_;
  SocketAddress backend_;
  AccessList access_;
  std::unique_ptr<std::byte[]> buffer_;
  boost::intrusive::list<SctpConnection,
                         boost::intrusive::base_hook<boost::intrusive::list_base_hook<
                             boost::intrusive::tag<SctpConnectionList>,
                             boost::intrusive::link_mode<boost::intrusive::auto_unlink>>>,
                         boost::intrusive::constant_time_size<false>>
      connections_;
  DeadlineList connecting_;
  DeadlineList idle_;
  DeadlineList retries_;
  Deadline retry_;
  bool accepting_ = false;
  bool retired_ = false;
};

}  // namespace fairlead
