#include "proxy/relay/datagram_load.h"

#include <gtest/gtest.h>

namespace fairlead {
namespace {

TEST(DatagramLoad, GathersWhileSessionsSendRuns) {
  DatagramLoad load;
  EXPECT_FALSE(load.gathers());
  load.note_sent(3);
  load.note_sent(1);
  EXPECT_FALSE(load.gathers()) << "in this turn nobody is let in any more";
  load.end_turn();
  EXPECT_TRUE(load.gathers());
  load.note_sent(1);
  load.note_sent(2);
  load.end_turn();
  EXPECT_FALSE(load.gathers());
}

TEST(DatagramLoad, SingleExchangesAreNotHeldUp) {
  DatagramLoad load;
  for (int turn = 0; turn < 3; ++turn) {
    load.note_sent(1);
    load.end_turn();
    EXPECT_FALSE(load.gathers());
  }
}

TEST(DatagramLoad, WhatHasGatheredIsReceivedFirst) {
  DatagramLoad load;
  load.note_full_batch();
  load.note_sent(64);
  load.end_turn();
  EXPECT_FALSE(load.gathers());
  load.note_sent(64);
  load.end_turn();
  EXPECT_TRUE(load.gathers());
}

TEST(DatagramLoad, ATurnWithoutDatagramsDoesNotGather) {
  DatagramLoad load;
  load.note_sent(64);
  load.end_turn();
  load.end_turn();
  EXPECT_FALSE(load.gathers());
}

}  // namespace
}  // namespace fairlead
