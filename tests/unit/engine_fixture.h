// What the engine tests share: every engine this machine can run, real sockets, and a handler that
// notes what it is told.

#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/engine/engine.h"

namespace fairlead {

/// Notes its completions. Counts as the owner of accepted descriptors.
class NotingHandler final : public Handler {
 public:
  struct Note {
    Tag tag;
    int result;
    bool more;
    std::string bytes;
  };

  void on_completion(Completion completion) override;
  void on_deferred() override {
    if (when_deferred) when_deferred();
  }

  /// Operations with this tag that are over.
  int ended(Tag tag) const;
  /// The last note for the tag. REQUIRES: there is one.
  const Note& last(Tag tag) const;
  /// All bytes received, in order.
  std::string received() const;

  std::vector<Note> notes;
  /// Leases are kept here while it is set, else they go back at once.
  bool keep_leases = false;
  std::vector<Lease> leases;
  std::vector<FileDescriptor> accepted;
  /// The tag of accept operations.
  Tag accept_tag = kTagLimit;
  std::function<void(const Note&)> when_completed;
  std::function<void()> when_deferred;
};

struct SocketPair {
  FileDescriptor near;
  FileDescriptor far;
};

/// Run once for each engine.
class EngineTest : public ::testing::TestWithParam<EngineChoice> {
 protected:
  void SetUp() override;

  /// Turns until `done`; false when it does not come within a minute.
  bool turn_until(const std::function<bool()>& done);
  /// Turns until nothing has happened for a while.
  void settle();
  /// Starts a receive again whenever it ends before the stream does, as a relay does.
  void receive_all(NotingHandler& handler, Tag tag, int fd);

  /// Connected over TCP on the loopback interface, non-blocking both.
  static SocketPair tcp_pair();
  static SocketPair unix_pair();
  /// Listening on a port of 127.0.0.1 chosen by the kernel.
  static FileDescriptor listening_socket(int backlog = 128);
  static SocketAddress local_address(int fd);
  /// A socket whose connection to `listener` has begun.
  static FileDescriptor begin_connection(const SocketAddress& listener);
  static void send_text(int fd, std::string_view text);
  /// Sends until the socket takes no more; how much it took.
  static std::size_t fill(int fd);
  /// Reads all there is; how much it was.
  static std::size_t drain(int fd);
  static void reset(FileDescriptor& fd);

  std::unique_ptr<Engine> engine_;
};

/// How many descriptors this process has open.
std::size_t open_descriptors();

#define FAIRLEAD_FOR_EVERY_ENGINE(suite)                                                \
  INSTANTIATE_TEST_SUITE_P(                                                             \
      Every, suite, ::testing::Values(EngineChoice::io_uring, EngineChoice::epoll),     \
      [](const ::testing::TestParamInfo<EngineChoice>& engine) {                        \
        return std::string(engine.param == EngineChoice::epoll ? "epoll" : "io_uring"); \
      })

}  // namespace fairlead
