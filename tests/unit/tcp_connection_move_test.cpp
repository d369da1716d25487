// TCP connections that move to another loop.

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "proxy/relay/mailbox.h"
#include "proxy/relay/tcp_relay.h"
#include "tests/unit/tcp_connection_fixture.h"

namespace fairlead {
namespace {

/// A second relay on the same engine, to which the first one's connections move.
class MoveTest : public TcpConnectionTest {
 protected:
  void SetUp() override { ASSERT_TRUE(mailbox_.open()); }

  /// Moves all connections, in whatever state they are.
  void move(ScriptedRelay& from) {
    if (!to_) to_ = std::make_unique<TcpRelay>(from.loop);
    from.loop.tcp.lock()->move_all(mailbox_);
    from.run();
    for (auto& connection : mailbox_.close()) to_->adopt(std::move(connection));
    from.run();
  }
  void stop(ScriptedRelay& from) {
    from.engine.stop();
    to_.reset();
  }

  Mailbox mailbox_;
  std::unique_ptr<TcpRelay> to_;
};

FAIRLEAD_FOR_EVERY_RELAY_MODE(MoveTest);

TEST_P(MoveTest, GoesOnWhereItWas) {
  ScriptedRelay relay(settings());
  Peer& client = relay.connect_through();
  Peer& backend = relay.backend();
  client.to_relay = "before ";
  relay.run();
  move(relay);
  EXPECT_TRUE(relay.loop.tcp.lock()->empty());
  client.to_relay += "after";
  backend.to_relay = "answer";
  client.fin = backend.fin = true;
  relay.run();
  EXPECT_EQ(backend.from_relay, "before after");
  EXPECT_EQ(client.from_relay, "answer");
  EXPECT_TRUE(closed_in_order(client) && closed_in_order(backend));
  EXPECT_EQ(relay.counters().connections_open, 0U);
  stop(relay);
}

TEST_P(MoveTest, TakesStalledBytesAlong) {
  ScriptedRelay relay(settings());
  Peer& client = relay.connect_through();
  Peer& backend = relay.backend();
  backend.room = 10;
  const std::string text(300'000, 'x');
  client.to_relay = text + "end";
  client.fin = true;
  relay.run();
  relay.advance(200);
  move(relay);
  EXPECT_FALSE(backend.got_fin);
  backend.room = ScriptedEngine::kUnlimited;
  relay.run();
  EXPECT_EQ(backend.from_relay, text + "end");
  EXPECT_TRUE(backend.got_fin);
  EXPECT_EQ(relay.shared.stalled_bytes, 0U);
  stop(relay);
}

TEST_P(MoveTest, PassesOnAHalfCloseOfBefore) {
  ScriptedRelay relay(settings());
  Peer& client = relay.connect_through();
  Peer& backend = relay.backend();
  client.fin = true;
  relay.run();
  relay.advance(200);
  move(relay);
  EXPECT_TRUE(backend.got_fin);
  backend.to_relay = "late answer";
  backend.fin = true;
  relay.run();
  EXPECT_EQ(client.from_relay, "late answer");
  EXPECT_TRUE(closed_in_order(client));
  stop(relay);
}

TEST_P(MoveTest, AResetOnTheWayIsPassedOn) {
  ScriptedRelay relay(settings());
  Peer& client = relay.connect_through();
  Peer& backend = relay.backend();
  client.reset();
  relay.loop.tcp.lock()->move_all(mailbox_);
  relay.run();
  to_ = std::make_unique<TcpRelay>(relay.loop);
  for (auto& connection : mailbox_.close()) to_->adopt(std::move(connection));
  relay.run();
  EXPECT_TRUE(backend.got_reset && backend.closed);
  EXPECT_EQ(relay.counters().connections_open, 0U);
  stop(relay);
}

// Bytes that come before the receive has stopped set the deadline again that looks after it.
TEST_P(MoveTest, LeavesNoDeadlineBehind) {
  ScriptedRelay relay(settings());
  Peer& client = relay.connect_through();
  relay.run();
  relay.engine.cancels_late = true;
  client.to_relay = "on the way";
  relay.loop.tcp.lock()->move_all(mailbox_);
  relay.run();
  auto moved = mailbox_.close();
  ASSERT_EQ(moved.size(), 1U);
  relay.advance(1'000);
  to_ = std::make_unique<TcpRelay>(relay.loop);
  to_->adopt(std::move(moved.front()));
  relay.run();
  EXPECT_EQ(relay.backend().from_relay, "on the way");
  stop(relay);
}

TEST_P(MoveTest, ConnectsFirst) {
  ScriptedRelay relay(settings());
  relay.engine.set_connect_result(std::nullopt);
  Peer& client = relay.connect_through();
  Peer& backend = relay.backend();
  client.to_relay = "early";
  move(relay);
  EXPECT_FALSE(relay.loop.tcp.lock()->empty());
  ASSERT_TRUE(mailbox_.open());
  backend.connect_result = 0;
  relay.run();
  EXPECT_TRUE(relay.loop.tcp.lock()->empty()) << "it moves when it is connected";
  for (auto& connection : mailbox_.close()) to_->adopt(std::move(connection));
  relay.run();
  EXPECT_EQ(backend.from_relay, "early");
  stop(relay);
}

TEST_P(MoveTest, StaysWhereTheOtherLoopHasEnded) {
  mailbox_.close();
  ScriptedRelay relay(settings());
  Peer& client = relay.connect_through();
  relay.loop.tcp.lock()->move_all(mailbox_);
  client.to_relay = "hello";
  relay.advance(200);
  EXPECT_EQ(relay.backend().from_relay, "hello");
}

// Bytes are on their way in both directions at each move.
TEST_P(MoveTest, EveryCallMayFail) {
  const auto play = [this](ScriptedRelay& relay) {
    mailbox_.close();
    ASSERT_TRUE(mailbox_.open());
    Peer& client = relay.connect_through();
    client.to_relay = std::string(100'000, 'a');
    for (Peer* backend : relay.engine.opened()) {
      backend->room = 30'000;
      backend->to_relay = std::string(100'000, 'b');
    }
    client.room = 30'000;
    relay.run();
    move(relay);
    client.room = ScriptedEngine::kUnlimited;
    client.fin = true;
    // What could not be accepted or dialled is tried again.
    for (int i = 0; i < 3; ++i) {
      for (Peer* backend : relay.engine.opened()) {
        backend->room = ScriptedEngine::kUnlimited;
        backend->fin = true;
      }
      relay.run();
      relay.advance(10'000);
    }
  };
  std::uint64_t calls = 0;
  {
    ScriptedRelay relay(settings());
    play(relay);
    calls = relay.engine.calls();
    ASSERT_EQ(relay.backends(), 1U);
    EXPECT_EQ(relay.backend().from_relay.size(), 100'000U);
    stop(relay);
  }
  const std::map<Call, int> errors = {
      {Call::accept, -EMFILE},       {Call::connect, -ECONNREFUSED},
      {Call::receive, -ECONNRESET},  {Call::send, -EPIPE},
      {Call::splice, -EIO},          {Call::shutdown_write, -ENOTCONN},
      {Call::open_socket, -ENOBUFS}, {Call::set_option, -EINVAL},
      {Call::open_pipe, -EMFILE}};
  for (std::uint64_t number = 1; number <= calls; ++number) {
    SCOPED_TRACE(number);
    ScriptedRelay relay(settings());
    relay.engine.fail_call(number, errors);
    play(relay);
    EXPECT_EQ(relay.counters().connections_open, 0U) << "a connection is stuck";
    for (const Peer* backend : relay.engine.opened()) EXPECT_TRUE(backend->closed);
    EXPECT_EQ(relay.shared.stalled_bytes, 0U);
    stop(relay);
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace fairlead
