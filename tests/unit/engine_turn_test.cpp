// What engines promise of turns: time, signals, deferred calls, closing and stopping.

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <limits>
#include <string>
#include <thread>

#include "tests/unit/engine_fixture.h"

namespace fairlead {
namespace {

constexpr Tag kAccept = 0;
constexpr Tag kConnect = 1;
constexpr Tag kReceive = 2;
constexpr Tag kWait = 3;

TimeMs monotonic_ms() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return TimeMs{time.tv_sec} * 1000 + time.tv_nsec / 1'000'000;
}

class EngineTurnTest : public EngineTest {
 protected:
  /// Whether nothing wakes a turn. The kernel's end of an earlier test's ring may, once.
  bool sleeps() {
    for (int attempt = 0; attempt < 3; ++attempt) {
      const TimeMs wake_at = monotonic_ms() + 100;
      engine_->turn(wake_at);
      if (monotonic_ms() >= wake_at) return true;
    }
    return false;
  }
};
FAIRLEAD_FOR_EVERY_ENGINE(EngineTurnTest);

TEST_P(EngineTurnTest, WakesUpAtTheTimeAsked) {
  const TimeMs wake_at = monotonic_ms() + 60;
  // More than one turn only if something interrupts, such as the kernel's end of an earlier ring.
  for (int i = 0; i < 5 && engine_->now() < wake_at; ++i) engine_->turn(wake_at);
  EXPECT_GE(engine_->now(), wake_at);
  EXPECT_LT(engine_->now(), wake_at + 1'000);

  // A busy machine may hold up some of these, but not all.
  TimeMs least_ms = std::numeric_limits<TimeMs>::max();
  for (int i = 0; i < 10; ++i) {
    const TimeMs before = monotonic_ms();
    engine_->turn(wake_at);
    engine_->turn(0);
    least_ms = std::min(least_ms, monotonic_ms() - before);
  }
  EXPECT_LT(least_ms, 50);
}

TEST_P(EngineTurnTest, IdleConnectionsWakeNobody) {
  const SocketPair pair = tcp_pair();
  const FileDescriptor listener = listening_socket();
  NotingHandler handler;
  engine_->accept(handler, kAccept, listener.get(), Repeat::until_stopped);
  engine_->receive(handler, kReceive, pair.near.get(), BufferSize::small, Repeat::until_stopped);
  engine_->wait(handler, kWait, pair.near.get(), 0);
  send_text(pair.far.get(), "bytes");
  ASSERT_TRUE(turn_until([&] { return handler.received() == "bytes"; }));
  settle();
  EXPECT_TRUE(sleeps());
  engine_->stop();
}

// After messages one by one io_uring looks out for the next one before it sleeps.
TEST_P(EngineTurnTest, MessagesOneByOneAreToldAndNothingIsLookedOutForLong) {
  const SocketPair pair = tcp_pair();
  NotingHandler handler;
  receive_all(handler, kReceive, pair.near.get());
  std::string sent;
  for (int i = 0; i < 100; ++i) {
    send_text(pair.far.get(), "message");
    sent += "message";
    ASSERT_TRUE(turn_until([&] { return handler.received() == sent; }));
  }
  const auto processor_ms = [] { return std::clock() * 1000 / CLOCKS_PER_SEC; };
  const auto before_ms = processor_ms();
  EXPECT_TRUE(sleeps());
  EXPECT_LT(processor_ms() - before_ms, 50);
  send_text(pair.far.get(), "after it");
  EXPECT_TRUE(turn_until([&] { return handler.received() == sent + "after it"; }));
  engine_->stop();
}

// A sent datagram leaves the send buffer when it is received; nobody wants to know.
TEST_P(EngineTurnTest, SentDatagramsWakeNobody) {
  const FileDescriptor server(engine_->open_socket(AF_INET, SOCK_DGRAM, 0));
  const SocketAddress any_port({IpAddress::loopback(Family::v4), 0});
  ASSERT_EQ(::bind(server.get(), any_port.get(), any_port.size()), 0);
  const FileDescriptor client(engine_->open_socket(AF_INET, SOCK_DGRAM, 0));
  ASSERT_EQ(engine_->connect_datagram(client.get(), local_address(server.get())), 0);
  NotingHandler handler;
  engine_->wait(handler, kWait, client.get(), POLLIN);
  settle();
  send_text(client.get(), "datagram");
  ASSERT_EQ(drain(server.get()), 8U);
  EXPECT_TRUE(sleeps());
  EXPECT_TRUE(handler.notes.empty());
  engine_->stop();
}

volatile std::sig_atomic_t alarms = 0;

TEST_P(EngineTurnTest, ReturnsEarlyOnASignal) {
  alarms = 0;
  struct sigaction action{};
  struct sigaction before{};
  action.sa_handler = [](int) { alarms = 1; };
  ASSERT_EQ(::sigaction(SIGALRM, &action, &before), 0);
  const itimerval soon{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_usec = 50'000}};
  ASSERT_EQ(::setitimer(ITIMER_REAL, &soon, nullptr), 0);
  const TimeMs started = monotonic_ms();
  for (int i = 0; i < 5 && alarms == 0; ++i) engine_->turn(started + 10'000);
  EXPECT_EQ(alarms, 1);
  EXPECT_LT(monotonic_ms() - started, 5'000);
  const itimerval never{};
  ASSERT_EQ(::setitimer(ITIMER_REAL, &never, nullptr), 0);
  ASSERT_EQ(::sigaction(SIGALRM, &before, nullptr), 0);
}

TEST_P(EngineTurnTest, DeferredCallsComeAfterCompletionsInOrderAndOnce) {
  const SocketPair pair = tcp_pair();
  std::string order;
  NotingHandler first;
  NotingHandler second;
  NotingHandler receiver;
  first.when_deferred = [&] { order += '1'; };
  second.when_deferred = [&] { order += '2'; };
  receiver.when_completed = [&](const NotingHandler::Note&) {
    engine_->defer(second);
    engine_->defer(first);
    engine_->defer(second);
    order += 'c';
  };
  send_text(pair.far.get(), "bytes");
  engine_->receive(receiver, kReceive, pair.near.get(), BufferSize::small, Repeat::once);
  ASSERT_TRUE(turn_until([&] { return receiver.ended(kReceive) == 1; }));
  EXPECT_EQ(order, "c21");

  // Outside a turn: at the end of the next, which does not wait.
  engine_->defer(first);
  EXPECT_EQ(order, "c21");
  const TimeMs before = monotonic_ms();
  engine_->turn(before + 10'000);
  EXPECT_EQ(order, "c211");
  EXPECT_LT(monotonic_ms() - before, 5'000);
}

TEST_P(EngineTurnTest, DeferringWhileDeferredIsForTheNextTurn) {
  int calls = 0;
  NotingHandler handler;
  handler.when_deferred = [&] {
    if (++calls < 3) engine_->defer(handler);
  };
  engine_->defer(handler);
  for (int turns = 1; turns <= 3; ++turns) {
    const TimeMs before = monotonic_ms();
    engine_->turn(before + 10'000);
    EXPECT_EQ(calls, turns);
    EXPECT_LT(monotonic_ms() - before, 5'000);
  }
}

TEST_P(EngineTurnTest, WhatTakesLongLetsCompletionsComeBetween) {
  const SocketPair pair = tcp_pair();
  std::string order;
  NotingHandler first;
  NotingHandler second;
  NotingHandler message;
  first.when_deferred = [&] {
    order += '1';
    send_text(pair.far.get(), "bytes");
    std::this_thread::sleep_for(2 * Engine::kLongTurn);
  };
  second.when_deferred = [&] { order += '2'; };
  message.when_completed = [&](const NotingHandler::Note&) {
    order += 'c';
    engine_->defer(message);
  };
  message.when_deferred = [&] { order += 'm'; };
  engine_->receive(message, kReceive, pair.near.get(), BufferSize::small, Repeat::once);
  engine_->turn(engine_->now());

  engine_->defer_long(first);
  engine_->defer_long(second);
  const TimeMs before = monotonic_ms();
  engine_->turn(before + 10'000);
  EXPECT_EQ(order, "1");
  engine_->turn(before + 10'000);
  EXPECT_EQ(order, "1cm2");
  EXPECT_LT(monotonic_ms() - before, 5'000);
}

TEST_P(EngineTurnTest, WhatTakesLongKeepsItsOrder) {
  std::string order;
  NotingHandler first;
  NotingHandler second;
  first.when_deferred = [&] {
    order += '1';
    std::this_thread::sleep_for(2 * Engine::kLongTurn);
    if (order.size() < 6) engine_->defer_long(first);
  };
  second.when_deferred = [&] {
    order += '2';
    std::this_thread::sleep_for(2 * Engine::kLongTurn);
    if (order.size() < 6) engine_->defer_long(second);
  };
  engine_->defer_long(first);
  engine_->defer_long(second);
  // Changes nothing: they are waiting already.
  engine_->defer_long(first);
  engine_->defer(second);
  const TimeMs before = monotonic_ms();
  for (std::size_t turns = 1; turns <= 6; ++turns) {
    engine_->turn(before + 10'000);
    EXPECT_EQ(order, std::string("121212").substr(0, turns));
  }
  EXPECT_LT(monotonic_ms() - before, 5'000);
}

TEST_P(EngineTurnTest, ClosedDescriptorsNumberServesAnotherSocket) {
  for (int i = 0; i < 100; ++i) {
    SocketPair old_pair = tcp_pair();
    const int number = old_pair.near.get();
    NotingHandler old_handler;
    engine_->receive(old_handler, kReceive, number, BufferSize::small, Repeat::until_stopped);
    engine_->turn(engine_->now());
    // Bytes for the old socket are on their way while it is closed.
    engine_->cancel(old_handler, kReceive);
    ASSERT_TRUE(turn_until([&] { return old_handler.ended(kReceive) == 1; }));
    send_text(old_pair.far.get(), "for nobody");
    engine_->close(std::move(old_pair.near));

    // Keeps the number free until there is a pair to give it to.
    ASSERT_EQ(::dup2(old_pair.far.get(), number), number);
    FileDescriptor same_number(number);
    SocketPair pair = tcp_pair();
    ASSERT_EQ(::dup2(pair.near.get(), number), number);
    pair.near.reset();
    NotingHandler handler;
    engine_->receive(handler, kReceive, number, BufferSize::small, Repeat::until_stopped);
    if (i % 2 == 0) settle();
    send_text(pair.far.get(), "for me");
    ASSERT_TRUE(turn_until([&] { return !handler.received().empty(); })) << i;
    EXPECT_EQ(handler.received(), "for me");
    EXPECT_TRUE(old_handler.received().empty());
    engine_->cancel(handler, kReceive);
    ASSERT_TRUE(turn_until([&] { return handler.ended(kReceive) == 1; }));
    engine_->close(std::move(same_number));
  }
}

// As a listening socket that a daemon handed over and keeps.
TEST_P(EngineTurnTest, DescriptorHeldElsewhereCanBeClosedAndComeBack) {
  const SocketPair pair = tcp_pair();
  for (int i = 0; i < 3; ++i) {
    FileDescriptor copy(::dup(pair.near.get()));
    NotingHandler handler;
    engine_->wait(handler, kWait, copy.get(), POLLIN);
    settle();
    send_text(pair.far.get(), "x");
    ASSERT_TRUE(turn_until([&] { return handler.ended(kWait) == 1; })) << i;
    engine_->close(std::move(copy));
    EXPECT_EQ(drain(pair.near.get()), 1U);
    send_text(pair.far.get(), "y");
    settle();
    EXPECT_EQ(drain(pair.near.get()), 1U);
    EXPECT_EQ(handler.notes.size(), 1U);
  }
}

TEST_P(EngineTurnTest, StopEndsEverythingAndFreesThePort) {
  const std::size_t descriptors_before = open_descriptors();
  SocketAddress address;
  {
    FileDescriptor listener = listening_socket(0);
    address = local_address(listener.get());
    SocketPair pair = tcp_pair();
    NotingHandler handler;
    handler.accept_tag = kAccept;
    engine_->receive(handler, kReceive, pair.near.get(), BufferSize::small, Repeat::until_stopped);
    engine_->wait(handler, kWait, pair.near.get(), 0);
    // The first fills the backlog, so the second goes on connecting.
    const FileDescriptor first = begin_connection(address);
    FileDescriptor second(engine_->open_socket(AF_INET, SOCK_STREAM, 0));
    engine_->connect(handler, kConnect, second.get(), address);
    settle();
    EXPECT_TRUE(handler.notes.empty());
    engine_->accept(handler, kAccept, listener.get(), Repeat::until_stopped);
    send_text(pair.far.get(), "not delivered");
    engine_->stop();
    EXPECT_TRUE(handler.notes.empty());
  }
  // Nothing is left behind, and nothing holds the port. The listener had no connection of its own
  // accepted, so TIME_WAIT does not keep it, either.
  engine_.reset();
  EXPECT_LE(open_descriptors(), descriptors_before);
  const FileDescriptor again(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int yes = 1;
  ASSERT_EQ(::setsockopt(again.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes), 0);
  EXPECT_EQ(::bind(again.get(), address.get(), address.size()), 0);
  EXPECT_EQ(::listen(again.get(), 1), 0);
}

TEST_P(EngineTurnTest, StopWithConnectionsAcceptedButNotYetToldLeaksNone) {
  const FileDescriptor listener = listening_socket();
  std::vector<FileDescriptor> clients;
  NotingHandler handler;
  handler.accept_tag = kAccept;
  engine_->accept(handler, kAccept, listener.get(), Repeat::until_stopped);
  settle();
  while (clients.size() < 10) clients.push_back(begin_connection(local_address(listener.get())));
  const std::size_t descriptors_before = open_descriptors();
  engine_->stop();
  EXPECT_TRUE(handler.notes.empty());
  EXPECT_LE(open_descriptors(), descriptors_before);
}

TEST_P(EngineTurnTest, SystemCallsTellTheirErrors) {
  const iovec piece{nullptr, 0};
  EXPECT_EQ(engine_->send(-1, {&piece, 1}), -EBADF);
  EXPECT_EQ(engine_->shutdown_write(-1), -EBADF);
  EXPECT_EQ(engine_->splice(-1, -1, 1), -EBADF);
  EXPECT_EQ(engine_->open_socket(-1, SOCK_STREAM, 0), -EAFNOSUPPORT);
  EXPECT_EQ(engine_->set_option(-1, SOL_SOCKET, SO_KEEPALIVE, 1), -EBADF);

  SocketPair pair = tcp_pair();
  pair.far.reset();
  std::string text = "to nobody";
  const iovec text_piece{text.data(), text.size()};
  ssize_t result = 0;
  // The answer to the first is a reset; the second would raise SIGPIPE.
  for (int i = 0; i < 100 && result >= 0; ++i) {
    result = engine_->send(pair.near.get(), {&text_piece, 1});
  }
  EXPECT_TRUE(result == -EPIPE || result == -ECONNRESET) << result;
}

TEST_P(EngineTurnTest, SplicesThroughAPipe) {
  const SocketPair from = tcp_pair();
  const SocketPair to = tcp_pair();
  FileDescriptor read_end;
  FileDescriptor write_end;
  EXPECT_GE(engine_->open_pipe(read_end, write_end, 64 * 1024), 4096);
  EXPECT_EQ(engine_->splice(from.near.get(), write_end.get(), 64UL * 1024), -EAGAIN);
  send_text(from.far.get(), "through");
  ASSERT_EQ(engine_->splice(from.near.get(), write_end.get(), 64UL * 1024), 7);
  ASSERT_EQ(engine_->splice(read_end.get(), to.near.get(), 7), 7);
  EXPECT_EQ(engine_->shutdown_write(to.near.get()), 0);
  EXPECT_EQ(drain(to.far.get()), 7U);
}

}  // namespace
}  // namespace fairlead
