// What engines promise of receive and the buffers it lends.

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <deque>

#include "tests/unit/engine_fixture.h"

namespace fairlead {
namespace {

constexpr Tag kReceive = 2;

class EngineReceiveTest : public EngineTest {
 protected:
  /// Sends one byte after the other until all small buffers are lent. Returns what was received.
  std::string exhaust_buffers(NotingHandler& handler, const SocketPair& pair) {
    handler.keep_leases = true;
    receive_all(handler, kReceive, pair.near.get());
    std::string sent;
    for (std::size_t before = 0; sent.size() < 4096; before = handler.leases.size()) {
      sent += static_cast<char>('a' + sent.size() % 26);
      send_text(pair.far.get(), std::string_view(sent).substr(sent.size() - 1));
      for (int i = 0; i < 3 && handler.leases.size() == before; ++i) {
        engine_->turn(engine_->now() + (i == 0 ? 0 : 20));
      }
      if (handler.leases.size() == before) return sent;
    }
    ADD_FAILURE() << "buffers never ran out";
    return sent;
  }

  /// Starts receives for which nothing comes. The engine has to be stopped at the end.
  void start_idle_receives(std::size_t count, Repeat repeat) {
    for (std::size_t i = 0; i < count; ++i) {
      idle_.push_back(unix_pair());
      engine_->receive(idle_handlers_.emplace_back(), kReceive, idle_.back().near.get(),
                       BufferSize::small, repeat);
    }
  }

 private:
  std::vector<SocketPair> idle_;
  std::deque<NotingHandler> idle_handlers_;
};
FAIRLEAD_FOR_EVERY_ENGINE(EngineReceiveTest);

TEST_P(EngineReceiveTest, GoesOnUntilTheEndOfTheStream) {
  SocketPair pair = tcp_pair();
  NotingHandler handler;
  engine_->receive(handler, kReceive, pair.near.get(), BufferSize::small, Repeat::until_stopped);
  settle();
  EXPECT_TRUE(handler.notes.empty());
  send_text(pair.far.get(), "one");
  EXPECT_TRUE(turn_until([&] { return handler.received() == "one"; }));
  EXPECT_TRUE(handler.last(kReceive).more);
  settle();
  send_text(pair.far.get(), "two");
  EXPECT_TRUE(turn_until([&] { return handler.received() == "onetwo"; }));
  settle();
  pair.far.reset();
  EXPECT_TRUE(turn_until([&] { return handler.ended(kReceive) == 1; }));
  EXPECT_EQ(handler.last(kReceive).result, 0);
}

TEST_P(EngineReceiveTest, OnceEndsWithTheFirstBytesAndTheNextGetsTheRest) {
  const SocketPair pair = tcp_pair();
  send_text(pair.far.get(), std::string(kSmallBufferBytes, 'a') + "rest");
  NotingHandler handler;
  engine_->receive(handler, kReceive, pair.near.get(), BufferSize::small, Repeat::once);
  EXPECT_TRUE(handler.notes.empty());
  EXPECT_TRUE(turn_until([&] { return handler.ended(kReceive) == 1; }));
  EXPECT_EQ(handler.last(kReceive).result, static_cast<int>(kSmallBufferBytes));
  settle();
  EXPECT_EQ(handler.notes.size(), 1U);

  engine_->receive(handler, kReceive, pair.near.get(), BufferSize::large, Repeat::once);
  EXPECT_TRUE(turn_until([&] { return handler.ended(kReceive) == 2; }));
  EXPECT_EQ(handler.last(kReceive).bytes, "rest");
}

TEST_P(EngineReceiveTest, LargeBufferTakesAllAtOnce) {
  const SocketPair pair = tcp_pair();
  const std::string sent(100'000, 'b');
  ASSERT_GT(fill(pair.far.get()), sent.size());
  // Lets the loopback deliver it all.
  while (::recv(pair.near.get(), nullptr, 0, MSG_DONTWAIT | MSG_TRUNC) < 0) {
  }
  NotingHandler handler;
  engine_->receive(handler, kReceive, pair.near.get(), BufferSize::large, Repeat::once);
  EXPECT_TRUE(turn_until([&] { return handler.ended(kReceive) == 1; }));
  EXPECT_GT(handler.last(kReceive).result, static_cast<int>(kSmallBufferBytes));
}

TEST_P(EngineReceiveTest, BytesBeforeTheEndAreDelivered) {
  SocketPair pair = tcp_pair();
  const std::string sent(3 * kSmallBufferBytes + 17, 'c');
  send_text(pair.far.get(), sent);
  pair.far.reset();
  NotingHandler handler;
  engine_->receive(handler, kReceive, pair.near.get(), BufferSize::small, Repeat::until_stopped);
  EXPECT_TRUE(turn_until([&] { return handler.ended(kReceive) == 1; }));
  EXPECT_EQ(handler.last(kReceive).result, 0);
  EXPECT_EQ(handler.received(), sent);
}

TEST_P(EngineReceiveTest, BytesBeforeAResetAreDelivered) {
  SocketPair pair = tcp_pair();
  const std::string sent(2 * kSmallBufferBytes + 5, 'd');
  send_text(pair.far.get(), sent);
  // The kernel drops what it has not sent when a socket is reset.
  std::string space(sent.size(), '\0');
  while (::recv(pair.near.get(), space.data(), space.size(), MSG_PEEK) < std::ssize(space)) {
  }
  reset(pair.far);
  NotingHandler handler;
  engine_->receive(handler, kReceive, pair.near.get(), BufferSize::small, Repeat::until_stopped);
  EXPECT_TRUE(turn_until([&] { return handler.ended(kReceive) == 1; }));
  EXPECT_EQ(handler.last(kReceive).result, -ECONNRESET);
  EXPECT_EQ(handler.received(), sent);
}

TEST_P(EngineReceiveTest, ResetOfAnIdleConnectionIsToldAsReset) {
  SocketPair pair = tcp_pair();
  NotingHandler handler;
  engine_->receive(handler, kReceive, pair.near.get(), BufferSize::small, Repeat::until_stopped);
  settle();
  reset(pair.far);
  EXPECT_TRUE(turn_until([&] { return handler.ended(kReceive) == 1; }));
  EXPECT_EQ(handler.last(kReceive).result, -ECONNRESET);
  EXPECT_EQ(handler.notes.size(), 1U);
}

// A receive stops at the urgent mark without having filled its buffer, and no edge tells of what
// is behind the mark.
TEST_P(EngineReceiveTest, BytesAfterUrgentDataAreDelivered) {
  const SocketPair pair = tcp_pair();
  NotingHandler handler;
  send_text(pair.far.get(), "before");
  ASSERT_EQ(::send(pair.far.get(), "!", 1, MSG_OOB), 1);
  send_text(pair.far.get(), "after");
  engine_->receive(handler, kReceive, pair.near.get(), BufferSize::small, Repeat::until_stopped);
  EXPECT_TRUE(turn_until([&] { return handler.received() == "beforeafter"; }));
  engine_->stop();
}

TEST_P(EngineReceiveTest, CancelledReceiveEndsOnce) {
  const SocketPair pair = tcp_pair();
  NotingHandler handler;
  engine_->receive(handler, kReceive, pair.near.get(), BufferSize::small, Repeat::until_stopped);
  settle();
  engine_->cancel(handler, kReceive);
  engine_->cancel(handler, kReceive);
  EXPECT_TRUE(handler.notes.empty());
  EXPECT_TRUE(turn_until([&] { return handler.ended(kReceive) == 1; }));
  EXPECT_EQ(handler.last(kReceive).result, -ECANCELED);
  engine_->cancel(handler, kReceive);
  settle();
  EXPECT_EQ(handler.notes.size(), 1U);

  // Bytes that come later are for the next receive.
  send_text(pair.far.get(), "later");
  settle();
  engine_->receive(handler, kReceive, pair.near.get(), BufferSize::small, Repeat::once);
  EXPECT_TRUE(turn_until([&] { return handler.received() == "later"; }));
}

TEST_P(EngineReceiveTest, ReceiveCancelledWhileBytesArriveLosesNone) {
  for (int i = 0; i < 20; ++i) {
    SocketPair pair = tcp_pair();
    NotingHandler handler;
    engine_->receive(handler, kReceive, pair.near.get(), BufferSize::small, Repeat::until_stopped);
    if (i % 2 == 0) settle();
    send_text(pair.far.get(), "bytes");
    engine_->cancel(handler, kReceive);
    EXPECT_TRUE(turn_until([&] { return handler.ended(kReceive) == 1; }));
    if (handler.received().empty()) {
      EXPECT_EQ(handler.last(kReceive).result, -ECANCELED);
      engine_->receive(handler, kReceive, pair.near.get(), BufferSize::small, Repeat::once);
      EXPECT_TRUE(turn_until([&] { return handler.ended(kReceive) == 2; }));
    }
    EXPECT_EQ(handler.received(), "bytes");
    engine_->close(std::move(pair.near));
  }
}

TEST_P(EngineReceiveTest, HandlerMayCancelItsOwnReceive) {
  const SocketPair pair = tcp_pair();
  NotingHandler handler;
  handler.when_completed = [&](const NotingHandler::Note& note) {
    if (note.more) engine_->cancel(handler, kReceive);
  };
  send_text(pair.far.get(), std::string(4 * kSmallBufferBytes, 'e'));
  engine_->receive(handler, kReceive, pair.near.get(), BufferSize::small, Repeat::until_stopped);
  EXPECT_TRUE(turn_until([&] { return handler.ended(kReceive) == 1; }));
  settle();
  EXPECT_EQ(handler.ended(kReceive), 1);
  // Nothing is lost: what was not delivered is still in the socket.
  EXPECT_EQ(handler.received().size() + drain(pair.near.get()), 4 * kSmallBufferBytes);
}

TEST_P(EngineReceiveTest, ResumesInOrderWhenBuffersComeBack) {
  const SocketPair pair = unix_pair();
  NotingHandler handler;
  const std::string sent = exhaust_buffers(handler, pair);
  EXPECT_TRUE(engine_->buffers_scarce(BufferSize::small));
  EXPECT_FALSE(engine_->buffers_scarce(BufferSize::large));
  EXPECT_LT(handler.received().size(), sent.size());

  handler.keep_leases = false;
  handler.leases.pop_back();
  EXPECT_TRUE(turn_until([&] { return handler.received() == sent; }));
  handler.leases.clear();
  EXPECT_FALSE(engine_->buffers_scarce(BufferSize::small));
  engine_->stop();
}

TEST_P(EngineReceiveTest, OneSizeOfBufferDoesNotHoldUpTheOther) {
  const SocketPair pair = unix_pair();
  const SocketPair bulk = unix_pair();
  NotingHandler handler;
  NotingHandler bulk_handler;
  exhaust_buffers(handler, pair);
  send_text(bulk.far.get(), "bulk");
  engine_->receive(bulk_handler, kReceive, bulk.near.get(), BufferSize::large, Repeat::once);
  EXPECT_TRUE(turn_until([&] { return bulk_handler.received() == "bulk"; }));
  engine_->stop();
  handler.leases.clear();
}

TEST_P(EngineReceiveTest, ReceivesWaitingForABufferAreServedInOrder) {
  const SocketPair greedy = unix_pair();
  NotingHandler greedy_handler;
  exhaust_buffers(greedy_handler, greedy);

  constexpr std::size_t kWaiting = 5;
  std::vector<SocketPair> pairs;
  std::vector<std::size_t> served;
  std::array<NotingHandler, kWaiting> handlers;
  for (std::size_t i = 0; i < kWaiting; ++i) {
    pairs.push_back(unix_pair());
    send_text(pairs[i].far.get(), "x");
    receive_all(handlers[i], kReceive, pairs[i].near.get());
    const auto receive_again = handlers[i].when_completed;
    handlers[i].keep_leases = true;
    handlers[i].when_completed = [&served, receive_again, i](const NotingHandler::Note& note) {
      if (note.result > 0) served.push_back(i);
      receive_again(note);
    };
    settle();
  }
  EXPECT_TRUE(served.empty());
  // The greedy one waits, too, and is first. Each lease that comes back serves one.
  for (std::size_t i = 0; i < kWaiting; ++i) {
    greedy_handler.leases.pop_back();
    if (i == 0) greedy_handler.leases.pop_back();
    EXPECT_TRUE(turn_until([&] { return served.size() == i + 1; })) << i;
    settle();
  }
  EXPECT_EQ(served, (std::vector<std::size_t>{0, 1, 2, 3, 4}));
  engine_->stop();
  greedy_handler.leases.clear();
  for (NotingHandler& handler : handlers) handler.leases.clear();
}

// A crowd stood still: the first in line had got the buffers that were free and had nothing to
// receive, so no turn came in which the others would have got their chance.
TEST_P(EngineReceiveTest, WhoHasNothingToReceiveDoesNotHoldUpWhoHas) {
  constexpr TimeMs kTooLongMs = 10'000;
  const SocketPair greedy = unix_pair();
  NotingHandler greedy_handler;
  exhaust_buffers(greedy_handler, greedy);
  // So that it is not in line itself.
  engine_->cancel(greedy_handler, kReceive);
  greedy_handler.when_completed = {};
  settle();

  start_idle_receives(20, Repeat::until_stopped);
  const SocketPair pair = unix_pair();
  NotingHandler handler;
  send_text(pair.far.get(), "x");
  receive_all(handler, kReceive, pair.near.get());
  settle();
  EXPECT_TRUE(handler.received().empty());

  greedy_handler.leases.pop_back();
  const TimeMs start = engine_->now();
  for (int turns = 0; handler.received().empty() && turns < 100; ++turns) {
    engine_->turn(start + kTooLongMs);
  }
  EXPECT_EQ(handler.received(), "x");
  EXPECT_LT(engine_->now() - start, kTooLongMs);
  engine_->stop();
  greedy_handler.leases.clear();
}

TEST_P(EngineReceiveTest, ReceiveWaitingForABufferCanBeCancelled) {
  const SocketPair greedy = unix_pair();
  const SocketPair pair = unix_pair();
  NotingHandler greedy_handler;
  NotingHandler handler;
  exhaust_buffers(greedy_handler, greedy);
  send_text(pair.far.get(), "x");
  receive_all(handler, kReceive, pair.near.get());
  settle();
  handler.when_completed = {};
  handler.notes.clear();
  engine_->cancel(handler, kReceive);
  EXPECT_TRUE(turn_until([&] { return handler.ended(kReceive) == 1; }));
  EXPECT_EQ(handler.last(kReceive).result, -ECANCELED);
  engine_->stop();
  greedy_handler.leases.clear();
}

TEST_P(EngineReceiveTest, MemoryOfBuffersIsKeptWhileAnyIsLent) {
  const SocketPair pair = tcp_pair();
  NotingHandler handler;
  handler.keep_leases = true;
  engine_->release_buffers();
  engine_->receive(handler, kReceive, pair.near.get(), BufferSize::small, Repeat::until_stopped);
  send_text(pair.far.get(), "kept");
  ASSERT_TRUE(turn_until([&] { return !handler.leases.empty(); }));
  engine_->release_buffers();
  const std::span<std::byte> bytes = handler.leases[0].bytes();
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()), "kept");

  handler.leases.clear();
  engine_->release_buffers();
  send_text(pair.far.get(), "again");
  EXPECT_TRUE(turn_until([&] { return handler.received() == "keptagain"; }));
  engine_->stop();
  handler.leases.clear();
}

TEST_P(EngineReceiveTest, MemoryOfBuffersIsKeptWhileWhatTheyHoldIsUntold) {
  const SocketPair pair = unix_pair();
  NotingHandler handler;
  send_text(pair.far.get(), "kept");
  engine_->receive(handler, kReceive, pair.near.get(), BufferSize::small, Repeat::once);
  // More than one submission takes, so that the kernel is entered before the turn.
  start_idle_receives(200, Repeat::once);
  engine_->release_buffers();
  ASSERT_TRUE(turn_until([&] { return handler.ended(kReceive) == 1; }));
  EXPECT_EQ(handler.received(), "kept");
  engine_->stop();
}

TEST_P(EngineReceiveTest, AFastSenderDoesNotHoldUpAnother) {
  const SocketPair fast = tcp_pair();
  const SocketPair slow = tcp_pair();
  std::size_t fast_bytes = 0;
  std::size_t fast_bytes_when_slow_was_served = 0;
  NotingHandler fast_handler;
  NotingHandler slow_handler;
  // Refilled as it is read, so that it always has more.
  fast_handler.when_completed = [&](const NotingHandler::Note& note) {
    fast_bytes += note.bytes.size();
    if (!note.more && (note.result > 0 || note.result == -ENOBUFS)) {
      engine_->receive(fast_handler, kReceive, fast.near.get(), BufferSize::small,
                       Repeat::until_stopped);
    }
    fill(fast.far.get());
  };
  slow_handler.when_completed = [&](const NotingHandler::Note& note) {
    fast_bytes_when_slow_was_served = fast_bytes;
    if (note.result == -ENOBUFS) {
      engine_->receive(slow_handler, kReceive, slow.near.get(), BufferSize::small,
                       Repeat::until_stopped);
    }
  };
  fill(fast.far.get());
  engine_->receive(fast_handler, kReceive, fast.near.get(), BufferSize::small,
                   Repeat::until_stopped);
  ASSERT_TRUE(turn_until([&] { return fast_bytes > 1'000'000; }));
  const std::size_t fast_bytes_before = fast_bytes;
  send_text(slow.far.get(), "me too");
  engine_->receive(slow_handler, kReceive, slow.near.get(), BufferSize::small,
                   Repeat::until_stopped);
  EXPECT_TRUE(turn_until([&] { return slow_handler.received() == "me too"; }));
  EXPECT_LT(fast_bytes_when_slow_was_served - fast_bytes_before, 64U * 1024 * 1024);
  engine_->stop();
}

TEST_P(EngineReceiveTest, WhatIsNoSocketIsAnError) {
  const FileDescriptor null_device(::open("/dev/null", O_RDWR | O_CLOEXEC));
  NotingHandler handler;
  engine_->receive(handler, kReceive, null_device.get(), BufferSize::small, Repeat::until_stopped);
  EXPECT_TRUE(handler.notes.empty());
  EXPECT_TRUE(turn_until([&] { return handler.ended(kReceive) == 1; }));
  EXPECT_LT(handler.last(kReceive).result, 0);

  engine_->receive(handler, kReceive, -1, BufferSize::small, Repeat::once);
  EXPECT_TRUE(turn_until([&] { return handler.ended(kReceive) == 2; }));
  EXPECT_EQ(handler.last(kReceive).result, -EBADF);
}

TEST_P(EngineReceiveTest, ServesAThousandDescriptors) {
  constexpr std::size_t kPairs = 500;
  std::vector<SocketPair> pairs;
  std::vector<std::unique_ptr<NotingHandler>> handlers;
  for (std::size_t i = 0; i < kPairs; ++i) {
    pairs.push_back(unix_pair());
    for (const FileDescriptor* fd : {&pairs[i].near, &pairs[i].far}) {
      handlers.push_back(std::make_unique<NotingHandler>());
      receive_all(*handlers.back(), kReceive, fd->get());
    }
  }
  for (int round = 1; round <= 3; ++round) {
    for (const SocketPair& pair : pairs) {
      send_text(pair.near.get(), "to far");
      send_text(pair.far.get(), "to near");
    }
    EXPECT_TRUE(turn_until([&] {
      return std::ranges::all_of(handlers, [&](const auto& handler) {
        return handler->received().size() >= 6U * static_cast<std::size_t>(round);
      });
    }));
  }
  for (std::size_t i = 0; i < kPairs; ++i) {
    EXPECT_EQ(handlers[2 * i]->received(), "to nearto nearto near");
    EXPECT_EQ(handlers[2 * i + 1]->received(), "to farto farto far");
  }
  engine_->stop();
}

}  // namespace
}  // namespace fairlead
