// The TCP relay when anything fails at any time, and when everything happens in any order.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "tests/unit/scripted_relay.h"

namespace fairlead {
namespace {

using Call = ScriptedEngine::Call;
using Peer = ScriptedEngine::Peer;

std::string text_of(std::size_t size, std::size_t seed) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('!' + (i * 7 + seed) % 90);
  return text;
}

class TcpTortureTest : public ::testing::TestWithParam<RelayMode> {
 protected:
  static RelaySettings settings() {
    return {.mode = GetParam(), .connect_timeout_ms = 3'000, .connections_max = 1'000};
  }
};

FAIRLEAD_FOR_EVERY_RELAY_MODE(TcpTortureTest);

// Failing every call in turn.

/// Errors that end a connection, and shortages that pass.
const std::map<Call, int> kFatal = {{Call::accept, -ECONNABORTED},
                                    {Call::connect, -ECONNREFUSED},
                                    {Call::receive, -ECONNRESET},
                                    {Call::send, -EPIPE},
                                    {Call::splice, -EIO},
                                    {Call::shutdown_write, -ENOTCONN},
                                    {Call::open_socket, -EAFNOSUPPORT},
                                    {Call::set_option, -EINVAL},
                                    {Call::open_pipe, -EPERM}};
const std::map<Call, int> kShortage = {{Call::accept, -EMFILE},      {Call::receive, -ENOBUFS},
                                       {Call::send, -ENOBUFS},       {Call::splice, -ENOMEM},
                                       {Call::open_socket, -EMFILE}, {Call::set_option, -ENOBUFS},
                                       {Call::open_pipe, -ENFILE}};

constexpr std::size_t kRequestBytes = 50'000;
constexpr std::size_t kResponseBytes = 70'000;

/// One client after the other: a request with a half-close and its response; a server that speaks
/// first and closes first; a client that is reset in the middle.
void play_scenario(ScriptedRelay& relay) {
  Peer& asking = relay.connect();
  asking.to_relay = text_of(kRequestBytes, 0);
  asking.fin = true;
  relay.run();
  relay.advance(200);
  for (Peer* backend : relay.engine.opened()) {
    backend->room = 10'000;
    backend->to_relay += text_of(kResponseBytes, 1);
    backend->fin = true;
  }
  relay.run();
  relay.advance(200);
  for (Peer* backend : relay.engine.opened()) backend->room = ScriptedEngine::kUnlimited;
  relay.run();

  Peer& listening = relay.connect();
  relay.run();
  const std::size_t opened = relay.backends();
  if (opened > 1) {
    relay.backend().to_relay = "banner";
    relay.backend().fin = true;
  }
  relay.run();
  relay.advance(200);
  listening.to_relay = "thanks";
  listening.fin = true;
  relay.run();

  Peer& broken = relay.connect();
  broken.to_relay = "soon broken";
  relay.run();
  broken.reset();
  relay.run();
}

/// Every far end is done; what the relay still holds must end now.
void finish(ScriptedRelay& relay) {
  for (int i = 0; i < 3; ++i) {
    for (Peer* backend : relay.engine.opened()) {
      backend->fin = true;
      backend->room = ScriptedEngine::kUnlimited;
    }
    relay.run();
    relay.advance(10'000);
  }
  EXPECT_EQ(relay.counters().connections_open, 0U) << "a connection is stuck";
  for (const Peer* backend : relay.engine.opened()) EXPECT_TRUE(backend->closed);
}

TEST_P(TcpTortureTest, EveryCallMayFail) {
  std::uint64_t calls = 0;
  {
    ScriptedRelay relay(settings());
    play_scenario(relay);
    calls = relay.engine.calls();
    finish(relay);
    ASSERT_EQ(relay.backends(), 3U);
    EXPECT_EQ(relay.engine.opened()[0]->from_relay, text_of(kRequestBytes, 0));
  }
  ASSERT_GT(calls, 20U);
  for (const auto* errors : {&kFatal, &kShortage}) {
    // A shortage makes more calls.
    for (std::uint64_t number = 1; number <= calls + 10; ++number) {
      SCOPED_TRACE(::testing::Message()
                   << (errors == &kFatal ? "error" : "shortage") << " at call " << number);
      ScriptedRelay relay(settings());
      relay.engine.fail_call(number, *errors);
      play_scenario(relay);
      finish(relay);
      // A shortage delays, but loses nothing.
      if (errors == &kShortage) {
        ASSERT_GE(relay.backends(), 3U);
        EXPECT_TRUE(relay.engine.opened()[0]->from_relay == text_of(kRequestBytes, 0));
        EXPECT_EQ(relay.engine.opened()[1]->from_relay, "thanks");
      }
      if (HasFailure()) return;
    }
  }
}

// Random exchanges, compared with what was sent.

class RandomExchange {
 public:
  RandomExchange(RelayMode mode, std::uint64_t seed, bool with_resets)
      : random_(seed),
        with_resets_(with_resets),
        relay_({.mode = mode, .connections_max = 6}, static_cast<std::uint16_t>(2 + seed % 7),
               static_cast<std::uint16_t>(1 + seed % 3)) {
    if (seed % 3 == 0) relay_.engine.set_connect_result(std::nullopt);
    if (seed % 2 == 0) {
      relay_.engine.shorten = [this](Call call, std::size_t size) {
        if (call == Call::send && one_in(8)) return std::size_t{0};
        return one_in(3) ? size : up_to(size) + 1;
      };
    }
  }

  void play() {
    for (int step = 0; step < 400; ++step) {
      act();
      relay_.engine.turn(std::nullopt);
      relay_.loop.deadlines.run(relay_.engine.now());
    }
    end();
    check();
  }

 private:
  struct End {
    Peer* peer;
    /// All that it sends in its life.
    std::string sent;
    std::size_t begun = 0;
  };
  struct Exchange {
    End client;
    End backend;
    bool was_reset = false;
  };

  std::size_t up_to(std::size_t most) {
    return std::uniform_int_distribution<std::size_t>(0, most)(random_);
  }
  bool one_in(std::size_t n) { return up_to(n - 1) == 0; }
  std::size_t some_size() {
    constexpr std::array<std::size_t, 5> kMost = {0, 10, 3'000, 60'000, 900'000};
    return up_to(kMost[up_to(kMost.size() - 1)]);
  }

  void act() {
    if (one_in(20) && exchanges_.size() < 12) {
      const std::size_t number = exchanges_.size();
      exchanges_.push_back({.client = {&relay_.connect(), text_of(some_size(), number)},
                            .backend = {nullptr, text_of(some_size(), number + 1'000)}});
    }
    if (one_in(30)) inject();
    if (one_in(10)) relay_.engine.set_time(relay_.engine.now() + static_cast<TimeMs>(up_to(300)));
    match_backends();
    for (Exchange& exchange : exchanges_) {
      act(exchange, exchange.client);
      if (exchange.backend.peer != nullptr) {
        act(exchange, exchange.backend);
        if (!exchange.backend.peer->connect_result && one_in(4)) {
          exchange.backend.peer->connect_result = 0;
        }
      }
    }
  }

  void act(Exchange& exchange, End& end) {
    Peer& peer = *end.peer;
    if (peer.closed || peer.broken) return;
    if (one_in(3)) send_some(end, up_to(std::max<std::size_t>(end.sent.size() / 4, 1)));
    if (end.begun == end.sent.size() && one_in(10)) peer.fin = true;
    if (one_in(4)) peer.room = one_in(2) ? ScriptedEngine::kUnlimited : up_to(40'000);
    if (with_resets_ && one_in(150)) {
      peer.reset();
      exchange.was_reset = true;
    }
  }

  static void send_some(End& end, std::size_t size) {
    if (end.peer->fin || end.peer->closed) return;
    end.peer->to_relay += end.sent.substr(end.begun, size);
    end.begun = std::min(end.sent.size(), end.begun + size);
  }

  void inject() {
    constexpr std::array<std::pair<Call, int>, 7> kShortages = {{{Call::accept, -EMFILE},
                                                                 {Call::open_socket, -ENFILE},
                                                                 {Call::open_pipe, -EMFILE},
                                                                 {Call::send, -EAGAIN},
                                                                 {Call::send, -ENOBUFS},
                                                                 {Call::splice, -EAGAIN},
                                                                 {Call::receive, -ENOBUFS}}};
    const auto& [call, error] = kShortages[up_to(kShortages.size() - 1)];
    relay_.engine.script(call, {error});
  }

  /// Backend sockets are opened in the order in which clients came.
  void match_backends() {
    for (std::size_t i = 0; i < exchanges_.size() && i < relay_.backends(); ++i) {
      exchanges_[i].backend.peer = relay_.engine.opened()[i];
    }
  }

  void end() {
    for (int i = 0; i < 40; ++i) {
      match_backends();
      for (Exchange& exchange : exchanges_) {
        for (End* end : {&exchange.client, &exchange.backend}) {
          if (end->peer == nullptr) continue;
          end->peer->room = ScriptedEngine::kUnlimited;
          if (!end->peer->connect_result) end->peer->connect_result = 0;
          if (!end->peer->broken) send_some(*end, end->sent.size());
          end->peer->fin = true;
        }
      }
      relay_.run();
      relay_.advance(1'000);
    }
  }

  void check() {
    EXPECT_EQ(relay_.counters().connections_open, 0U) << "a connection is stuck";
    EXPECT_EQ(relay_.backends(), exchanges_.size());
    for (const Exchange& exchange : exchanges_) {
      if (exchange.backend.peer == nullptr) continue;
      const Peer& client = *exchange.client.peer;
      const Peer& backend = *exchange.backend.peer;
      EXPECT_TRUE(client.closed && backend.closed);
      if (exchange.was_reset) {
        EXPECT_TRUE(exchange.client.sent.starts_with(backend.from_relay));
        EXPECT_TRUE(exchange.backend.sent.starts_with(client.from_relay));
      } else {
        EXPECT_TRUE(backend.from_relay == exchange.client.sent);
        EXPECT_TRUE(client.from_relay == exchange.backend.sent);
        EXPECT_TRUE(client.got_fin && !client.got_reset);
        EXPECT_TRUE(backend.got_fin && !backend.got_reset);
      }
    }
  }

  std::mt19937_64 random_;
  bool with_resets_;
  ScriptedRelay relay_;
  std::vector<Exchange> exchanges_;
};

TEST_P(TcpTortureTest, RandomExchangesArriveAsSent) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    RandomExchange(GetParam(), seed, false).play();
    if (HasFailure()) return;
  }
}

TEST_P(TcpTortureTest, RandomExchangesWithResetsEnd) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    RandomExchange(GetParam(), seed, true).play();
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace fairlead
