// The TCP relay, step by step, over the scripted engine.

#include "proxy/relay/tcp_connection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <vector>

#include "tests/unit/tcp_connection_fixture.h"

namespace fairlead {
namespace {

FAIRLEAD_FOR_EVERY_RELAY_MODE(TcpConnectionTest);

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

TEST_P(TcpConnectionTest, MessagesGoBeforeBulk) {
  ScriptedRelay relay(settings());
  Peer& bulk_client = relay.connect_through();
  Peer& bulk_backend = relay.backend();
  const std::string bulk(1 << 20, 'b');
  bulk_client.to_relay = bulk;
  relay.run();
  Peer& client = relay.connect_through();
  Peer& backend = relay.backend();

  std::size_t bulk_before_message = 0;
  relay.engine.shorten = [&](Call, std::size_t size) {
    if (backend.from_relay.empty()) bulk_before_message = bulk_backend.from_relay.size();
    return size;
  };
  bulk_client.to_relay = bulk;
  client.to_relay = "message";
  relay.run();
  EXPECT_EQ(backend.from_relay, "message");
  EXPECT_EQ(bulk_before_message, bulk.size());
  EXPECT_EQ(bulk_backend.from_relay.size(), 2 * bulk.size());
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

FAIRLEAD_FOR_EVERY_RELAY_MODE(ProxyHeaderSent);

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

}  // namespace
}  // namespace fairlead
