// The time that TCP connections have over which nothing passes.

#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "tests/unit/tcp_connection_fixture.h"

namespace fairlead {
namespace {

class QuietTest : public TcpConnectionTest {
 protected:
  static RelaySettings settings(TimeMs idle_ms, TimeMs half_closed_ms) {
    RelaySettings settings = TcpConnectionTest::settings();
    settings.idle_timeout_ms = idle_ms;
    settings.half_closed_timeout_ms = half_closed_ms;
    return settings;
  }
};

FAIRLEAD_FOR_EVERY_RELAY_MODE(QuietTest);

TEST_P(QuietTest, AnIdleConnectionIsReset) {
  ScriptedRelay relay(settings(10'000, 0));
  Peer& client = relay.connect_through();
  Peer& backend = relay.backend();
  relay.advance(9'999);
  EXPECT_FALSE(client.closed);
  relay.advance(1);
  EXPECT_TRUE(client.got_reset && backend.got_reset);
  EXPECT_EQ(relay.counters().connections_timed_out, 1U);
  EXPECT_EQ(relay.counters().connections_reset, 0U);
  EXPECT_EQ(relay.counters().connections_open, 0U);
  relay.advance(10'000);
  EXPECT_EQ(relay.loop.deadlines.next(), std::nullopt);
}

TEST_P(QuietTest, BytesEitherWayPutItOff) {
  ScriptedRelay relay(settings(10'000, 0));
  Peer& client = relay.connect_through();
  Peer& backend = relay.backend();
  for (int i = 0; i < 5; ++i) {
    relay.advance(9'000);
    (i % 2 == 0 ? client : backend).to_relay = "x";
    relay.run();
  }
  EXPECT_FALSE(client.closed);
  relay.advance(10'000);
  EXPECT_TRUE(client.closed);
}

TEST_P(QuietTest, AStalledOneIsIdleToo) {
  ScriptedRelay relay(settings(10'000, 0));
  Peer& client = relay.connect_through();
  relay.backend().room = 10;
  client.to_relay = std::string(1 << 20, 'x');
  relay.run();
  relay.advance(9'000);
  relay.backend().room = 10;
  relay.run();
  relay.advance(9'000);
  EXPECT_FALSE(client.closed);
  relay.advance(1'000);
  EXPECT_TRUE(client.closed && relay.backend().closed);
  EXPECT_EQ(relay.counters().connections_timed_out, 1U);
}

/// Whoever was stopped for longer than the time allowed looks first.
TEST_P(QuietTest, WhatHasComeCountsBeforeItIsReceived) {
  for (const bool from_client : {true, false}) {
    ScriptedRelay relay(settings(10'000, 0));
    Peer& client = relay.connect_through();
    Peer& backend = relay.backend();
    relay.engine.set_time(relay.engine.now() + 60'000);
    (from_client ? client : backend).to_relay = "waited";
    relay.loop.deadlines.run(relay.engine.now());
    relay.run();
    EXPECT_EQ((from_client ? backend : client).from_relay, "waited");
    relay.advance(9'999);
    EXPECT_FALSE(client.closed);
    relay.advance(1);
    EXPECT_TRUE(client.got_reset && backend.got_reset);
    EXPECT_EQ(relay.counters().connections_timed_out, 1U);
  }
}

TEST_P(QuietTest, RoomThatHasComeCountsToo) {
  ScriptedRelay relay(settings(10'000, 0));
  Peer& client = relay.connect_through();
  Peer& backend = relay.backend();
  backend.room = 0;
  client.to_relay = "waited";
  relay.run();
  relay.engine.set_time(relay.engine.now() + 60'000);
  backend.room = 6;
  relay.loop.deadlines.run(relay.engine.now());
  relay.run();
  EXPECT_EQ(backend.from_relay, "waited");
  relay.advance(9'999);
  EXPECT_FALSE(client.closed);
}

TEST_P(QuietTest, NothingIsJudgedForAMomentWhileCompletionsWait) {
  ScriptedRelay relay(settings(10'000, 0));
  Peer& client = relay.connect_through();
  relay.engine.behind = true;
  relay.advance(10'000);
  EXPECT_FALSE(client.closed);
  relay.advance(1'000);
  EXPECT_TRUE(client.got_reset && relay.backend().got_reset);
}

TEST_P(QuietTest, NobodyIsJudgedWhoseBulkIsStillToBeMoved) {
  ScriptedRelay relay(settings(10'000, 0));
  Peer& first = relay.connect_through();
  Peer& second = relay.connect_through();
  for (Peer* client : {&first, &second}) client->to_relay = std::string(1 << 20, 'b');
  relay.run();
  relay.engine.set_time(relay.engine.now() + 60'000);
  first.to_relay = second.to_relay = std::string(100'000, 'b');
  relay.engine.shorten = [](Call, std::size_t size) {
    std::this_thread::sleep_for(2 * Engine::kLongTurn);
    return size;
  };
  relay.engine.turn(std::nullopt);
  relay.loop.deadlines.run(relay.engine.now());
  relay.engine.shorten = nullptr;
  relay.run();
  EXPECT_FALSE(first.closed);
  EXPECT_FALSE(second.closed);
  EXPECT_EQ(relay.backend().from_relay.size(), (1U << 20) + 100'000);
}

TEST_P(QuietTest, AHalfClosedOneHasItsOwnTime) {
  for (const bool client_first : {true, false}) {
    ScriptedRelay relay(settings(60'000, 5'000));
    Peer& client = relay.connect_through();
    Peer& backend = relay.backend();
    relay.advance(30'000);
    (client_first ? client : backend).fin = true;
    relay.run();
    relay.advance(4'000);
    (client_first ? backend : client).to_relay = "more";
    relay.run();
    relay.advance(4'000);
    EXPECT_FALSE(client.closed);
    relay.advance(1'000);
    EXPECT_TRUE(client.got_reset && backend.got_reset);
    EXPECT_EQ(relay.counters().connections_timed_out, 1U);
  }
}

TEST_P(QuietTest, TheTimeOfHalfClosedOnesIsNotThatOfOthers) {
  ScriptedRelay relay(settings(0, 5'000));
  Peer& client = relay.connect_through();
  relay.advance(86'400'000);
  EXPECT_FALSE(client.closed);
  client.fin = true;
  relay.run();
  relay.advance(5'000);
  EXPECT_TRUE(client.closed);
}

TEST_P(QuietTest, TheTimeOfIdleOnesIsThatOfHalfClosedOnesWithoutTheirOwn) {
  ScriptedRelay relay(settings(10'000, 0));
  Peer& client = relay.connect_through();
  client.fin = true;
  relay.run();
  relay.advance(10'000);
  EXPECT_TRUE(client.closed);
}

TEST_P(QuietTest, DiallingHasItsOwnTime) {
  RelaySettings dialling = settings(1'000, 1'000);
  dialling.connect_timeout_ms = 20'000;
  ScriptedRelay relay(dialling);
  relay.engine.set_connect_result(std::nullopt);
  Peer& client = relay.connect_through();
  client.to_relay = "early";
  relay.run();
  relay.advance(19'000);
  EXPECT_FALSE(client.closed);
  relay.advance(1'000);
  EXPECT_TRUE(client.closed);
  EXPECT_EQ(relay.counters().connections_refused, 1U);
}

}  // namespace
}  // namespace fairlead
