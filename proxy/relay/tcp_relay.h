// The TCP connections of one loop, and what they share.

#pragma once

#include <boost/intrusive/list.hpp>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/relay/client.h"
#include "proxy/relay/introductions.h"
#include "proxy/relay/loop.h"
#include "proxy/relay/mailbox.h"
#include "proxy/relay/pipe_pool.h"
#include "proxy/relay/tcp_connection.h"

namespace fairlead {

/// Who accepts connections for a relay.
class Acceptor : public boost::intrusive::list_base_hook<
                     boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
 public:
  /// The address it listens on.
  virtual const Endpoint& host() const = 0;
  virtual const SocketAddress& backend() const = 0;
  virtual const AccessList& access() const = 0;
  /// A shortage may have passed.
  virtual void resume() = 0;
  /// A client that open() has put off can be opened now.
  virtual void welcome(Client client) = 0;

 protected:
  ~Acceptor() = default;
};

/// Destroy it only after Engine::stop(); before the loop.
class TcpRelay final : private DeadlineList::Owner {
 public:
  explicit TcpRelay(Loop& loop);
  TcpRelay(const TcpRelay&) = delete;
  TcpRelay& operator=(const TcpRelay&) = delete;
  ~TcpRelay();

  // For listeners.

  enum class Opened : std::uint8_t {
    /// Or its PROXY header is waited for, and it comes back by Acceptor::welcome().
    yes,
    /// There are --max-connections. `client` was left with the caller: pause, and try again when
    /// resumed. So with the next.
    full,
    /// Descriptors or memory are short.
    shortage,
    /// `client` was closed; the reason was logged.
    refused,
  };
  /// Makes a connection of a client that the acceptor has accepted, here or on one of the loops
  /// that new connections are shared with. The acceptor must outlive them all.
  Opened open(Client& client, Acceptor& acceptor);

  /// Connections that are open, on all loops together, and front ends that are about to have one.
  std::size_t busy() const { return connections_open() + introductions_.size(); }
  /// Connections that are open, on all loops together.
  std::size_t connections_open() const { return loop_.shared.connections_open; }
  /// How many more connections may be open, on all loops together.
  std::size_t room() const;

  /// Logs that a listener has stopped accepting.
  void note_pause(std::string_view reason);
  /// Resumes the acceptor, once, when a connection has closed or kRetryMs have passed.
  void resume_later(Acceptor& acceptor);
  /// A connection has closed, here or on another loop.
  void resume_one();

  // For the loop's Worker.

  /// A connection goes on here that began on another loop, or has yet to begin.
  void adopt(std::unique_ptr<TcpConnection> connection);
  bool empty() const;
  /// Connections that had something to do since the last call.
  std::size_t take_active();
  /// As many connections as these, the next that have something to do, move to the loop of `other`.
  void move_active(std::size_t count, Mailbox& other);
  /// So do all that are here, except those that are still connecting, and those when they are
  /// connected.
  void move_all(Mailbox& other);
  /// New connections go to these loops and to this one in turn.
  void share_new(std::vector<Mailbox*> others) { others_ = std::move(others); }
  bool shares_new() const { return !others_.empty(); }
  /// Where this loop is told of connections that end elsewhere.
  void set_own(Mailbox& mailbox) { own_ = &mailbox; }

  // For connections.

  Engine& engine() { return loop_.engine; }
  RelayMode mode() const { return loop_.settings.mode; }
  PipePool& pipes() { return pipes_; }

  std::unique_ptr<Backlog> take_backlog();
  void put_back(std::unique_ptr<Backlog> backlog);
  void append_copy(Backlog& backlog, std::string_view bytes);
  /// Lets a stalled connection keep its leases only while there are plenty.
  void copy_out_if_scarce(Backlog& backlog);
  void copy_out(Backlog& backlog);
  bool frugal() const { return frugal_; }

  /// The connection has had something to do; `when` is where it remembers that.
  void note_active(TcpConnection& connection, std::uint8_t& when);
  /// To the loop it is to move to. It may come back at once, when that has just ended.
  void send_away(TcpConnection& connection);

  /// Much memory was used: gives back what is spare of it in kSpareMs, unless it is used again.
  void release_later() { spare_.set(release_, engine().now()); }

  /// Something has passed: puts off connection.on_quiet().
  void touch(TcpConnection& connection);
  /// Nothing has passed since the connection was put off on the loop that it comes from.
  void take_over_quiet(TcpConnection& connection);
  /// Calls connection.end_quiet() in kJudgeMs, unless something passes: whoever was stopped for a
  /// while (SIGSTOP, a virtual machine that slept) finds that time is over for connections whose
  /// bytes are waiting.
  void judge_later(TcpConnection& connection);
  /// Calls connection.on_deadline() in kUnreadMs.
  void watch_later(TcpConnection& connection);
  void log_refused(std::string_view message);
  void log_failed(std::string_view side, int error_number);
  void log_quiet(std::string_view message);
  void destroy(TcpConnection& connection);

 private:
  static constexpr TimeMs kUnreadMs = 100;
  static constexpr TimeMs kRetryMs = 100;
  static constexpr TimeMs kSpareMs = 1'000;
  static constexpr TimeMs kJudgeMs = 1'000;
  static constexpr std::size_t kBacklogsKept = 64;

  struct QuietOwner final : DeadlineList::Owner {
    void on_deadline(Deadline& deadline) override;
  };
  struct JudgedOwner final : DeadlineList::Owner {
    void on_deadline(Deadline& deadline) override;
  };

  void on_deadline(Deadline& deadline) override;
  DeadlineList& quiet_list(const TcpConnection& connection);
  void note_copied(std::size_t before, std::size_t after);
  Mailbox* next_in_turn();
  void resume_all();

  Loop& loop_;
  PipePool pipes_;
  Introductions introductions_;
  boost::intrusive::list<TcpConnection,
                         boost::intrusive::base_hook<boost::intrusive::list_base_hook<
                             boost::intrusive::tag<TcpConnectionList>,
                             boost::intrusive::link_mode<boost::intrusive::auto_unlink>>>,
                         boost::intrusive::constant_time_size<false>>
      connections_;
  std::vector<std::unique_ptr<Backlog>> spare_backlogs_;
  bool frugal_ = false;

  Mailbox* own_ = nullptr;
  std::vector<Mailbox*> others_;
  std::size_t turn_ = 0;
  Mailbox* destination_ = nullptr;
  std::size_t to_move_ = 0;
  /// Counts calls of take_active(); what a connection remembers of it.
  std::uint8_t activity_period_ = 1;
  std::size_t active_ = 0;

  DeadlineList connecting_;
  DeadlineList unread_;
  QuietOwner quiet_owner_;
  DeadlineList idle_;
  DeadlineList half_closed_;
  JudgedOwner judged_owner_;
  DeadlineList judged_;
  DeadlineList retries_;
  DeadlineList spare_;
  Deadline retry_;
  Deadline release_;
  boost::intrusive::list<Acceptor, boost::intrusive::constant_time_size<false>> paused_;
};

}  // namespace fairlead
