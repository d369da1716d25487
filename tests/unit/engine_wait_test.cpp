// What engines promise of waiting for readiness.

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "tests/unit/engine_fixture.h"

namespace fairlead {
namespace {

constexpr Tag kWait = 3;
constexpr Tag kOtherWait = 4;
constexpr Tag kReceive = 5;

class EngineWaitTest : public EngineTest {
 protected:
  bool completes(NotingHandler& handler, Tag tag = kWait) {
    return turn_until([&] { return handler.ended(tag) == 1; });
  }
};
FAIRLEAD_FOR_EVERY_ENGINE(EngineWaitTest);

TEST_P(EngineWaitTest, TellsWhatHoldsAlreadyButNotInsideTheCall) {
  const SocketPair pair = tcp_pair();
  NotingHandler handler;
  engine_->wait(handler, kWait, pair.near.get(), POLLIN | POLLOUT);
  EXPECT_TRUE(handler.notes.empty());
  EXPECT_TRUE(completes(handler));
  EXPECT_EQ(handler.last(kWait).result, POLLOUT);
}

TEST_P(EngineWaitTest, TellsAgainWhatStillHolds) {
  const SocketPair pair = tcp_pair();
  send_text(pair.far.get(), "unread");
  for (int i = 0; i < 5; ++i) {
    NotingHandler handler;
    engine_->wait(handler, kWait, pair.near.get(), POLLIN);
    EXPECT_TRUE(completes(handler)) << i;
    EXPECT_EQ(handler.last(kWait).result, POLLIN);
    settle();
    EXPECT_EQ(handler.notes.size(), 1U);
  }
}

TEST_P(EngineWaitTest, DoesNotTellWhatHoldsNoLonger) {
  const SocketPair pair = tcp_pair();
  NotingHandler first;
  send_text(pair.far.get(), "soon read");
  engine_->wait(first, kWait, pair.near.get(), POLLIN);
  ASSERT_TRUE(completes(first));
  ASSERT_EQ(drain(pair.near.get()), 9U);

  NotingHandler second;
  engine_->wait(second, kWait, pair.near.get(), POLLIN);
  settle();
  EXPECT_TRUE(second.notes.empty());
  send_text(pair.far.get(), "next");
  EXPECT_TRUE(completes(second));
}

TEST_P(EngineWaitTest, NoWakeUpIsLostBetweenReadingAndWaiting) {
  const SocketPair pair = tcp_pair();
  for (int i = 0; i < 300; ++i) {
    NotingHandler handler;
    // The bytes come at every point of the sequence, in turns.
    if (i % 3 == 0) send_text(pair.far.get(), "now");
    engine_->wait(handler, kWait, pair.near.get(), POLLIN);
    if (i % 3 == 1) send_text(pair.far.get(), "now");
    if (i % 3 == 2) {
      engine_->turn(engine_->now());
      send_text(pair.far.get(), "now");
    }
    ASSERT_TRUE(completes(handler)) << i;
    ASSERT_EQ(drain(pair.near.get()), 3U);
  }
}

TEST_P(EngineWaitTest, FullSocketBecomesWritableWhenItsPeerReads) {
  for (const bool is_tcp : {true, false}) {
    SocketPair pair = is_tcp ? tcp_pair() : unix_pair();
    NotingHandler before;
    engine_->wait(before, kWait, pair.near.get(), POLLOUT);
    ASSERT_TRUE(completes(before));
    fill(pair.near.get());
    settle();
    // Acknowledgements may have made room.
    fill(pair.near.get());

    NotingHandler handler;
    engine_->wait(handler, kWait, pair.near.get(), POLLOUT);
    settle();
    EXPECT_TRUE(handler.notes.empty());
    drain(pair.far.get());
    EXPECT_TRUE(completes(handler));
    EXPECT_EQ(handler.last(kWait).result, POLLOUT);
    engine_->close(std::move(pair.near));
  }
}

TEST_P(EngineWaitTest, SocketThatRefusedToSendBecomesWritable) {
  const SocketPair pair = tcp_pair();
  NotingHandler handler;
  // So that the engine knows the descriptor.
  engine_->receive(handler, kReceive, pair.near.get(), BufferSize::small, Repeat::until_stopped);
  settle();
  std::string chunk(1 << 20, 'x');
  const iovec piece{chunk.data(), chunk.size()};
  for (int round = 0; round < 3; ++round) {
    ssize_t sent = 0;
    std::size_t total = 0;
    while ((sent = engine_->send(pair.near.get(), {&piece, 1})) >= 0) {
      total += static_cast<std::size_t>(sent);
    }
    EXPECT_EQ(sent, -EAGAIN);
    EXPECT_GT(total, 0U);
    handler.notes.clear();
    engine_->wait(handler, kWait, pair.near.get(), POLLOUT);
    while (handler.ended(kWait) == 0) {
      const bool drained = drain(pair.far.get()) == 0;
      ASSERT_TRUE(!drained || completes(handler));
      engine_->turn(engine_->now());
    }
    EXPECT_EQ(handler.last(kWait).result, POLLOUT);
  }
  engine_->stop();
}

TEST_P(EngineWaitTest, WaitForNothingLearnsOfAResetOnly) {
  SocketPair pair = tcp_pair();
  NotingHandler handler;
  engine_->wait(handler, kWait, pair.near.get(), 0);
  settle();
  send_text(pair.far.get(), "bytes");
  settle();
  ASSERT_EQ(::shutdown(pair.far.get(), SHUT_WR), 0);
  settle();
  EXPECT_TRUE(handler.notes.empty());
  reset(pair.far);
  EXPECT_TRUE(completes(handler));
  EXPECT_NE(handler.last(kWait).result & (POLLERR | POLLHUP), 0);
}

// io_uring ends any poll request at the peer's FIN. A writer that waited so would spin.
TEST_P(EngineWaitTest, FinOfThePeerDoesNotEndAWaitForRoom) {
  const SocketPair pair = tcp_pair();
  NotingHandler handler;
  fill(pair.near.get());
  settle();
  fill(pair.near.get());
  ASSERT_EQ(::shutdown(pair.far.get(), SHUT_WR), 0);
  engine_->wait(handler, kWait, pair.near.get(), POLLOUT);
  settle();
  EXPECT_TRUE(handler.notes.empty());
  drain(pair.far.get());
  EXPECT_TRUE(completes(handler));
  EXPECT_EQ(handler.last(kWait).result, POLLOUT);
  settle();
  EXPECT_EQ(handler.notes.size(), 1U);

  // The same descriptor and tag again.
  NotingHandler again;
  engine_->wait(again, kWait, pair.near.get(), POLLOUT);
  EXPECT_TRUE(completes(again));
  EXPECT_EQ(again.last(kWait).result, POLLOUT);
}

TEST_P(EngineWaitTest, WaitAfterTheFinLearnsOfTheResetAndCanBeCancelled) {
  SocketPair pair = tcp_pair();
  ASSERT_EQ(::shutdown(pair.far.get(), SHUT_WR), 0);
  for (int i = 0; i < 4; ++i) {
    NotingHandler cancelled;
    engine_->wait(cancelled, kWait, pair.near.get(), 0);
    // Cancelled at every stage.
    for (int turns = 0; turns < i; ++turns) engine_->turn(engine_->now());
    EXPECT_TRUE(cancelled.notes.empty());
    engine_->cancel(cancelled, kWait);
    EXPECT_TRUE(completes(cancelled));
    EXPECT_EQ(cancelled.last(kWait).result, -ECANCELED);
    settle();
    EXPECT_EQ(cancelled.notes.size(), 1U);
  }
  NotingHandler handler;
  engine_->wait(handler, kWait, pair.near.get(), 0);
  settle();
  EXPECT_TRUE(handler.notes.empty());
  reset(pair.far);
  EXPECT_TRUE(completes(handler));
  EXPECT_NE(handler.last(kWait).result & (POLLERR | POLLHUP), 0);
  settle();
  EXPECT_EQ(handler.notes.size(), 1U);
}

TEST_P(EngineWaitTest, ResetBeforeTheWaitIsTold) {
  SocketPair pair = tcp_pair();
  NotingHandler handler;
  engine_->wait(handler, kOtherWait, pair.near.get(), POLLOUT);
  ASSERT_TRUE(completes(handler, kOtherWait));
  reset(pair.far);
  settle();
  engine_->wait(handler, kWait, pair.near.get(), 0);
  EXPECT_TRUE(completes(handler));
  EXPECT_NE(handler.last(kWait).result & (POLLERR | POLLHUP), 0);
}

TEST_P(EngineWaitTest, EndOfTheStreamIsReadable) {
  SocketPair pair = tcp_pair();
  NotingHandler handler;
  engine_->wait(handler, kWait, pair.near.get(), POLLIN);
  settle();
  pair.far.reset();
  EXPECT_TRUE(completes(handler));
  EXPECT_NE(handler.last(kWait).result & POLLIN, 0);
}

TEST_P(EngineWaitTest, SeveralWaitsOnOneDescriptor) {
  const SocketPair pair = tcp_pair();
  NotingHandler handler;
  NotingHandler other;
  fill(pair.near.get());
  settle();
  fill(pair.near.get());
  engine_->wait(handler, kWait, pair.near.get(), POLLIN);
  engine_->wait(handler, kOtherWait, pair.near.get(), POLLOUT);
  engine_->wait(other, kWait, pair.near.get(), 0);
  settle();
  EXPECT_TRUE(handler.notes.empty());
  send_text(pair.far.get(), "in");
  EXPECT_TRUE(completes(handler));
  EXPECT_EQ(handler.ended(kOtherWait), 0);
  drain(pair.far.get());
  EXPECT_TRUE(completes(handler, kOtherWait));
  EXPECT_TRUE(other.notes.empty());
  engine_->cancel(other, kWait);
  EXPECT_TRUE(completes(other));
  EXPECT_EQ(other.last(kWait).result, -ECANCELED);
}

TEST_P(EngineWaitTest, ManyWaitsInOneTurn) {
  std::vector<SocketPair> pairs;
  std::vector<std::unique_ptr<NotingHandler>> handlers;
  for (std::size_t i = 0; i < 200; ++i) {
    pairs.push_back(unix_pair());
    handlers.push_back(std::make_unique<NotingHandler>());
    engine_->wait(*handlers[i], kOtherWait, pairs[i].near.get(), POLLOUT);
  }
  for (const auto& handler : handlers) EXPECT_TRUE(completes(*handler, kOtherWait));
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    send_text(pairs[i].far.get(), "x");
    engine_->wait(*handlers[i], kWait, pairs[i].near.get(), POLLIN);
  }
  for (const auto& handler : handlers) EXPECT_TRUE(completes(*handler));
}

TEST_P(EngineWaitTest, DatagramsAreWaitedForAgainAndAgain) {
  FileDescriptor server(engine_->open_socket(AF_INET, SOCK_DGRAM, 0));
  const SocketAddress any_port({IpAddress::loopback(Family::v4), 0});
  ASSERT_EQ(::bind(server.get(), any_port.get(), any_port.size()), 0);
  const FileDescriptor client(engine_->open_socket(AF_INET, SOCK_DGRAM, 0));
  ASSERT_EQ(engine_->connect_datagram(client.get(), local_address(server.get())), 0);

  std::array<char, 64> space{};
  iovec piece{space.data(), space.size()};
  for (int i = 0; i < 50; ++i) {
    NotingHandler handler;
    engine_->wait(handler, kWait, server.get(), POLLIN);
    send_text(client.get(), "datagram");
    ASSERT_TRUE(completes(handler)) << i;
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    EXPECT_EQ(engine_->receive_message(server.get(), message, 0), 8);
    // Every other time the engine sees for itself that there is no more.
    if (i % 2 == 0) {
      EXPECT_EQ(engine_->receive_message(server.get(), message, 0), -EAGAIN);
    }
  }
  engine_->close(std::move(server));
}

TEST_P(EngineWaitTest, CancelledWaitEndsOnce) {
  const SocketPair pair = tcp_pair();
  NotingHandler handler;
  engine_->wait(handler, kWait, pair.near.get(), POLLIN);
  settle();
  engine_->cancel(handler, kWait);
  engine_->cancel(handler, kWait);
  EXPECT_TRUE(completes(handler));
  EXPECT_EQ(handler.last(kWait).result, -ECANCELED);
  send_text(pair.far.get(), "late");
  settle();
  EXPECT_EQ(handler.notes.size(), 1U);

  // Cancelled at once, before anybody looked.
  engine_->wait(handler, kWait, pair.near.get(), POLLIN);
  engine_->cancel(handler, kWait);
  EXPECT_TRUE(turn_until([&] { return handler.ended(kWait) == 2; }));
  settle();
  EXPECT_EQ(handler.notes.size(), 2U);
}

TEST_P(EngineWaitTest, DescriptorThatCannotBePolledEndsTheWait) {
  const FileDescriptor file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  NotingHandler handler;
  engine_->wait(handler, kWait, file.get(), POLLIN);
  EXPECT_TRUE(handler.notes.empty());
  EXPECT_TRUE(completes(handler));
  // epoll refuses a regular file; io_uring says it is always ready.
  const int result = handler.last(kWait).result;
  EXPECT_TRUE(result == -EPERM || result == POLLIN) << result;
}

}  // namespace
}  // namespace fairlead
