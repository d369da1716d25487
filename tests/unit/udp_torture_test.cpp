// The UDP relay when any call fails.

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <string>

#include "proxy/log/log.h"
#include "proxy/relay/listener.h"
#include "proxy/relay/loop.h"
#include "tests/unit/scripted_datagrams.h"

namespace fairlead {
namespace {

using Call = ScriptedDatagrams::Call;

constexpr int kListenerFd = ScriptedDatagrams::kFirstFd - 1;
const Endpoint kHost{*IpAddress::parse("192.0.2.1"), 53};
const Endpoint kBackend{*IpAddress::parse("172.17.0.2"), 53};

/// Errors of a network that is not well, and shortages.
const std::map<Call, int> kFatal = {{Call::send, -EHOSTUNREACH},
                                    {Call::receive, -ECONNREFUSED},
                                    {Call::open_socket, -EAFNOSUPPORT},
                                    {Call::connect, -ENETUNREACH},
                                    {Call::set_option, -ENOPROTOOPT}};
const std::map<Call, int> kShortage = {{Call::send, -ENOBUFS},
                                       {Call::receive, -ENOMEM},
                                       {Call::open_socket, -EMFILE},
                                       {Call::connect, -EAGAIN},
                                       {Call::set_option, -ENOMEM}};

/// A published UDP port whose clients are told of in a header, if wanted.
class Exchange {
 public:
  explicit Exchange(ProxyProtocol header)
      : loop_{.engine = engine,
              .settings = {.udp_timeout_ms = 90'000, .sessions_max = 3, .proxy_protocol = header},
              .shared = shared_} {
    set_up_log(LogLevel::off, LogFormat::text);
  }
  ~Exchange() {
    engine.stop();
    set_up_log(LogLevel::info, LogFormat::text);
  }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  /// More clients than there may be sessions, single datagrams and runs of them, a backend that
  /// answers and one that is away.
  void play() {
    listener_ =
        make_listener(loop_, Protocol::udp, FileDescriptor(kListenerFd), kHost, kBackend, counters);
    listener_->start();
    for (int client = 1; client <= 4; ++client) {
      ask(client, "question " + std::to_string(client));
      ask(client, std::string(2'500, 'q'), 1'000);
      answer("answer " + std::to_string(client));
      answer(std::string(2'500, 'a'), 1'000);
    }
    for (int socket = 0; socket < sockets(); ++socket) {
      if (!engine.opened(socket).closed) engine.opened(socket).receive_errors = {ECONNREFUSED};
    }
    engine.settle();
  }

  /// Whether a client that comes now is served.
  bool serves_another() {
    ask(9, "one more");
    const ScriptedSocket& backend = engine.opened(sockets() - 1);
    if (backend.departures.empty() || !backend.departures.back().bytes.ends_with("one more")) {
      return false;
    }
    answer("served");
    const auto& departures = engine.socket(kListenerFd).departures;
    return !departures.empty() && departures.back().bytes == "served";
  }

  void pass_time() {
    engine.pass_time(loop_.settings.udp_timeout_ms + 1'000);
    loop_.deadlines.run(engine.now());
    engine.settle();
  }

  ScriptedDatagrams engine;
  Counters counters;

 private:
  void ask(int client, std::string bytes, int segment_size = 0) {
    const Endpoint from{*IpAddress::parse("192.0.2.7"), static_cast<std::uint16_t>(4'000 + client)};
    engine.socket(kListenerFd).arrivals.push_back({std::move(bytes), from, kHost.ip, segment_size});
    engine.settle();
  }
  /// From the backend of the newest session.
  void answer(std::string bytes, int segment_size = 0) {
    if (sockets() == 0 || engine.opened(sockets() - 1).closed) return;
    engine.opened(sockets() - 1).arrivals.push_back({std::move(bytes), kBackend, {}, segment_size});
    engine.settle();
  }
  int sockets() const { return engine.opened_count(); }

  SharedState shared_;
  Loop loop_;
  std::unique_ptr<Listener> listener_;
};

class UdpTortureTest : public ::testing::TestWithParam<ProxyProtocol> {};

INSTANTIATE_TEST_SUITE_P(Every, UdpTortureTest,
                         ::testing::Values(ProxyProtocol::none, ProxyProtocol::v2),
                         [](const auto& header) {
                           return std::string(header.param == ProxyProtocol::v2 ? "header"
                                                                                : "plain");
                         });

TEST_P(UdpTortureTest, EveryCallMayFail) {
  std::uint64_t calls = 0;
  {
    Exchange exchange(GetParam());
    exchange.play();
    calls = exchange.engine.calls();
    EXPECT_EQ(exchange.counters.sessions_opened, 4U);
    EXPECT_EQ(exchange.counters.datagrams_to_client, 16U);
    EXPECT_TRUE(exchange.serves_another());
  }
  ASSERT_GT(calls, 20U);
  for (const auto* errors : {&kFatal, &kShortage}) {
    for (std::uint64_t number = 1; number <= calls; ++number) {
      SCOPED_TRACE(::testing::Message()
                   << (errors == &kFatal ? "error" : "shortage") << " at call " << number);
      Exchange exchange(GetParam());
      exchange.engine.fail_call(number, *errors);
      exchange.play();
      EXPECT_TRUE(exchange.serves_another());
      exchange.pass_time();
      EXPECT_EQ(exchange.counters.sessions_open, 0U) << "a session is stuck";
      EXPECT_EQ(exchange.engine.open_count(), 0) << "a socket is left open";
      if (HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace fairlead
