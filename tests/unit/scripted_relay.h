// A published TCP port on the scripted engine.

#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "proxy/relay/tcp_listener.h"
#include "tests/unit/scripted_engine.h"

namespace fairlead {

/// The relay under test, its clock and its two kinds of far ends. On destruction it stops as a
/// proxy does, and checks that no descriptor is left.
class ScriptedRelay {
 public:
  using Peer = ScriptedEngine::Peer;
  using Call = ScriptedEngine::Call;

  explicit ScriptedRelay(const RelaySettings& settings = {.connections_max = 1'000},
                         std::uint16_t small_buffers = 8, std::uint16_t large_buffers = 2);
  ~ScriptedRelay();

  /// A client connects. The relay has not run yet.
  Peer& connect() { return engine.connect_to(listener_fd_); }
  /// A client connects, and the backend answers. The backend's end is backend().
  Peer& connect_through();
  /// The far end of the backend socket that was opened last.
  Peer& backend() { return *engine.opened().back(); }
  std::size_t backends() { return engine.opened().size(); }

  /// Runs until nothing is left to do at this time. Fails the test when it never comes to rest.
  void run();
  /// Time passes, deadlines are met.
  void advance(TimeMs time_ms);
  const Counters& counters() const { return counters_; }
  /// The port takes no more clients.
  void retire(Listener::Queue queue) { listener_->retire(queue); }
  /// Ends the relay early.
  void stop();

 private:
  std::size_t descriptors_before_;

 public:
  ScriptedEngine engine;
  SharedState shared;
  Loop loop;

 private:
  Counters counters_;
  int listener_fd_;
  std::unique_ptr<TcpListener> listener_;
};

#define FAIRLEAD_FOR_EVERY_RELAY_MODE(suite)                                     \
  INSTANTIATE_TEST_SUITE_P(                                                      \
      Every, suite, ::testing::Values(RelayMode::automatic, RelayMode::splice),  \
      [](const ::testing::TestParamInfo<RelayMode>& mode) {                      \
        return std::string(mode.param == RelayMode::splice ? "splice" : "copy"); \
      })

}  // namespace fairlead
