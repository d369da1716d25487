// For tests of TCP connections over the scripted engine.

#pragma once

#include <gtest/gtest.h>

#include "tests/unit/scripted_relay.h"

namespace fairlead {

/// Run for each way of moving bytes.
class TcpConnectionTest : public ::testing::TestWithParam<RelayMode> {
 protected:
  using Call = ScriptedEngine::Call;
  using Peer = ScriptedEngine::Peer;

  static RelaySettings settings() { return {.mode = GetParam(), .connections_max = 1'000}; }

  static bool closed_in_order(const Peer& peer) {
    return peer.closed && peer.got_fin && !peer.got_reset;
  }
};

}  // namespace fairlead
