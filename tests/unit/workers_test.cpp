// Several loops on several threads, over real sockets. The thread sanitizer runs this.

#include "proxy/workers.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "proxy/relay/tcp_listener.h"
#include "proxy/relay/tcp_relay.h"
#include "tests/unit/engine_fixture.h"

namespace fairlead {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

bool wait_for(int fd, short events) {
  pollfd wanted{.fd = fd, .events = events, .revents = 0};
  return ::poll(&wanted, 1, 20'000) == 1;
}

bool send_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent > 0) text.remove_prefix(static_cast<std::size_t>(sent));
    if (sent < 0 && (errno != EAGAIN || !wait_for(fd, POLLOUT))) return false;
  }
  return true;
}

std::string receive(int fd, std::size_t size) {
  std::string text(size, '\0');
  std::size_t have = 0;
  while (have < size) {
    const ssize_t received = ::recv(fd, text.data() + have, size - have, 0);
    if (received > 0) have += static_cast<std::size_t>(received);
    if (received == 0 || (received < 0 && (errno != EAGAIN || !wait_for(fd, POLLIN)))) break;
  }
  text.resize(have);
  return text;
}

class WorkersTest : public EngineTest {
 protected:
  static constexpr std::size_t kLoopsMax = 3;

  void SetUp() override {
    EngineTest::SetUp();
    if (IsSkipped()) return;
    backend_ = listening_socket();
    FileDescriptor front = listening_socket();
    front_address_ = local_address(front.get());
    // An aggregate whose members cannot be moved. NOLINTNEXTLINE(modernize-make-unique)
    loop_.reset(
        new Loop{.engine = *engine_, .settings = {.connections_max = 1'000}, .shared = shared_});
    listener_ = std::make_unique<TcpListener>(*loop_, std::move(front), front_address_.endpoint(),
                                              local_address(backend_.get()).endpoint(), counters_);
    listener_->start();
    workers_ = std::make_unique<Workers>(*loop_, kLoopsMax);
  }

  void TearDown() override {
    if (!workers_) return;
    workers_->stop();
    engine_->stop();
    listener_.reset();
    workers_.reset();
    loop_.reset();
  }

  TcpRelay& relay() { return *loop_->tcp.lock(); }

  /// Does `work` on a thread of its own while the first loop turns, calling `each_turn` after each
  /// turn.
  void turn_while(
      const std::function<void()>& work, const std::function<void()>& each_turn = [] {}) {
    std::atomic<bool> done = false;
    std::thread thread([&] {
      work();
      done = true;
    });
    while (!done) {
      engine_->turn(engine_->now() + 5);
      loop_->deadlines.run(engine_->now());
      workers_->note_turn();
      each_turn();
    }
    thread.join();
  }

  /// A connection through the relay. To be called while the first loop turns.
  SocketPair connect_through() {
    FileDescriptor client = begin_connection(front_address_);
    EXPECT_TRUE(wait_for(backend_.get(), POLLIN));
    return {
        FileDescriptor(::accept4(backend_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)),
        std::move(client)};
  }

  static void exchange(const SocketPair& pair, std::size_t size) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + (i * 31 + size) % 23);
    for (const auto& [from, to] :
         {std::pair{pair.far.get(), pair.near.get()}, std::pair{pair.near.get(), pair.far.get()}}) {
      // Sent and received at once: it need not fit into the buffers on the way.
      std::thread sender([&, fd = from] { EXPECT_TRUE(send_all(fd, text)); });
      EXPECT_EQ(receive(to, size), text);
      sender.join();
    }
  }

  FileDescriptor backend_;
  SocketAddress front_address_;
  Counters counters_;
  SharedState shared_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<TcpListener> listener_;
  std::unique_ptr<Workers> workers_;
};

FAIRLEAD_FOR_EVERY_ENGINE(WorkersTest);

TEST_P(WorkersTest, ConnectionsMoveWhileBytesFlow) {
  std::vector<SocketPair> pairs;
  turn_while([&] {
    for (int i = 0; i < 8; ++i) pairs.push_back(connect_through());
  });
  Mailbox* other = workers_->find_help();
  ASSERT_NE(other, nullptr);
  EXPECT_EQ(workers_->running(), 2U);
  bool all_moved = false;
  turn_while(
      [&] {
        for (std::size_t round = 0; round < 20; ++round) {
          for (const SocketPair& pair : pairs) exchange(pair, 100 + 997 * round);
        }
        for (const SocketPair& pair : pairs) exchange(pair, 2'000'000);
      },
      [&] {
        // A loop that gets too little of a processor sends them home and ends, as one that is idle.
        if (relay().empty()) all_moved = true;
        if (workers_->running() == 1) other = workers_->find_help();
        // One after the other, in the midst of what they do.
        if (other != nullptr && relay().take_active() > 0) relay().move_active(1, *other);
      });
  EXPECT_TRUE(all_moved);
  EXPECT_EQ(counters_.connections_open, 8U);
  EXPECT_EQ(counters_.bytes_to_container, counters_.bytes_to_client);
  EXPECT_EQ(shared_.stalled_bytes, 0U);
}

TEST_P(WorkersTest, NewConnectionsAreSharedAndEndOnTheirLoops) {
  Mailbox* other = workers_->find_help();
  ASSERT_NE(other, nullptr);
  relay().share_new({other});
  turn_while([&] {
    for (int i = 0; i < 100; ++i) {
      const SocketPair pair = connect_through();
      exchange(pair, 1'000);
    }
    const auto give_up_at = steady_clock::now() + milliseconds(10'000);
    while (counters_.connections_open > 0 && steady_clock::now() < give_up_at) {
      std::this_thread::sleep_for(milliseconds(1));
    }
  });
  EXPECT_EQ(counters_.connections_accepted, 100U);
  EXPECT_EQ(counters_.connections_open, 0U);
  EXPECT_EQ(counters_.bytes_to_client, 100'000U);
}

TEST_P(WorkersTest, AnIdleLoopSendsItsConnectionsHomeAndEnds) {
  std::vector<SocketPair> pairs;
  turn_while([&] {
    for (int i = 0; i < 4; ++i) pairs.push_back(connect_through());
  });
  for (int time = 0; time < 2; ++time) {
    Mailbox* other = workers_->find_help();
    ASSERT_NE(other, nullptr);
    relay().move_all(*other);
    turn_while([&] {
      for (const SocketPair& pair : pairs) exchange(pair, 5'000);
      const auto give_up_at = steady_clock::now() + milliseconds(20'000);
      while (workers_->running() > 1 && steady_clock::now() < give_up_at) {
        std::this_thread::sleep_for(milliseconds(5));
      }
      for (const SocketPair& pair : pairs) exchange(pair, 5'000);
    });
    EXPECT_EQ(workers_->running(), 1U);
    EXPECT_FALSE(relay().empty());
  }
  EXPECT_EQ(counters_.connections_open, 4U);
}

TEST_P(WorkersTest, HelpIsLimitedAndStopEndsItWithItsConnections) {
  std::vector<SocketPair> pairs;
  turn_while([&] {
    for (int i = 0; i < 4; ++i) pairs.push_back(connect_through());
  });
  Mailbox* other = workers_->find_help();
  ASSERT_NE(other, nullptr);
  relay().move_all(*other);
  turn_while([&] {
    for (const SocketPair& pair : pairs) exchange(pair, 100);
  });
  workers_->stop();
  EXPECT_EQ(workers_->running(), 1U);
  EXPECT_EQ(workers_->find_help(), nullptr) << "not after the end";
  for (const SocketPair& pair : pairs) {
    EXPECT_TRUE(wait_for(pair.far.get(), POLLIN));
    EXPECT_LE(::recv(pair.far.get(), std::array<char, 1>{}.data(), 1, 0), 0) << "closed";
  }
}

TEST_P(WorkersTest, RoomThatComesFreeElsewhereEndsAPause) {
  loop_->settings.connections_max = 2;
  Mailbox* other = workers_->find_help();
  ASSERT_NE(other, nullptr);
  relay().share_new({other});
  turn_while([&] {
    for (int i = 0; i < 30; ++i) {
      // One more than there may be: it is served when one of the others has ended.
      SocketPair first = connect_through();
      SocketPair second = connect_through();
      const FileDescriptor waiting = begin_connection(front_address_);
      first = {};
      second = {};
      ASSERT_TRUE(wait_for(backend_.get(), POLLIN));
      FileDescriptor(::accept4(backend_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    }
  });
  EXPECT_EQ(counters_.connections_accepted, 90U);
}

}  // namespace
}  // namespace fairlead
