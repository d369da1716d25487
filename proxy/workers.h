// The loops of a process, beyond the first.

#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>
#include <vector>

#include "proxy/engine/engine.h"
#include "proxy/relay/loop.h"
#include "proxy/relay/loop_load.h"
#include "proxy/relay/mailbox.h"

namespace fairlead {

/// Starts further loops, each on a thread of its own, when those that run have more TCP connections
/// than they can serve, and ends them when they have nothing to do. See workers.cpp. This is the
/// only place where a thread is made.
class Workers {
 public:
  /// At most `limit` loops, the first included; 0: one for each processor that the process may run
  /// on.
  Workers(Loop& first, std::size_t limit);
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;
  ~Workers();

  /// A turn of the first loop has ended.
  void note_turn();

  /// The first loop is woken when a connection next ends on another one.
  void note_ends();

  /// A loop that has time for connections of the first one, started if need be; nothing when there
  /// is none and may be none. For the first loop's thread.
  Mailbox* find_help();

  /// Loops that run, the first included.
  std::size_t running() const { return running_; }

  /// Ends all loops but the first, and with them their connections. Returns when the threads have
  /// ended; may be called again.
  void stop();

 private:
  /// A loop that runs, ends or may be started again. Its address stays the same.
  struct Worker {
    Mailbox mailbox;
    /// The thread's own.
    LoopLoad load;
    TimeMs settled_at = 0;
    /// End of the last window in which it was busy.
    std::atomic<TimeMs> busy_at = 0;
    std::atomic<bool> accepts_work = false;
    std::atomic<bool> ended = true;
    std::thread thread;
  };

  void run(Worker& worker);
  void serve(Worker& worker, Engine& engine);
  void balance(Worker& worker, TcpRelay& relay, TimeMs now);
  Worker* find_help(const Worker& worker, TimeMs now);
  Worker* start(bool on_first_loop, TimeMs now);
  void note_refused(TimeMs now, std::string_view reason);
  std::vector<Mailbox*> other_mailboxes();

  Loop& first_loop_;
  std::size_t limit_;
  Worker first_;
  std::atomic<bool> stopping_ = false;
  std::atomic<std::size_t> running_ = 1;
  /// Guards what follows.
  std::mutex mutex_;
  std::vector<std::unique_ptr<Worker>> others_;
  TimeMs retry_at_ = 0;
};

}  // namespace fairlead
