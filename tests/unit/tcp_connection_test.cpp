// The TCP relay, step by step, over the scripted engine.

#include "proxy/relay/tcp_connection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <string>
#include <vector>

#include "proxy/relay/tcp_relay.h"
#include "tests/unit/scripted_relay.h"

namespace fairlead {
namespace {

using Call = ScriptedEngine::Call;
using Peer = ScriptedEngine::Peer;

/// Run for each way of moving bytes.
class TcpConnectionTest : public ::testing::TestWithParam<RelayMode> {
 protected:
  static RelaySettings settings() { return {.mode = GetParam(), .connections_max = 1'000}; }
};

INSTANTIATE_TEST_SUITE_P(Every, TcpConnectionTest,
                         ::testing::Values(RelayMode::automatic, RelayMode::splice),
                         [](const auto& mode) {
                           return std::string(mode.param == RelayMode::splice ? "splice" : "copy");
                         });

bool closed_in_order(const Peer& peer) { return peer.closed && peer.got_fin && !peer.got_reset; }

TEST_P(TcpConnectionTest, RelaysBothWays) {
  ScriptedRelay relay(settings());
  Peer& client = relay.connect_through();
  Peer& backend = relay.backend();
  for (int i = 0; i < 3; ++i) {
    client.to_relay += "question ";
    relay.run();
    backend.to_relay += "answer ";
    relay.run();
  }
  EXPECT_EQ(backend.from_relay, "question question question ");
  EXPECT_EQ(client.from_relay, "answer answer answer ");
  EXPECT_EQ(relay.counters().bytes_to_container, backend.from_relay.size());
  EXPECT_EQ(relay.counters().bytes_to_client, client.from_relay.size());
  EXPECT_EQ(relay.counters().connections_open, 1U);
}

TEST_P(TcpConnectionTest, ServerMaySpeakFirst) {
  ScriptedRelay relay(settings());
  Peer& client = relay.connect_through();
  relay.backend().to_relay = "220 ready";
  relay.run();
  EXPECT_EQ(client.from_relay, "220 ready");
}

TEST_P(TcpConnectionTest, ClientClosesItsHalfFirst) {
  ScriptedRelay relay(settings());
  Peer& client = relay.connect_through();
  Peer& backend = relay.backend();
  client.to_relay = "request";
  client.fin = true;
  relay.run();
  EXPECT_EQ(backend.from_relay, "request");
  EXPECT_TRUE(backend.got_fin);
  EXPECT_FALSE(backend.closed);
  EXPECT_FALSE(client.got_fin);

  relay.advance(3'600'000);
  backend.to_relay = "late response";
  relay.run();
  EXPECT_EQ(client.from_relay, "late response");
  backend.fin = true;
  relay.run();
  EXPECT_TRUE(closed_in_order(client));
  EXPECT_TRUE(closed_in_order(backend));
  EXPECT_EQ(relay.counters().connections_open, 0U);
  EXPECT_EQ(relay.counters().connections_reset, 0U);
}

TEST_P(TcpConnectionTest, BackendClosesItsHalfFirst) {
  ScriptedRelay relay(settings());
  Peer& client = relay.connect_through();
  Peer& backend = relay.backend();
  backend.to_relay = "bye";
  backend.fin = true;
  relay.run();
  EXPECT_EQ(client.from_relay, "bye");
  EXPECT_TRUE(client.got_fin);
  EXPECT_FALSE(client.closed);
  relay.advance(60'000);
  client.to_relay = "more";
  relay.run();
  EXPECT_EQ(backend.from_relay, "more");
  client.fin = true;
  relay.run();
  EXPECT_TRUE(closed_in_order(client));
  EXPECT_TRUE(closed_in_order(backend));
}

TEST_P(TcpConnectionTest, ConnectionWithoutBytes) {
  ScriptedRelay relay(settings());
  Peer& client = relay.connect();
  client.fin = true;
  relay.run();
  Peer& backend = relay.backend();
  EXPECT_TRUE(backend.got_fin);
  backend.fin = true;
  relay.run();
  EXPECT_TRUE(closed_in_order(client));
  EXPECT_TRUE(closed_in_order(backend));
}

TEST_P(TcpConnectionTest, EverythingBeforeTheFinIsDelivered) {
  ScriptedRelay relay(settings());
  Peer& client = relay.connect_through();
  Peer& backend = relay.backend();
  const std::string sent(700'000, 's');
  backend.room = 0;
  client.to_relay = sent;
  client.fin = true;
  relay.run();
  EXPECT_TRUE(backend.from_relay.empty());
  EXPECT_FALSE(backend.got_fin);
  for (int i = 0; i < 6; ++i) {
    backend.room = 100'000;
    relay.run();
    EXPECT_FALSE(backend.got_fin);
  }
  backend.room = ScriptedEngine::kUnlimited;
  relay.run();
  EXPECT_TRUE(backend.from_relay == sent);
  EXPECT_TRUE(backend.got_fin);
  EXPECT_FALSE(client.got_fin);
}

// Back-pressure.

TEST_P(TcpConnectionTest, StalledReaderStopsTheWriterAndNobodyElse) {
  ScriptedRelay relay(settings());
  Peer& client = relay.connect_through();
  Peer& backend = relay.backend();
  Peer& other_client = relay.connect_through();
  Peer& other_backend = relay.backend();
  const std::string sent(8 << 20, 's');
  backend.room = 0;
  client.to_relay = sent;
  relay.run();
  EXPECT_GT(client.to_relay.size(), sent.size() - (3 << 20)) << "far too much was taken in";

  other_client.to_relay = std::string(1 << 20, 'o');
  relay.run();
  EXPECT_EQ(other_backend.from_relay.size(), 1U << 20);
  // The other direction of the stalled connection goes on, too.
  backend.to_relay = "still here";
  relay.run();
  EXPECT_EQ(client.from_relay, "still here");

  backend.room = ScriptedEngine::kUnlimited;
  relay.run();
  EXPECT_TRUE(backend.from_relay == sent);
}

TEST_P(TcpConnectionTest, MoreStalledConnectionsThanBuffers) {
  constexpr std::size_t kStalled = 40;
  ScriptedRelay relay(settings(), 8, 2);
  std::vector<Peer*> clients;
  for (std::size_t i = 0; i < kStalled; ++i) {
    clients.push_back(&relay.connect_through());
    relay.backend().room = 0;
    clients[i]->to_relay = std::string(100'000, static_cast<char>('a' + i % 26));
    relay.run();
  }
  Peer& lively = relay.connect_through();
  lively.to_relay = "through";
  relay.run();
  EXPECT_EQ(relay.backend().from_relay, "through");
  for (std::size_t i = 0; i < kStalled; ++i) {
    relay.engine.opened()[i]->room = ScriptedEngine::kUnlimited;
  }
  relay.run();
  relay.advance(1'000);
  for (std::size_t i = 0; i < kStalled; ++i) {
    EXPECT_EQ(relay.engine.opened()[i]->from_relay,
              std::string(100'000, static_cast<char>('a' + i % 26)));
  }
}

TEST_P(TcpConnectionTest, ShortTransfersLoseNothing) {
  ScriptedRelay relay(settings());
  Peer& client = relay.connect_through();
  Peer& backend = relay.backend();
  relay.engine.shorten = [](Call, std::size_t) -> std::size_t { return 7; };
  client.to_relay = "every single byte of this arrives, in order, and none of it twice";
  const std::string sent = client.to_relay;
  client.fin = true;
  relay.run();
  EXPECT_EQ(backend.from_relay, sent);
  EXPECT_TRUE(backend.got_fin);
}

TEST_P(TcpConnectionTest, ShortagesOfASendPass) {
  for (const int error : {-EAGAIN, -ENOBUFS, -ENOMEM, -EINTR}) {
    ScriptedRelay relay(settings());
    Peer& client = relay.connect_through();
    relay.engine.script(Call::send, {error, error, 0, error});
    relay.engine.script(Call::splice, {0, error, error, 0, error});
    client.to_relay = std::string(100'000, 'x');
    client.fin = true;
    relay.run();
    relay.advance(1'000);
    EXPECT_EQ(relay.backend().from_relay.size(), 100'000U) << error;
    EXPECT_TRUE(relay.backend().got_fin);
  }
}

TEST_P(TcpConnectionTest, ReceiveThatFindsNoBufferIsTriedAgain) {
  ScriptedRelay relay(settings());
  Peer& client = relay.connect_through();
  relay.engine.script(Call::receive, {-ENOBUFS, -ENOBUFS});
  client.to_relay = "bytes";
  relay.run();
  EXPECT_EQ(relay.backend().from_relay, "bytes");
}

// Resets.

TEST_P(TcpConnectionTest, ResetIsPassedOn) {
  for (const bool by_client : {true, false}) {
    ScriptedRelay relay(settings());
    Peer& client = relay.connect_through();
    Peer& backend = relay.backend();
    Peer& from = by_client ? client : backend;
    Peer& to = by_client ? backend : client;
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

TEST_P(TcpConnectionTest, ResetOfASideThatIsNotReadIsNoticed) {
  for (const bool by_client : {true, false}) {
    for (const bool half_closed : {true, false}) {
      ScriptedRelay relay(settings());
      Peer& client = relay.connect_through();
      Peer& backend = relay.backend();
      Peer& from = by_client ? client : backend;
      Peer& to = by_client ? backend : client;
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

TEST_P(TcpConnectionTest, ResetOfAFullReaderIsPassedOn) {
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

TEST_P(TcpConnectionTest, ResetAfterBothHalvesAreClosedIsHarmless) {
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

// Connecting.

TEST_P(TcpConnectionTest, RefusedBackendClosesTheClient) {
  ScriptedRelay relay(settings());
  for (const int error : {-ECONNREFUSED, -EHOSTUNREACH, -ENETUNREACH, -ETIMEDOUT}) {
    relay.engine.set_connect_result(error);
    Peer& client = relay.connect_through();
    EXPECT_TRUE(client.got_reset);
    EXPECT_TRUE(relay.backend().closed);
  }
  EXPECT_EQ(relay.counters().connections_refused, 4U);
  relay.engine.set_connect_result(0);
  Peer& client = relay.connect_through();
  client.to_relay = "alive";
  relay.run();
  EXPECT_EQ(relay.backend().from_relay, "alive");
}

TEST_P(TcpConnectionTest, BackendThatDoesNotAnswerInTime) {
  RelaySettings with_timeout = settings();
  with_timeout.connect_timeout_ms = 5'000;
  ScriptedRelay relay(with_timeout);
  relay.engine.set_connect_result(std::nullopt);
  Peer& client = relay.connect_through();
  relay.advance(4'999);
  EXPECT_FALSE(client.closed);
  relay.advance(1);
  EXPECT_TRUE(client.got_reset);
  EXPECT_TRUE(relay.backend().closed);
  EXPECT_EQ(relay.counters().connections_refused, 1U);
}

TEST_P(TcpConnectionTest, AnswerInTimeEndsTheTimeout) {
  RelaySettings with_timeout = settings();
  with_timeout.connect_timeout_ms = 5'000;
  ScriptedRelay relay(with_timeout);
  relay.engine.set_connect_result(std::nullopt);
  Peer& client = relay.connect_through();
  relay.advance(4'000);
  relay.backend().connect_result = 0;
  relay.run();
  relay.advance(60'000);
  client.to_relay = "late but well";
  relay.run();
  EXPECT_EQ(relay.backend().from_relay, "late but well");
}

TEST_P(TcpConnectionTest, WithoutTimeoutTheKernelDecides) {
  ScriptedRelay relay(settings());
  relay.engine.set_connect_result(std::nullopt);
  Peer& client = relay.connect_through();
  relay.advance(3'600'000);
  EXPECT_FALSE(client.closed);
  relay.backend().connect_result = -ETIMEDOUT;
  relay.run();
  EXPECT_TRUE(client.got_reset);
}

TEST_P(TcpConnectionTest, ClientGoneWhileConnecting) {
  ScriptedRelay relay(settings());
  relay.engine.set_connect_result(std::nullopt);
  Peer& client = relay.connect_through();
  client.reset();
  relay.run();
  relay.advance(1'000);
  EXPECT_TRUE(client.closed);
  EXPECT_TRUE(relay.backend().closed);
  EXPECT_EQ(relay.counters().connections_open, 0U);
}

TEST_P(TcpConnectionTest, ClientGoneAfterSendingWhileConnecting) {
  ScriptedRelay relay(settings());
  relay.engine.set_connect_result(std::nullopt);
  Peer& client = relay.connect_through();
  client.to_relay = std::string(1 << 20, 'x');
  relay.run();
  client.to_relay.clear();
  client.reset();
  relay.run();
  relay.backend().connect_result = 0;
  relay.run();
  relay.advance(1'000);
  EXPECT_TRUE(client.closed);
  EXPECT_TRUE(relay.backend().closed);
}

TEST_P(TcpConnectionTest, WhatClientSendsWhileConnectingIsKept) {
  ScriptedRelay relay(settings());
  relay.engine.set_connect_result(std::nullopt);
  Peer& client = relay.connect_through();
  const std::string sent(1 << 20, 'x');
  client.to_relay = sent;
  client.fin = true;
  relay.run();
  EXPECT_GT(client.to_relay.size(), sent.size() / 2) << "far too much was taken in";
  relay.backend().connect_result = 0;
  relay.run();
  EXPECT_TRUE(relay.backend().from_relay == sent);
  EXPECT_TRUE(relay.backend().got_fin);
}

// Shortages.

TEST_P(TcpConnectionTest, NoDescriptorForAnAcceptPausesAndGoesOn) {
  for (const int error : {-EMFILE, -ENFILE, -ENOBUFS, -ENOMEM}) {
    ScriptedRelay relay(settings());
    Peer& open = relay.connect_through();
    relay.engine.script(Call::accept, {error, error});
    Peer& client = relay.connect_through();
    EXPECT_EQ(relay.backends(), 1U);
    EXPECT_EQ(relay.counters().accept_pauses, 1U);
    // The established connection is not touched.
    open.to_relay = "going on";
    relay.run();
    EXPECT_EQ(relay.backend().from_relay, "going on");
    relay.advance(5'000);
    EXPECT_EQ(relay.backends(), 2U);
    client.to_relay = "served";
    relay.run();
    EXPECT_EQ(relay.backend().from_relay, "served");
  }
}

TEST_P(TcpConnectionTest, NoDescriptorForABackendSocketKeepsTheClientsWaitingInOrder) {
  ScriptedRelay relay(settings());
  relay.engine.script(Call::open_socket, {-EMFILE, -EMFILE});
  Peer& first = relay.connect();
  Peer& second = relay.connect();
  first.to_relay = "first";
  second.to_relay = "second";
  relay.run();
  EXPECT_EQ(relay.backends(), 0U);
  EXPECT_FALSE(first.closed);
  relay.advance(5'000);
  ASSERT_EQ(relay.backends(), 2U);
  EXPECT_EQ(relay.engine.opened()[0]->from_relay, "first");
  EXPECT_EQ(relay.engine.opened()[1]->from_relay, "second");
}

TEST_P(TcpConnectionTest, BackendSocketThatCannotBeMadeRefusesTheClient) {
  ScriptedRelay relay(settings());
  relay.engine.script(Call::open_socket, {-EAFNOSUPPORT});
  Peer& client = relay.connect_through();
  EXPECT_TRUE(client.got_reset);
  EXPECT_EQ(relay.counters().connections_refused, 1U);
  Peer& next = relay.connect_through();
  EXPECT_FALSE(next.closed);
  EXPECT_EQ(relay.counters().connections_open, 1U);
}

TEST_P(TcpConnectionTest, AtMostSoManyConnections) {
  RelaySettings limited = settings();
  limited.connections_max = 2;
  ScriptedRelay relay(limited);
  std::vector<Peer*> clients;
  clients.reserve(5);
  for (int i = 0; i < 5; ++i) clients.push_back(&relay.connect());
  relay.run();
  relay.advance(10'000);
  EXPECT_EQ(relay.backends(), 2U);
  EXPECT_EQ(relay.counters().connections_open, 2U);
  for (std::size_t i = 0; i < clients.size(); ++i) {
    clients[i]->to_relay = std::to_string(i);
    clients[i]->fin = true;
    relay.run();
    ASSERT_GT(relay.backends(), i);
    relay.engine.opened()[i]->fin = true;
    relay.run();
    EXPECT_EQ(relay.engine.opened()[i]->from_relay, std::to_string(i));
    EXPECT_TRUE(clients[i]->closed);
  }
  EXPECT_EQ(relay.counters().connections_open, 0U);
}

TEST_P(TcpConnectionTest, WithoutPipesBytesAreCopied) {
  for (const int error : {-EMFILE, -ENFILE, 4'096}) {
    ScriptedRelay relay(settings());
    if (error < 0) {
      relay.engine.script(Call::open_pipe, {error, error, error, error});
    } else {
      relay.engine.set_pipe_room(error);
    }
    Peer& client = relay.connect_through();
    client.to_relay = std::string(300'000, 'x');
    relay.backend().to_relay = std::string(300'000, 'y');
    client.fin = true;
    relay.run();
    EXPECT_EQ(relay.backend().from_relay.size(), 300'000U);
    EXPECT_EQ(client.from_relay.size(), 300'000U);
    EXPECT_TRUE(relay.backend().got_fin);
  }
}

// PROXY headers towards the backend.

class ProxyHeaderSent : public TcpConnectionTest {
 protected:
  static RelaySettings settings() {
    return {.mode = GetParam(), .connections_max = 1'000, .proxy_protocol = ProxyProtocol::v1};
  }
  static constexpr const char* kHeader = "PROXY TCP4 192.0.2.7 192.0.2.1 40000 8080\r\n";
};

INSTANTIATE_TEST_SUITE_P(Every, ProxyHeaderSent,
                         ::testing::Values(RelayMode::automatic, RelayMode::splice),
                         [](const auto& mode) {
                           return std::string(mode.param == RelayMode::splice ? "splice" : "copy");
                         });

TEST_P(ProxyHeaderSent, ComesBeforeWhatTheClientSends) {
  ScriptedRelay relay(settings());
  relay.engine.set_connect_result(std::nullopt);
  Peer& client = relay.connect_through();
  Peer& backend = relay.backend();
  const std::string sent(300'000, 's');
  client.to_relay = sent;
  relay.run();
  EXPECT_EQ(backend.from_relay, "");
  backend.connect_result = 0;
  relay.run();
  EXPECT_TRUE(backend.from_relay == kHeader + sent);
  // Payload only.
  EXPECT_EQ(relay.counters().bytes_to_container, sent.size());
}

TEST_P(ProxyHeaderSent, GoesToAServerThatSpeaksFirst) {
  ScriptedRelay relay(settings());
  Peer& client = relay.connect_through();
  EXPECT_EQ(relay.backend().from_relay, kHeader);
  relay.backend().to_relay = "220 ready";
  relay.run();
  EXPECT_EQ(client.from_relay, "220 ready");
}

TEST_P(ProxyHeaderSent, GoesOutForAConnectionWithoutABytes) {
  ScriptedRelay relay(settings());
  Peer& client = relay.connect();
  client.fin = true;
  relay.run();
  EXPECT_EQ(relay.backend().from_relay, kHeader);
  EXPECT_TRUE(relay.backend().got_fin);
  relay.backend().fin = true;
  relay.run();
  EXPECT_TRUE(closed_in_order(client));
  EXPECT_EQ(relay.counters().bytes_to_container, 0U);
}

TEST_P(ProxyHeaderSent, IsSentInPiecesWhereThereIsNoRoom) {
  ScriptedRelay relay(settings());
  relay.engine.shorten = [](Call, std::size_t) { return std::size_t{1}; };
  relay.engine.set_connect_result(std::nullopt);
  Peer& client = relay.connect_through();
  Peer& backend = relay.backend();
  client.to_relay = "request";
  client.fin = true;
  backend.room = 0;
  backend.connect_result = 0;
  const std::string all = std::string(kHeader) + "request";
  for (std::size_t size = 1; size <= all.size(); ++size) {
    backend.room = 1;
    relay.run();
    EXPECT_EQ(backend.from_relay, all.substr(0, size));
  }
  backend.room = 1;
  relay.run();
  EXPECT_TRUE(backend.got_fin);
  backend.fin = true;
  relay.run();
}

TEST_P(ProxyHeaderSent, TellsAnIpv6ClientOfAnIpv4Backend) {
  ScriptedRelay relay(settings());
  Peer& client = relay.connect();
  client.address = {*IpAddress::parse("2001:db8::7"), 1};
  client.relay_address = {*IpAddress::parse("2001:db8::1"), 8080};
  relay.run();
  EXPECT_EQ(relay.backend().from_relay, "PROXY TCP6 2001:db8::7 2001:db8::1 1 8080\r\n");
}

TEST_P(ProxyHeaderSent, AClientThatIsGoneIsNotConnectedFor) {
  ScriptedRelay relay(settings());
  Peer& client = relay.connect();
  client.reset();
  relay.run();
  EXPECT_EQ(relay.backends(), 0U);
  EXPECT_TRUE(client.closed);
  EXPECT_EQ(relay.counters().connections_reset, 1U);
}

TEST_P(ProxyHeaderSent, MemoryOfHeadersDoesNotMakeTheRelayFrugal) {
  ScriptedRelay relay(settings());
  for (int i = 0; i < 200; ++i) {
    Peer& client = relay.connect_through();
    client.fin = true;
    relay.backend().fin = true;
    relay.run();
  }
  EXPECT_EQ(relay.counters().connections_open, 0U);
}

// A port that takes no more clients.

TEST_P(TcpConnectionTest, AtItsEndAPortServesWhoWaits) {
  RelaySettings few = settings();
  few.connections_max = 10;
  ScriptedRelay relay(few);
  std::array<Peer*, 5> clients{};
  for (Peer*& client : clients) client = &relay.connect();
  relay.retire(Listener::Queue::served);
  relay.run();
  ASSERT_EQ(relay.backends(), 5U);
  for (Peer* client : clients) client->to_relay = "hello";
  relay.run();
  EXPECT_EQ(relay.backend().from_relay, "hello");
  EXPECT_EQ(relay.counters().connections_open, 5U);
}

TEST_P(TcpConnectionTest, AtItsEndAPortTakesNoMoreThanItMay) {
  RelaySettings few = settings();
  few.connections_max = 2;
  ScriptedRelay relay(few);
  for (int i = 0; i < 5; ++i) relay.connect();
  relay.retire(Listener::Queue::served);
  relay.run();
  EXPECT_EQ(relay.counters().connections_open, 2U);
}

TEST_P(TcpConnectionTest, WhoWaitsIsLeftToAnotherProcess) {
  ScriptedRelay relay(settings());
  relay.connect();
  relay.retire(Listener::Queue::left);
  relay.run();
  EXPECT_EQ(relay.backends(), 0U);
}

// Timeouts of connections over which nothing passes.

class QuietTest : public TcpConnectionTest {
 protected:
  static RelaySettings settings(TimeMs idle_ms, TimeMs half_closed_ms) {
    RelaySettings settings = TcpConnectionTest::settings();
    settings.idle_timeout_ms = idle_ms;
    settings.half_closed_timeout_ms = half_closed_ms;
    return settings;
  }
};

INSTANTIATE_TEST_SUITE_P(Every, QuietTest,
                         ::testing::Values(RelayMode::automatic, RelayMode::splice),
                         [](const auto& mode) {
                           return std::string(mode.param == RelayMode::splice ? "splice" : "copy");
                         });

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

// Idle connections and the end.

TEST_P(TcpConnectionTest, IdleConnectionsHaveNoTimer) {
  ScriptedRelay relay(settings());
  Peer& client = relay.connect_through();
  client.to_relay = "bytes";
  relay.run();
  relay.advance(10'000);
  EXPECT_EQ(relay.loop.deadlines.next(), std::nullopt);
  const std::size_t before = relay.engine.completions();
  relay.advance(86'400'000);
  EXPECT_EQ(relay.engine.completions(), before);
}

TEST_P(TcpConnectionTest, StopsInAnyState) {
  for (int state = 0; state < 8; ++state) {
    ScriptedRelay relay(settings());
    if (state == 0) relay.engine.set_connect_result(std::nullopt);
    if (state == 1) relay.engine.script(Call::open_socket, {-EMFILE});
    if (state == 2) relay.engine.script(Call::accept, {-EMFILE});
    Peer& client = relay.connect_through();
    client.to_relay = std::string(1 << 20, 'x');
    if (state == 3) relay.backend().room = 0;
    if (state == 4) client.fin = true;
    if (state == 5) client.reset();
    if (state == 6) relay.connect();
    if (state < 5) {
      relay.run();
      relay.advance(50);
    } else {
      relay.engine.turn(std::nullopt);
    }
    relay.stop();
    EXPECT_EQ(relay.engine.operations_in_flight(), 0U);
  }
}

// Moving to another loop.

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

INSTANTIATE_TEST_SUITE_P(Every, MoveTest,
                         ::testing::Values(RelayMode::automatic, RelayMode::splice),
                         [](const auto& mode) {
                           return std::string(mode.param == RelayMode::splice ? "splice" : "copy");
                         });

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
