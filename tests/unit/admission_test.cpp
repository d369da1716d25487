// Who is served and who is not, over the scripted engine.

#include "proxy/relay/admission.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <vector>

#include "tests/unit/scripted_relay.h"

namespace fairlead {
namespace {

using Call = ScriptedEngine::Call;
using Peer = ScriptedEngine::Peer;

Peer& connect_from(ScriptedRelay& relay, const char* ip) {
  Peer& client = relay.connect();
  client.address = {*IpAddress::parse(ip), 1234};
  relay.run();
  return client;
}

RelaySettings with_rules(bool allows, const char* text) {
  return {.connections_max = 1'000, .access_rules = parse_access_rules(allows, text).value()};
}

TEST(Admission, WhoIsNotAllowedIsReset) {
  ScriptedRelay relay(with_rules(true, "192.0.2.0/24"));
  const Peer& in = connect_from(relay, "192.0.2.9");
  const Peer& out = connect_from(relay, "198.51.100.1");
  EXPECT_FALSE(in.closed);
  EXPECT_TRUE(out.got_reset);
  EXPECT_EQ(relay.backends(), 1U);
  EXPECT_EQ(relay.counters().clients_denied, 1U);
  EXPECT_EQ(relay.counters().connections_accepted, 1U);
}

TEST(Admission, RulesForOtherPortsDoNotCount) {
  // The scripted port is 8080.
  ScriptedRelay relay(with_rules(false, "80=192.0.2.0/24"));
  EXPECT_FALSE(connect_from(relay, "192.0.2.9").closed);
  ScriptedRelay denying(with_rules(false, "8080/tcp=192.0.2.0/24"));
  EXPECT_TRUE(connect_from(denying, "192.0.2.9").got_reset);
}

TEST(Admission, AFrontEndsClientIsJudgedAndNotTheFrontEnd) {
  RelaySettings settings = with_rules(true, "203.0.113.0/24");
  settings.front_ends = {Subnet::parse("10.0.0.0/8").value()};
  settings.connections_per_client_max = 1;
  ScriptedRelay relay(settings);
  const auto introduce = [&](const char* client) -> Peer& {
    Peer& front_end = connect_from(relay, "10.0.0.1");
    front_end.to_relay = "PROXY TCP4 " + std::string(client) + " 192.0.2.1 1 8080\r\n";
    relay.run();
    return front_end;
  };
  EXPECT_FALSE(introduce("203.0.113.1").closed);
  EXPECT_FALSE(introduce("203.0.113.2").closed);
  EXPECT_TRUE(introduce("203.0.113.2").got_reset);
  EXPECT_TRUE(introduce("198.51.100.1").got_reset);
  EXPECT_EQ(relay.counters().clients_over_limit, 1U);
  EXPECT_EQ(relay.counters().clients_denied, 1U);
}

TEST(Admission, AClientHasNoMoreConnectionsThanItMay) {
  ScriptedRelay relay({.connections_max = 1'000, .connections_per_client_max = 2});
  Peer& first = connect_from(relay, "192.0.2.9");
  connect_from(relay, "192.0.2.9");
  EXPECT_TRUE(connect_from(relay, "192.0.2.9").got_reset);
  EXPECT_FALSE(connect_from(relay, "192.0.2.10").closed);
  EXPECT_EQ(relay.counters().clients_over_limit, 1U);
  EXPECT_EQ(relay.counters().connections_open, 3U);

  first.reset();
  relay.run();
  EXPECT_FALSE(connect_from(relay, "192.0.2.9").closed);
  EXPECT_TRUE(connect_from(relay, "192.0.2.9").got_reset);
}

TEST(Admission, APlaceIsGivenBackHoweverTheConnectionEnds) {
  ScriptedRelay relay({.connections_max = 1'000, .connections_per_client_max = 1});
  for (int i = 0; i < 12; ++i) {
    if (i % 4 == 0) relay.engine.set_connect_result(-ECONNREFUSED);
    if (i % 4 == 1) relay.engine.script(Call::open_socket, {-EAFNOSUPPORT});
    Peer& client = connect_from(relay, "192.0.2.9");
    if (i % 4 == 2) client.reset();
    if (i % 4 == 3) {
      client.fin = true;
      relay.backend().fin = true;
    }
    relay.run();
    EXPECT_TRUE(client.closed) << i;
    relay.engine.set_connect_result(0);
  }
  EXPECT_EQ(relay.counters().clients_over_limit, 0U);
  EXPECT_EQ(relay.loop.clients.size(), 0U);
}

TEST(Admission, AClientThatWaitsForADescriptorHasItsPlaceOnce) {
  ScriptedRelay relay({.connections_max = 1'000, .connections_per_client_max = 1});
  relay.engine.script(Call::open_socket, {-EMFILE, -EMFILE});
  Peer& client = connect_from(relay, "192.0.2.9");
  EXPECT_EQ(relay.backends(), 0U);
  relay.advance(1'000);
  EXPECT_EQ(relay.backends(), 1U);
  EXPECT_FALSE(client.closed);
  EXPECT_EQ(relay.counters().clients_over_limit, 0U);
}

TEST(Admission, WhoIsGoneIsNotJudged) {
  ScriptedRelay relay(with_rules(true, "192.0.2.0/24"));
  Peer& client = relay.connect();
  client.reset();
  relay.run();
  EXPECT_TRUE(client.closed);
  EXPECT_EQ(relay.counters().connections_reset, 1U);
  EXPECT_EQ(relay.counters().clients_denied, 0U);
}

}  // namespace
}  // namespace fairlead
