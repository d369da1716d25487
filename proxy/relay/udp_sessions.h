// The UDP sessions of one loop.

#pragma once

#include <boost/intrusive/list.hpp>
#include <boost/intrusive/unordered_set.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "proxy/relay/datagram_batch.h"
#include "proxy/relay/datagram_load.h"
#include "proxy/relay/deadlines.h"
#include "proxy/relay/loop.h"
#include "proxy/relay/udp_flow.h"
#include "proxy/relay/udp_session.h"

namespace fairlead {

/// Keyed, as clients choose what is hashed: without the seed nobody can make sessions collide.
class UdpSessionHash {
 public:
  /// With a new random seed.
  UdpSessionHash();
  std::size_t operator()(const UdpSessionKey& key) const;

 private:
  std::uint64_t seed_[2];
};

/// Finds sessions by their keys, ends those that have been idle for settings.udp_timeout_ms, and
/// makes room for new ones: at settings.sessions_max (0: no limit), or when the system has no more
/// sockets to give, the least recently used sessions end. Shared by all UDP listeners of the loop,
/// so that the limit and the order of use are the loop's.
class UdpSessions final : private DeadlineList::Owner, private Handler {
 public:
  /// The loop's; made when it has none, gone with the last listener that holds it.
  static std::shared_ptr<UdpSessions> of(Loop& loop);

  explicit UdpSessions(Loop& loop);
  UdpSessions(const UdpSessions&) = delete;
  UdpSessions& operator=(const UdpSessions&) = delete;
  /// REQUIRES: the engine is stopped, or no session was opened.
  ~UdpSessions();

  /// Nothing when there is none.
  UdpSession* find(const UdpSessionKey& key);
  /// A new session, started; nothing, with a log line, when no socket can be had for it.
  /// REQUIRES: there is none.
  UdpSession* open(const UdpSessionKey& key);
  /// Puts off the session's end: a datagram passed, in either direction.
  void touch(UdpSession& session);

  /// Ends the sessions of a port whose socket is about to be closed.
  void end_all_of(const UdpPort& port);

  /// The backend cannot be reached. The session goes on, since the backend may be away for a moment
  /// only, unless the container has got another network namespace: there its client needs a new
  /// one.
  void backend_failed(UdpSession& session);

  std::size_t size() const { return table_.size(); }

  /// What `fd` holds now, received into batch(), or -errno; see DatagramBatch::receive(). While
  /// datagrams come in runs, whoever else wants the processor has it first, once a turn.
  int receive(int fd);
  /// To be used within one call of Handler::on_completion().
  DatagramBatch& batch() { return batch_; }
  DatagramLoad& load() { return load_; }

  /// Destroys a session that has closed its socket.
  void closed(UdpSession& session);

 private:
  struct KeyOf {
    using type = UdpSessionKey;
    UdpSessionKey operator()(const UdpSession& session) const { return session.key(); }
  };
  using Table =
      boost::intrusive::unordered_set<UdpSession, boost::intrusive::key_of_value<KeyOf>,
                                      boost::intrusive::hash<UdpSessionHash>,
                                      boost::intrusive::equal<std::equal_to<UdpSessionKey>>,
                                      boost::intrusive::power_2_buckets<true>>;
  using Buckets = std::vector<Table::bucket_type>;

  void on_deadline(Deadline& deadline) override;
  void on_completion(Completion) override {}
  void on_deferred() override;
  void end(UdpSession& session);
  void make_room_on(const UdpPort& port);
  void evict_down_to(std::size_t count);
  void insert(UdpSession& session);
  void set_bucket_count(std::size_t count);
  std::size_t configured_limit() const;
  FileDescriptor connected_socket(const UdpSessionKey& key);
  void socket_refused(const UdpPort& port, std::string_view call, int error);

  Loop& loop_;
  DeadlineList in_order_of_use_;
  Buckets buckets_;
  Table table_;
  /// Ended, and waiting for the engine to let go of their sockets.
  boost::intrusive::list<Deadline, boost::intrusive::constant_time_size<false>> closing_;
  /// settings.sessions_max, or less until shortage_ends_.
  std::size_t limit_;
  TimeMs shortage_ends_ = 0;
  DatagramBatch batch_;
  DatagramLoad load_;
  /// Something was received in this turn.
  bool receiving_ = false;
};

}  // namespace fairlead
