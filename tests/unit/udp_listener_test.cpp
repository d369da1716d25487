#include "proxy/relay/udp_listener.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "proxy/relay/udp_sessions.h"
#include "tests/unit/scripted_datagrams.h"

namespace fairlead {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr int kListenerFd = ScriptedDatagrams::kFirstFd - 1;

IpAddress ip(const char* text) { return *IpAddress::parse(text); }

class UdpRelay : public testing::Test {
 protected:
  UdpRelay() {
    settings_.udp_timeout_ms = 90'000;
    settings_.sessions_max = 1000;
  }
  ~UdpRelay() override { engine_.stop(); }

  void serve(const Endpoint& host = {ip("0.0.0.0"), 53}) {
    loop_.settings = settings_;
    listener_ =
        make_listener(loop_, Protocol::udp, FileDescriptor(kListenerFd), host, backend_, counters_);
    listener_->start();
  }

  void arrive(std::string bytes, int client = 1, int segment_size = 0) {
    engine_.socket(kListenerFd)
        .arrivals.push_back({std::move(bytes), client_of(client), asked_, segment_size});
  }
  static Endpoint client_of(int number) {
    return {ip("192.0.2.7"), static_cast<std::uint16_t>(40'000 + number)};
  }
  void reply(int session, std::string bytes, int segment_size = 0) {
    engine_.opened(session).arrivals.push_back({std::move(bytes), backend_, {}, segment_size});
  }
  /// What the backend socket of the n-th session sent.
  std::vector<Departure>& to_backend(int session) { return engine_.opened(session).departures; }
  std::vector<Departure>& to_clients() { return engine_.socket(kListenerFd).departures; }
  void expire() {
    loop_.deadlines.run(engine_.now());
    engine_.settle();
  }

  ScriptedDatagrams engine_;
  RelaySettings settings_;
  SharedState shared_;
  Counters counters_;
  Loop loop_{.engine = engine_, .settings = {}, .shared = shared_};
  Endpoint backend_{ip("172.17.0.2"), 5353};
  IpAddress asked_ = ip("10.0.0.1");
  std::unique_ptr<Listener> listener_;
};

TEST_F(UdpRelay, PassesADatagramOnThroughAConnectedSocket) {
  serve();
  arrive("ping");
  engine_.settle();
  EXPECT_EQ(engine_.opened(0).peer, backend_);
  EXPECT_THAT(to_backend(0), ElementsAre(Departure{.bytes = "ping"}));
  EXPECT_EQ(counters_.sessions_opened, 1U);
  EXPECT_EQ(counters_.datagrams_to_container, 1U);
  EXPECT_EQ(counters_.bytes_to_container, 4U);
}

TEST_F(UdpRelay, RepliesFromTheAddressThatWasAsked) {
  serve();
  arrive("ping");
  engine_.settle();
  reply(0, "pong");
  engine_.settle();
  EXPECT_THAT(to_clients(),
              ElementsAre(Departure{.bytes = "pong", .to = client_of(1), .from = asked_}));
  EXPECT_EQ(counters_.datagrams_to_client, 1U);
  EXPECT_EQ(counters_.bytes_to_client, 4U);
}

TEST_F(UdpRelay, AsksTheListeningSocketForDestinationAddresses) {
  serve();
  EXPECT_EQ((engine_.socket(kListenerFd).options[{IPPROTO_IP, IP_PKTINFO}]), 1);
  EXPECT_EQ((engine_.socket(kListenerFd).options[{SOL_UDP, UDP_GRO}]), 1);
}

TEST_F(UdpRelay, ServesIpv6InFrontOfIpv4) {
  asked_ = ip("2001:db8::1");
  serve({ip("::"), 53});
  EXPECT_EQ((engine_.socket(kListenerFd).options[{IPPROTO_IPV6, IPV6_RECVPKTINFO}]), 1);
  const Endpoint client{ip("2001:db8::7"), 4000};
  engine_.socket(kListenerFd).arrivals.push_back({"ping", client, asked_, 0});
  engine_.settle();
  reply(0, "pong");
  engine_.settle();
  EXPECT_THAT(to_clients(), ElementsAre(Departure{.bytes = "pong", .to = client, .from = asked_}));
}

TEST_F(UdpRelay, LetsTheKernelChooseTheSourceWhenTheSocketTellsNoDestination) {
  serve();
  engine_.socket(kListenerFd).arrivals.push_back({"ping", client_of(1), {}, 0});
  engine_.settle();
  reply(0, "pong");
  engine_.settle();
  EXPECT_THAT(to_clients(), ElementsAre(Departure{.bytes = "pong", .to = client_of(1)}));
}

TEST_F(UdpRelay, RepliesToIpv6MulticastFromAnAddressTheKernelChooses) {
  asked_ = ip("ff02::fb");
  serve({ip("::"), 53});
  engine_.socket(kListenerFd).arrivals.push_back({"ping", {ip("fe80::7"), 4000}, asked_, 0});
  engine_.settle();
  reply(0, "pong");
  engine_.settle();
  ASSERT_THAT(to_clients(), SizeIs(1));
  EXPECT_EQ(to_clients()[0].from, std::nullopt);
}

TEST_F(UdpRelay, DoesWithoutASourceThatTheKernelRefuses) {
  serve();
  engine_.refused_source = asked_;
  arrive("ping");
  engine_.settle();
  reply(0, "one");
  engine_.settle();
  reply(0, std::string(200, 'x'), 100);
  engine_.settle();
  EXPECT_THAT(to_clients(), ElementsAre(Departure{.bytes = "one", .to = client_of(1)},
                                        Departure{.bytes = std::string(200, 'x'),
                                                  .to = client_of(1),
                                                  .segment_size = 100}));
  EXPECT_EQ(counters_.datagrams_dropped, 0U);
}

TEST_F(UdpRelay, KeepsASessionForEachClientAndEachAddressAsked) {
  serve();
  arrive("a", 1);
  arrive("b", 2);
  asked_ = ip("10.0.0.2");
  arrive("c", 1);
  engine_.settle();
  arrive("d", 1);
  engine_.settle();
  EXPECT_THAT(to_backend(0), ElementsAre(Departure{.bytes = "a"}));
  EXPECT_THAT(to_backend(1), ElementsAre(Departure{.bytes = "b"}));
  EXPECT_THAT(to_backend(2), ElementsAre(Departure{.bytes = "c"}, Departure{.bytes = "d"}));
}

TEST_F(UdpRelay, SendsEqualDatagramsOfAClientAsOneRunAmongOthers) {
  serve();
  arrive("aaaa", 1);
  arrive("1111", 2);
  arrive("bbbb", 1);
  arrive("22222", 2);
  arrive("cc", 1);
  arrive("dddd", 1);
  engine_.settle();
  EXPECT_THAT(to_backend(0), ElementsAre(Departure{.bytes = "aaaabbbbcc", .segment_size = 4},
                                         Departure{.bytes = "dddd"}));
  EXPECT_THAT(to_backend(1), ElementsAre(Departure{.bytes = "1111"}, Departure{.bytes = "22222"}));
  EXPECT_EQ(counters_.datagrams_to_container, 6U);
}

TEST_F(UdpRelay, PassesMergedDatagramsOnWhole) {
  serve();
  arrive(std::string(2500, 'x'), 1, 1000);
  engine_.settle();
  EXPECT_THAT(to_backend(0),
              ElementsAre(Departure{.bytes = std::string(2500, 'x'), .segment_size = 1000}));
  reply(0, std::string(700, 'y'), 100);
  engine_.settle();
  ASSERT_THAT(to_clients(), SizeIs(1));
  EXPECT_EQ(to_clients()[0].segment_size, 100);
  EXPECT_EQ(to_clients()[0].from, asked_);
  EXPECT_EQ(counters_.datagrams_to_container, 3U);
  EXPECT_EQ(counters_.datagrams_to_client, 7U);
}

TEST_F(UdpRelay, PassesEmptyDatagramsOn) {
  serve();
  arrive("");
  arrive("");
  engine_.settle();
  EXPECT_THAT(to_backend(0), ElementsAre(Departure{}, Departure{}));
  reply(0, "");
  engine_.settle();
  EXPECT_THAT(to_clients(), SizeIs(1));
}

TEST_F(UdpRelay, PassesTheLargestDatagramOn) {
  serve();
  const std::string largest(65'507, 'x');
  arrive(largest);
  engine_.settle();
  EXPECT_THAT(to_backend(0), ElementsAre(Departure{.bytes = largest}));
}

TEST_F(UdpRelay, SendsOneByOneWhatIsRefusedAsSegments) {
  serve();
  engine_.segment_size_max = 3;
  arrive("aaaa");
  arrive("bbbb");
  arrive("cc");
  engine_.settle();
  EXPECT_THAT(to_backend(0), ElementsAre(Departure{.bytes = "aaaa"}, Departure{.bytes = "bbbb"},
                                         Departure{.bytes = "cc"}));
  EXPECT_EQ(counters_.datagrams_to_container, 3U);
  EXPECT_EQ(counters_.datagrams_dropped, 0U);

  // Remembered for this size, and smaller ones still go as segments.
  engine_.segment_size_max = 65'535;
  arrive("aaaa");
  arrive("bbbb");
  engine_.settle();
  EXPECT_THAT(to_backend(0), SizeIs(5));
  arrive("ddd");
  arrive("eee");
  engine_.settle();
  EXPECT_EQ(to_backend(0).back(), (Departure{.bytes = "dddeee", .segment_size = 3}));
}

TEST_F(UdpRelay, SplitsMergedDatagramsWhereSegmentsAreNotPossible) {
  serve();
  engine_.segment_size_max = 0;
  arrive("aaaabbbbcc", 1, 4);
  engine_.settle();
  EXPECT_THAT(to_backend(0), ElementsAre(Departure{.bytes = "aaaa"}, Departure{.bytes = "bbbb"},
                                         Departure{.bytes = "cc"}));
  reply(0, "xxxyy", 3);
  engine_.settle();
  EXPECT_THAT(to_clients(),
              ElementsAre(Departure{.bytes = "xxx", .to = client_of(1), .from = asked_},
                          Departure{.bytes = "yy", .to = client_of(1), .from = asked_}));
}

TEST_F(UdpRelay, SendsTheSameDatagramAgainAfterAPendingRefusal) {
  serve();
  arrive("first");
  engine_.settle();
  engine_.opened(0).send_errors = {ECONNREFUSED};
  arrive("second");
  engine_.settle();
  engine_.opened(0).send_errors = {ECONNREFUSED, EHOSTUNREACH};
  arrive("aa");
  arrive("bb");
  engine_.settle();
  EXPECT_THAT(to_backend(0), ElementsAre(Departure{.bytes = "first"}, Departure{.bytes = "second"},
                                         Departure{.bytes = "aabb", .segment_size = 2}));
  EXPECT_EQ(counters_.datagrams_dropped, 0U);
}

TEST_F(UdpRelay, GivesADatagramUpWhenItIsRefusedForGood) {
  serve();
  arrive("first");
  engine_.settle();
  engine_.opened(0).send_errors.assign(4, EHOSTUNREACH);
  arrive("lost");
  arrive("kept!");
  engine_.settle();
  EXPECT_THAT(to_backend(0), ElementsAre(Departure{.bytes = "first"}, Departure{.bytes = "kept!"}));
  EXPECT_EQ(counters_.datagrams_dropped, 1U);
}

TEST_F(UdpRelay, DropsAndCountsARunWithoutRoomInTheSendBuffer) {
  serve();
  arrive("first");
  engine_.settle();
  engine_.opened(0).send_errors = {EAGAIN};
  arrive("aa");
  arrive("bb");
  engine_.settle();
  EXPECT_THAT(to_backend(0), SizeIs(1));
  EXPECT_EQ(counters_.datagrams_dropped, 2U);
}

TEST_F(UdpRelay, KeepsTheSessionWhenTheBackendRefuses) {
  serve();
  arrive("ping");
  engine_.settle();
  engine_.opened(0).receive_errors = {ECONNREFUSED};
  engine_.settle();
  reply(0, "pong");
  engine_.settle();
  EXPECT_THAT(to_clients(), SizeIs(1));
  EXPECT_EQ(counters_.sessions_open, 1U);
}

TEST_F(UdpRelay, KeepsListeningAfterAReceiveError) {
  serve();
  engine_.socket(kListenerFd).receive_errors = {ECONNREFUSED};
  arrive("ping");
  engine_.settle();
  EXPECT_THAT(to_backend(0), SizeIs(1));
}

TEST_F(UdpRelay, TakesOneBatchATurn) {
  serve();
  for (int i = 0; i < 200; ++i) arrive("x");
  engine_.turn({});
  EXPECT_EQ(counters_.datagrams_to_container, DatagramBatch::kMessages);
  engine_.settle();
  EXPECT_EQ(counters_.datagrams_to_container, 200U);
}

TEST_F(UdpRelay, EndsASessionThatWasIdle) {
  serve();
  arrive("ping");
  engine_.settle();
  EXPECT_EQ(loop_.deadlines.next(), engine_.now() + 90'000);
  engine_.pass_time(89'999);
  expire();
  EXPECT_EQ(engine_.open_count(), 1);
  engine_.pass_time(1);
  expire();
  EXPECT_EQ(engine_.open_count(), 0);
  EXPECT_EQ(counters_.sessions_open, 0U);
  EXPECT_EQ(counters_.sessions_evicted, 0U);
  EXPECT_EQ(loop_.deadlines.next(), std::nullopt) << "an idle loop sleeps for good";

  arrive("again");
  engine_.settle();
  EXPECT_THAT(to_backend(1), ElementsAre(Departure{.bytes = "again"}));
}

TEST_F(UdpRelay, EitherDirectionPutsTheEndOff) {
  serve();
  arrive("ping");
  engine_.settle();
  engine_.pass_time(60'000);
  reply(0, "push");
  engine_.settle();
  EXPECT_EQ(loop_.deadlines.next(), engine_.now() + 90'000);
  engine_.pass_time(60'000);
  expire();
  arrive("ping");
  engine_.settle();
  EXPECT_EQ(loop_.deadlines.next(), engine_.now() + 90'000);
  engine_.pass_time(60'000);
  expire();
  EXPECT_EQ(counters_.sessions_opened, 1U);
  EXPECT_EQ(counters_.sessions_open, 1U);
}

TEST_F(UdpRelay, AReplyThatWaitsPutsTheEndOff) {
  serve();
  arrive("ping");
  engine_.settle();
  // Nobody has looked for two minutes.
  engine_.pass_time(120'000);
  reply(0, "pong");
  expire();
  engine_.settle();
  EXPECT_EQ(counters_.datagrams_to_client, 1U);
  EXPECT_EQ(counters_.sessions_open, 1U);
}

TEST_F(UdpRelay, AnErrorDoesNotPutTheEndOff) {
  serve();
  arrive("ping");
  engine_.settle();
  engine_.pass_time(60'000);
  engine_.opened(0).receive_errors = {ECONNREFUSED};
  engine_.settle();
  engine_.pass_time(30'000);
  expire();
  EXPECT_EQ(counters_.sessions_open, 0U);
}

TEST_F(UdpRelay, AFullTableEvictsTheLeastRecentlyUsed) {
  settings_.sessions_max = 3;
  serve();
  for (int client = 1; client <= 3; ++client) {
    arrive("x", client);
    engine_.settle();
    engine_.pass_time(1);
  }
  arrive("x", 1);
  engine_.settle();
  engine_.pass_time(1);
  reply(1, "y");
  engine_.settle();
  arrive("x", 4);
  engine_.settle();
  EXPECT_FALSE(engine_.opened(0).closed);
  EXPECT_FALSE(engine_.opened(1).closed);
  EXPECT_TRUE(engine_.opened(2).closed);
  EXPECT_FALSE(engine_.opened(3).closed);
  EXPECT_EQ(counters_.sessions_evicted, 1U);
  EXPECT_EQ(counters_.sessions_open, 3U);
}

TEST_F(UdpRelay, TheOrderOfUseIsExactWithinOneTickOfTheClock) {
  settings_.sessions_max = 3;
  serve();
  for (const int client : {1, 2, 3, 1, 4, 5}) {
    arrive("x", client);
    engine_.settle();
  }
  EXPECT_FALSE(engine_.opened(0).closed) << "used after the second and the third";
  EXPECT_TRUE(engine_.opened(1).closed);
  EXPECT_TRUE(engine_.opened(2).closed);
}

TEST_F(UdpRelay, EvictedSessionsStillPassOnWhatWasReceivedWithThem) {
  settings_.sessions_max = 2;
  serve();
  for (int client = 1; client <= 10; ++client) arrive("x", client);
  arrive("y", 1);
  engine_.settle();
  for (int session = 0; session < 11; ++session) {
    EXPECT_THAT(to_backend(session), SizeIs(1)) << session;
  }
  EXPECT_EQ(engine_.open_count(), 2);
  EXPECT_EQ(counters_.sessions_evicted, 9U);
}

TEST_F(UdpRelay, MakesRoomWhenTheSystemHasNoMoreSockets) {
  engine_.sockets_max = 200;
  serve();
  for (int client = 0; client < 200; ++client) {
    arrive("x", client);
    engine_.settle();
    engine_.pass_time(1);
  }
  EXPECT_EQ(counters_.sessions_open, 200U);
  arrive("lost", 1000);
  arrive("lost", 1001);
  arrive("kept", 199);
  engine_.settle();
  EXPECT_EQ(counters_.datagrams_dropped, 2U);
  EXPECT_EQ(counters_.sessions_open, 200U - 64U - 1U)
      << "one batch's worth, once, and one for the second new client";
  EXPECT_THAT(to_backend(199), SizeIs(2)) << "the most recently used session lives";

  // The next batch finds room for all of its new clients.
  for (int client = 2000; client < 2064; ++client) arrive("x", client);
  engine_.settle();
  EXPECT_EQ(counters_.datagrams_dropped, 2U);
  EXPECT_EQ(counters_.sessions_open, 136U);

  // The refusal is not believed for ever.
  engine_.sockets_max = 1000;
  engine_.pass_time(10'000);
  for (int client = 3000; client < 3100; ++client) arrive("x", client);
  engine_.settle();
  EXPECT_EQ(counters_.sessions_open, 236U);
}

TEST_F(UdpRelay, SurvivesARefusalOfEverySocket) {
  serve();
  engine_.socket_error = EMFILE;
  for (int i = 0; i < 100; ++i) arrive("lost", i);
  engine_.settle();
  engine_.socket_error = 0;
  engine_.connect_error = ENETUNREACH;
  arrive("lost");
  engine_.settle();
  EXPECT_EQ(counters_.datagrams_dropped, 101U);
  EXPECT_EQ(engine_.open_count(), 0);

  engine_.connect_error = 0;
  for (int i = 0; i < 100; ++i) arrive("kept", i);
  engine_.settle();
  EXPECT_EQ(counters_.sessions_open, 100U);
  EXPECT_EQ(counters_.sessions_evicted, 0U);
}

TEST_F(UdpRelay, PortsOfALoopShareTheLimit) {
  settings_.sessions_max = 2;
  serve();
  const int other_fd = kListenerFd - 1;
  const auto other = make_listener(loop_, Protocol::udp, FileDescriptor(other_fd),
                                   {ip("0.0.0.0"), 54}, backend_, counters_);
  other->start();
  for (int client = 1; client <= 2; ++client) {
    arrive("x", client);
    engine_.settle();
    engine_.pass_time(1);
  }
  engine_.socket(other_fd).arrivals.push_back({"z", client_of(2), asked_, 0});
  engine_.settle();
  EXPECT_TRUE(engine_.opened(0).closed);
  reply(2, "answer");
  engine_.settle();
  EXPECT_THAT(engine_.socket(other_fd).departures, SizeIs(1));
  EXPECT_THAT(to_clients(), IsEmpty());
  engine_.stop();
}

TEST_F(UdpRelay, ManySessionsAreFoundAgain) {
  settings_.sessions_max = 0;
  serve();
  for (int round = 0; round < 2; ++round) {
    for (int client = 0; client < 5000; ++client) arrive("x", client);
    engine_.settle();
  }
  EXPECT_EQ(counters_.sessions_opened, 5000U);
  for (int session = 0; session < 5000; ++session) EXPECT_THAT(to_backend(session), SizeIs(2));
}

// Clients that are not admitted.

TEST_F(UdpRelay, DropsWhatClientsSendWhoAreNotAdmitted) {
  settings_.access_rules = parse_access_rules(false, "53/udp=198.51.100.0/24").value();
  serve();
  engine_.socket(kListenerFd).arrivals.push_back({"no", {ip("198.51.100.1"), 99}, asked_, 0});
  arrive("yes");
  engine_.socket(kListenerFd).arrivals.push_back({"no", {ip("198.51.100.1"), 99}, asked_, 0});
  engine_.settle();
  EXPECT_EQ(engine_.open_count(), 1);
  EXPECT_THAT(to_backend(0), ElementsAre(Departure{.bytes = "yes"}));
  EXPECT_EQ(counters_.clients_denied, 2U);
  EXPECT_EQ(counters_.datagrams_dropped, 2U);
}

// PROXY headers.

class UdpProxyHeader : public UdpRelay {
 protected:
  UdpProxyHeader() { settings_.proxy_protocol = ProxyProtocol::v2; }

  std::string header_of(int client) const {
    return encode_proxy_header(ProxyProtocol::v2, Protocol::udp, {client_of(client), {asked_, 53}});
  }
};

TEST_F(UdpProxyHeader, StandsBeforeEachDatagramToTheBackendAndBeforeNoReply) {
  serve();
  arrive("ping");
  arrive("");
  engine_.settle();
  arrive("pong", 2);
  engine_.settle();
  reply(0, "answer");
  engine_.settle();
  EXPECT_THAT(to_backend(0), ElementsAre(Departure{.bytes = header_of(1) + "ping"},
                                         Departure{.bytes = header_of(1)}));
  EXPECT_THAT(to_backend(1), ElementsAre(Departure{.bytes = header_of(2) + "pong"}));
  EXPECT_EQ(to_clients()[0].bytes, "answer");
  EXPECT_EQ(counters_.bytes_to_container, 8U);
}

TEST_F(UdpProxyHeader, StandsBeforeEachDatagramOfASegmentedSend) {
  serve();
  arrive("aabbc", 1, 2);
  engine_.settle();
  const std::string header = header_of(1);
  EXPECT_THAT(to_backend(0),
              ElementsAre(Departure{.bytes = header + "aa" + header + "bb" + header + "c",
                                    .segment_size = static_cast<int>(header.size()) + 2}));
  EXPECT_EQ(counters_.datagrams_to_container, 3U);
  EXPECT_EQ(counters_.bytes_to_container, 5U);
}

TEST_F(UdpProxyHeader, StandsBeforeEachDatagramWhereSegmentsAreRefused) {
  engine_.segment_size_max = 0;
  serve();
  arrive("aabbc", 1, 2);
  engine_.settle();
  const std::string header = header_of(1);
  EXPECT_THAT(to_backend(0),
              ElementsAre(Departure{.bytes = header + "aa"}, Departure{.bytes = header + "bb"},
                          Departure{.bytes = header + "c"}));
  EXPECT_EQ(counters_.bytes_to_container, 5U);
}

TEST_F(UdpProxyHeader, NamesTheListeningAddressWhereTheSocketTellsNoDestination) {
  serve();
  engine_.socket(kListenerFd).arrivals.push_back({"ping", client_of(1), {}, 0});
  engine_.settle();
  asked_ = ip("0.0.0.0");
  EXPECT_THAT(to_backend(0), ElementsAre(Departure{.bytes = header_of(1) + "ping"}));
}

// From front ends.

class UdpFrontEnd : public UdpRelay {
 protected:
  UdpFrontEnd() { settings_.front_ends = {Subnet::parse("192.0.2.0/24").value()}; }

  static AddressPair told(int client) {
    return {{ip("203.0.113.9"), static_cast<std::uint16_t>(5'000 + client)},
            {ip("198.51.100.1"), 443}};
  }
  static std::string header(const AddressPair& addresses) {
    return encode_proxy_header(ProxyProtocol::v2, Protocol::udp, addresses);
  }
  static std::string local_header() {
    std::string bytes = header(told(1)).substr(0, 16);
    bytes[12] = 0x20;
    bytes[15] = 0;
    return bytes;
  }
};

TEST_F(UdpFrontEnd, HasASessionForEachClientItSpeaksForAndIsAnsweredItself) {
  serve();
  arrive(header(told(1)) + "one");
  arrive(header(told(2)) + "two");
  arrive(header(told(1)) + "three");
  engine_.settle();
  arrive(header(told(2)) + "four");
  engine_.settle();
  EXPECT_THAT(to_backend(0), ElementsAre(Departure{.bytes = "one"}, Departure{.bytes = "three"}));
  EXPECT_THAT(to_backend(1), ElementsAre(Departure{.bytes = "two"}, Departure{.bytes = "four"}));
  reply(1, "answer");
  reply(0, "other");
  engine_.settle();
  EXPECT_THAT(to_clients(), testing::UnorderedElementsAre(
                                Departure{.bytes = "answer", .to = client_of(1), .from = asked_},
                                Departure{.bytes = "other", .to = client_of(1), .from = asked_}));
  EXPECT_EQ(counters_.bytes_to_container, 15U);
}

TEST_F(UdpFrontEnd, IsAnsweredWhereItAskedFromWhenSeveralSpeakForOneClient) {
  serve();
  arrive(header(told(1)) + "ping", 1);
  arrive(header(told(1)) + "ping", 2);
  engine_.settle();
  reply(1, "pong");
  engine_.settle();
  EXPECT_EQ(counters_.sessions_open, 2U);
  ASSERT_THAT(to_clients(), SizeIs(1));
  EXPECT_EQ(to_clients()[0].to, client_of(2));
}

TEST_F(UdpFrontEnd, DistinguishesTheAddressesThatItsClientsAsked) {
  settings_.proxy_protocol = ProxyProtocol::v2;
  serve();
  AddressPair other = told(1);
  other.host.port = 80;
  arrive(header(told(1)) + "a");
  arrive(header(other) + "b");
  engine_.settle();
  EXPECT_THAT(to_backend(0), ElementsAre(Departure{.bytes = header(told(1)) + "a"}));
  EXPECT_THAT(to_backend(1), ElementsAre(Departure{.bytes = header(other) + "b"}));
}

TEST_F(UdpFrontEnd, ServesIpv6ClientsToo) {
  settings_.proxy_protocol = ProxyProtocol::v2;
  serve();
  const AddressPair v6{{ip("2001:db8::9"), 5000}, {ip("2001:db8::1"), 443}};
  AddressPair sibling = v6;
  sibling.client.ip = ip("2001:db8::a");
  arrive(header(v6) + "a");
  arrive(header(sibling) + "b");
  arrive(header(v6) + "c");
  engine_.settle();
  EXPECT_THAT(to_backend(0), ElementsAre(Departure{.bytes = header(v6) + "a" + header(v6) + "c",
                                                   .segment_size = 53}));
  EXPECT_THAT(to_backend(1), ElementsAre(Departure{.bytes = header(sibling) + "b"}));
}

TEST_F(UdpFrontEnd, MaySpeakForItself) {
  settings_.proxy_protocol = ProxyProtocol::v2;
  serve();
  arrive(local_header() + "health");
  arrive(local_header());
  engine_.settle();
  const std::string own = header({client_of(1), {asked_, 53}});
  EXPECT_THAT(to_backend(0),
              ElementsAre(Departure{.bytes = own + "health"}, Departure{.bytes = own}));
}

TEST_F(UdpFrontEnd, MayHaveItsClientOnAStream) {
  serve();
  std::string bytes = header(told(1)) + "query";
  bytes[13] = 0x11;
  arrive(bytes);
  arrive(header(told(1)) + "other");
  engine_.settle();
  EXPECT_THAT(to_backend(0), ElementsAre(Departure{.bytes = "queryother", .segment_size = 5}));
}

TEST_F(UdpFrontEnd, LosesDatagramsWhoseHeaderIsWrong) {
  serve();
  const std::string whole = header(told(1)) + "ping";
  std::string version = whole;
  version[12] = 0x11;
  for (const std::string& bad :
       {std::string(), std::string("ping"), whole.substr(0, 15), whole.substr(0, 27), version,
        encode_proxy_header(ProxyProtocol::v1, Protocol::tcp, told(1)) + "ping"}) {
    arrive(bad);
  }
  arrive(whole);
  engine_.settle();
  EXPECT_THAT(to_backend(0), ElementsAre(Departure{.bytes = "ping"}));
  EXPECT_EQ(engine_.open_count(), 1);
  EXPECT_EQ(counters_.proxy_headers_refused, 6U);
  EXPECT_EQ(counters_.datagrams_dropped, 6U);
  EXPECT_EQ(shared_.header_failures.held_back(), 3U);
}

TEST_F(UdpFrontEnd, NobodyElseIsOne) {
  serve();
  const Endpoint stranger{ip("198.51.100.77"), 99};
  const std::string bytes = header(told(1)) + "ping";
  engine_.socket(kListenerFd).arrivals.push_back({bytes, stranger, asked_, 0});
  engine_.settle();
  EXPECT_THAT(to_backend(0), ElementsAre(Departure{.bytes = bytes}));
}

TEST_F(UdpFrontEnd, ItsClientsAreThoseWhoAreAdmittedOrNot) {
  settings_.access_rules = parse_access_rules(false, "203.0.113.9").value();
  serve();
  arrive(header(told(1)) + "no");
  arrive(local_header() + "yes");
  engine_.settle();
  EXPECT_THAT(to_backend(0), ElementsAre(Departure{.bytes = "yes"}));
  EXPECT_EQ(counters_.clients_denied, 1U);
}

TEST_F(UdpFrontEnd, SendsDatagramsThatTheKernelMustNotMerge) {
  engine_.socket(kListenerFd).options[{SOL_UDP, UDP_GRO}] = 1;
  serve();
  EXPECT_EQ((engine_.socket(kListenerFd).options[{SOL_UDP, UDP_GRO}]), 0);
}

TEST(UdpFlow, DistinguishesLinksOfLinkLocalAddressesOnly) {
  const auto flow_of = [](const char* client, const char* host, unsigned interface) {
    sockaddr_in6 from{};
    from.sin6_family = AF_INET6;
    from.sin6_port = htons(99);
    std::memcpy(&from.sin6_addr, ip(client).bytes().data(), 16);
    if (IN6_IS_ADDR_LINKLOCAL(&from.sin6_addr)) from.sin6_scope_id = interface;
    in6_pktinfo info{};
    std::memcpy(&info.ipi6_addr, ip(host).bytes().data(), 16);
    info.ipi6_ifindex = interface;
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof info)> control{};
    const cmsghdr header{CMSG_LEN(sizeof info), IPPROTO_IPV6, IPV6_PKTINFO};
    std::memcpy(control.data(), &header, sizeof header);
    std::memcpy(control.data() + CMSG_LEN(0), &info, sizeof info);
    msghdr message{};
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    return UdpFlow::of(SocketAddress(from), message);
  };
  EXPECT_EQ(flow_of("2001:db8::7", "2001:db8::1", 2), flow_of("2001:db8::7", "2001:db8::1", 3));
  EXPECT_NE(flow_of("fe80::7", "fe80::1", 2), flow_of("fe80::7", "fe80::1", 3));
  EXPECT_EQ(flow_of("fe80::7", "fe80::1", 2).client_address(AF_INET6).v6().sin6_scope_id, 2U);
}

}  // namespace
}  // namespace fairlead
