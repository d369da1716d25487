// Front ends of a published TCP port, over the scripted engine.

#include "proxy/relay/introductions.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>

#include "tests/unit/scripted_relay.h"

namespace fairlead {
namespace {

using namespace std::string_literals;

using Call = ScriptedEngine::Call;
using Peer = ScriptedEngine::Peer;

const AddressPair kTold{{*IpAddress::parse("203.0.113.9"), 5000},
                        {*IpAddress::parse("198.51.100.1"), 443}};
const AddressPair kToldV6{{*IpAddress::parse("2001:db8::9"), 5000},
                          {*IpAddress::parse("2001:db8::1"), 443}};

/// Run for each way of moving bytes. Clients of 10.0.0.0/8 are front ends.
class IntroductionsTest : public ::testing::TestWithParam<RelayMode> {
 protected:
  static RelaySettings settings() {
    return {.mode = GetParam(),
            .connections_max = 4,
            .proxy_protocol = ProxyProtocol::v1,
            .front_ends = {Subnet::parse("10.0.0.0/8").value()}};
  }

  static Peer& connect_front_end(ScriptedRelay& relay) {
    Peer& peer = relay.connect();
    peer.address = {*IpAddress::parse("10.1.2.3"), 1234};
    relay.run();
    return peer;
  }

  static std::string header(ProxyProtocol version, const AddressPair& addresses = kTold) {
    return encode_proxy_header(version, Protocol::tcp, addresses);
  }
  static std::string sent_on(const AddressPair& addresses) {
    return header(ProxyProtocol::v1, addresses);
  }
};

FAIRLEAD_FOR_EVERY_RELAY_MODE(IntroductionsTest);

TEST_P(IntroductionsTest, TheClientIsWhoTheFrontEndSays) {
  for (const ProxyProtocol version : {ProxyProtocol::v1, ProxyProtocol::v2}) {
    for (const AddressPair& told : {kTold, kToldV6}) {
      ScriptedRelay relay(settings());
      Peer& front_end = connect_front_end(relay);
      EXPECT_EQ(relay.backends(), 0U);
      front_end.to_relay = header(version, told) + "request";
      relay.run();
      ASSERT_EQ(relay.backends(), 1U);
      EXPECT_EQ(relay.backend().from_relay, sent_on(told) + "request");
      EXPECT_EQ(relay.counters().bytes_to_container, 7U);
      relay.backend().to_relay = "response";
      relay.run();
      EXPECT_EQ(front_end.from_relay, "response");
    }
  }
}

TEST_P(IntroductionsTest, TheHeaderMayComeInTwoPartsCutAnywhere) {
  for (const ProxyProtocol version : {ProxyProtocol::v1, ProxyProtocol::v2}) {
    const std::string all = header(version, kToldV6) + "request";
    for (std::size_t size = 1; size < all.size(); ++size) {
      ScriptedRelay relay(settings());
      Peer& front_end = connect_front_end(relay);
      front_end.to_relay = all.substr(0, size);
      relay.run();
      front_end.to_relay += all.substr(size);
      relay.run();
      ASSERT_EQ(relay.backends(), 1U) << "cut at " << size;
      EXPECT_EQ(relay.backend().from_relay, sent_on(kToldV6) + "request") << "cut at " << size;
    }
  }
}

TEST_P(IntroductionsTest, TheHeaderMayComeByteByByte) {
  ScriptedRelay relay(settings());
  Peer& front_end = connect_front_end(relay);
  for (const char byte : header(ProxyProtocol::v2) + "request") {
    front_end.to_relay += byte;
    relay.run();
  }
  EXPECT_EQ(relay.backend().from_relay, sent_on(kTold) + "request");
}

TEST_P(IntroductionsTest, AFrontEndMaySpeakForItself) {
  const AddressPair own{{*IpAddress::parse("10.1.2.3"), 1234},
                        {*IpAddress::parse("192.0.2.1"), 8080}};
  for (const std::string& said : {"PROXY UNKNOWN\r\n"s, "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"s}) {
    ScriptedRelay relay(settings());
    Peer& front_end = connect_front_end(relay);
    front_end.to_relay = said + "check";
    relay.run();
    EXPECT_EQ(relay.backend().from_relay, sent_on(own) + "check");
  }
}

TEST_P(IntroductionsTest, OthersArePlainClientsWhateverTheySay) {
  ScriptedRelay relay(settings());
  Peer& client = relay.connect();
  client.to_relay = header(ProxyProtocol::v1);
  relay.run();
  const AddressPair own{client.address, client.relay_address};
  EXPECT_EQ(relay.backend().from_relay, sent_on(own) + header(ProxyProtocol::v1));
}

TEST_P(IntroductionsTest, AHeaderAndAFinAreAConnectionWithoutBytes) {
  ScriptedRelay relay(settings());
  Peer& front_end = connect_front_end(relay);
  front_end.to_relay = header(ProxyProtocol::v2);
  front_end.fin = true;
  relay.run();
  EXPECT_EQ(relay.backend().from_relay, sent_on(kTold));
  EXPECT_TRUE(relay.backend().got_fin);
}

TEST_P(IntroductionsTest, AWrongHeaderIsAnsweredWithAReset) {
  for (const std::string& said :
       {"GET / HTTP/1.1\r\n"s, "PROXY TCP4 1.2.3.4\r\n"s,
        "PROXY UNKNOWN "s + std::string(4'000, 'x'), "\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"s}) {
    ScriptedRelay relay(settings());
    Peer& front_end = connect_front_end(relay);
    front_end.to_relay = said;
    relay.run();
    EXPECT_TRUE(front_end.got_reset);
    EXPECT_EQ(relay.backends(), 0U);
    EXPECT_EQ(relay.counters().proxy_headers_refused, 1U);
    EXPECT_EQ(relay.counters().connections_accepted, 0U);
  }
}

TEST_P(IntroductionsTest, AnEndBeforeTheHeaderIsOneForTheFrontEndToo) {
  for (const bool with_reset : {false, true}) {
    ScriptedRelay relay(settings());
    Peer& front_end = connect_front_end(relay);
    front_end.to_relay = "PROXY TCP4";
    relay.run();
    if (with_reset) {
      front_end.reset();
    } else {
      front_end.fin = true;
    }
    relay.run();
    EXPECT_TRUE(front_end.closed);
    EXPECT_EQ(relay.counters().proxy_headers_refused, 1U);
  }
}

TEST_P(IntroductionsTest, AMissingHeaderIsWaitedForUntilItsTimeIsOver) {
  ScriptedRelay relay(settings());
  Peer& silent = connect_front_end(relay);
  Peer& slow = connect_front_end(relay);
  slow.to_relay = "PROXY ";
  relay.advance(Introductions::kHeaderMs - 1);
  EXPECT_FALSE(silent.closed || slow.closed);
  relay.advance(1);
  EXPECT_TRUE(silent.got_reset && slow.got_reset);
  EXPECT_EQ(relay.counters().proxy_headers_refused, 2U);
  EXPECT_EQ(relay.loop.deadlines.next(), std::nullopt);
}

TEST_P(IntroductionsTest, ThoseWhoAreWaitedForCountAsConnections) {
  ScriptedRelay relay(settings());
  for (int i = 0; i < 4; ++i) connect_front_end(relay);
  Peer& client = relay.connect_through();
  EXPECT_EQ(relay.backends(), 0U);
  EXPECT_EQ(relay.counters().accept_pauses, 1U);
  // Their places come free, and those who wait take them.
  relay.advance(Introductions::kHeaderMs);
  relay.advance(1'000);
  EXPECT_EQ(relay.backends(), 1U);
  client.to_relay = "hello";
  relay.run();
  EXPECT_TRUE(relay.backend().from_relay.ends_with("hello"));
}

TEST_P(IntroductionsTest, AnIntroducedClientWaitsForAPlaceLikeOthers) {
  RelaySettings limited = settings();
  limited.connections_max = 1;
  ScriptedRelay relay(limited);
  Peer& first = connect_front_end(relay);
  Peer& second = connect_front_end(relay);
  first.to_relay = header(ProxyProtocol::v1) + "first";
  second.to_relay = header(ProxyProtocol::v1) + "second";
  relay.run();
  EXPECT_EQ(relay.backends(), 1U);
  first.fin = true;
  relay.backend().fin = true;
  relay.run();
  relay.advance(1'000);
  ASSERT_EQ(relay.backends(), 2U);
  EXPECT_EQ(relay.backend().from_relay, sent_on(kTold) + "second");
}

TEST_P(IntroductionsTest, StopsWhileHeadersAreWaitedFor) {
  ScriptedRelay relay(settings());
  connect_front_end(relay).to_relay = "PROXY";
  connect_front_end(relay);
  relay.run();
  relay.stop();
}

TEST_P(IntroductionsTest, EveryCallMayFail) {
  const auto play = [](ScriptedRelay& relay) {
    for (int i = 0; i < 2; ++i) {
      Peer& front_end = connect_front_end(relay);
      front_end.to_relay = "PROXY TCP4 1.2.3.4 ";
      relay.run();
      front_end.to_relay += "5.6.7.8 1 2\r\nrequest";
      front_end.fin = true;
      relay.run();
      if (relay.backends() > 0) relay.backend().fin = true;
      relay.run();
    }
  };
  std::uint64_t calls = 0;
  {
    ScriptedRelay relay(settings());
    play(relay);
    calls = relay.engine.calls();
    EXPECT_EQ(relay.counters().connections_open, 0U);
  }
  for (std::uint64_t number = 1; number <= calls; ++number) {
    SCOPED_TRACE(number);
    ScriptedRelay relay(settings());
    relay.engine.fail_call(number, {{Call::receive_message, -ECONNRESET},
                                    {Call::peer_address, -ENOTCONN},
                                    {Call::open_socket, -EMFILE},
                                    {Call::send, -ENOBUFS}});
    play(relay);
    relay.advance(10'000);
    for (Peer* backend : relay.engine.opened()) backend->fin = true;
    relay.run();
    EXPECT_EQ(relay.counters().connections_open, 0U);
  }
}

}  // namespace
}  // namespace fairlead
