// Resets of TCP connections, and how they are passed on.

#include <gtest/gtest.h>

#include <string>

#include "tests/unit/tcp_connection_fixture.h"

namespace fairlead {
namespace {

class ResetTest : public TcpConnectionTest {
 protected:
  struct Ends {
    Peer& from;
    Peer& to;
  };

  static Ends connect(ScriptedRelay& relay, bool from_client) {
    Peer& client = relay.connect_through();
    Peer& backend = relay.backend();
    return from_client ? Ends{client, backend} : Ends{backend, client};
  }
};

FAIRLEAD_FOR_EVERY_RELAY_MODE(ResetTest);

TEST_P(ResetTest, ResetIsPassedOn) {
  for (const bool by_client : {true, false}) {
    ScriptedRelay relay(settings());
    const auto [from, to] = connect(relay, by_client);
    from.to_relay = "last words";
    from.reset();
    relay.run();
    EXPECT_EQ(to.from_relay, "last words");
    EXPECT_TRUE(to.got_reset);
    EXPECT_FALSE(to.got_fin);
    EXPECT_TRUE(from.closed);
    EXPECT_EQ(relay.counters().connections_reset, 1U);
    EXPECT_EQ(relay.counters().connections_open, 0U);
  }
}

TEST_P(ResetTest, ResetThatTheReceiveIsNotToldOfIsNoticed) {
  for (const bool by_client : {true, false}) {
    for (const bool after_a_while : {true, false}) {
      ScriptedRelay relay(settings());
      const auto [from, to] = connect(relay, by_client);
      if (after_a_while) relay.advance(10'000);
      relay.engine.deafen(from);
      from.to_relay = "last words";
      from.reset();
      relay.run();
      relay.advance(1'000);
      EXPECT_EQ(to.from_relay, "last words");
      EXPECT_TRUE(from.closed);
      EXPECT_TRUE(to.got_reset);
      EXPECT_EQ(relay.counters().connections_reset, 1U);
    }
  }
}

TEST_P(ResetTest, AStandingReceiveIsNotLookedAfterForever) {
  ScriptedRelay relay(settings());
  Peer& client = relay.connect_through();
  client.to_relay = "bytes";
  relay.run();
  relay.advance(1'000);
  EXPECT_EQ(relay.loop.deadlines.next(), std::nullopt);
  EXPECT_FALSE(client.closed);
}

TEST_P(ResetTest, ResetOfASideThatIsNotReadIsNoticed) {
  for (const bool by_client : {true, false}) {
    for (const bool half_closed : {true, false}) {
      ScriptedRelay relay(settings());
      const auto [from, to] = connect(relay, by_client);
      if (half_closed) {
        from.fin = true;
      } else {
        to.room = 0;
        from.to_relay = std::string(2 << 20, 'x');
      }
      relay.run();
      relay.advance(10'000);
      EXPECT_FALSE(from.closed);
      from.reset();
      relay.run();
      relay.advance(1'000);
      EXPECT_TRUE(from.closed);
      EXPECT_TRUE(to.got_reset);
    }
  }
}

TEST_P(ResetTest, ResetOfAFullReaderIsPassedOn) {
  ScriptedRelay relay(settings());
  Peer& client = relay.connect_through();
  Peer& backend = relay.backend();
  backend.room = 0;
  client.to_relay = std::string(2 << 20, 'x');
  relay.run();
  backend.reset();
  relay.run();
  EXPECT_TRUE(client.got_reset);
  EXPECT_TRUE(backend.closed);
}

TEST_P(ResetTest, ResetAfterBothHalvesAreClosedIsHarmless) {
  ScriptedRelay relay(settings());
  Peer& client = relay.connect_through();
  Peer& backend = relay.backend();
  client.fin = true;
  relay.run();
  relay.advance(1'000);
  backend.fin = true;
  backend.to_relay = "bytes";
  client.reset();
  relay.run();
  relay.advance(1'000);
  EXPECT_TRUE(client.closed);
  EXPECT_TRUE(backend.closed);
}

}  // namespace
}  // namespace fairlead
