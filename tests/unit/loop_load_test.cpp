#include "proxy/relay/loop_load.h"

#include <gtest/gtest.h>

namespace fairlead {
namespace {

class LoopLoadTest : public ::testing::Test {
 protected:
  /// Windows of 20 ms in which the loop used so much of a processor and slept so often.
  void pass(int windows, int percent, std::int64_t turns, std::int64_t sleeps) {
    for (int i = 0; i < windows; ++i) {
      usage_.processor_us += LoopLoad::kWindowMs * 10 * percent;
      usage_.sleeps += sleeps;
      load_.note_window(LoopLoad::kWindowMs, turns, usage_);
    }
  }

  LoopLoad load_;
  LoopLoad::Usage usage_;
};

TEST_F(LoopLoadTest, AlwaysWorkingForSomeTimeIsSaturated) {
  pass(2, 100, 500, 0);
  EXPECT_FALSE(load_.saturated());
  EXPECT_TRUE(load_.busy());
  pass(1, 100, 500, 0);
  EXPECT_TRUE(load_.saturated());
  pass(1, 50, 500, 400);
  EXPECT_FALSE(load_.saturated()) << "it has time again";
}

TEST_F(LoopLoadTest, SleepingBetweenTurnsIsNot) {
  pass(10, 90, 400, 390);
  EXPECT_FALSE(load_.saturated());
  EXPECT_TRUE(load_.busy());
}

TEST_F(LoopLoadTest, OthersTakingTheProcessorDoNotHideIt) {
  pass(3, 65, 300, 20);
  EXPECT_TRUE(load_.saturated());
}

TEST_F(LoopLoadTest, ShortBurstsAreNot) {
  pass(10, 5, 100, 1);
  EXPECT_FALSE(load_.saturated());
  EXPECT_FALSE(load_.busy());
}

TEST_F(LoopLoadTest, ALongSleepEndsAWindowThatWasNotBusy) {
  pass(3, 100, 500, 0);
  usage_.processor_us += 20'000;
  load_.note_window(5'000, 20, usage_);
  EXPECT_FALSE(load_.busy());
  EXPECT_FALSE(load_.saturated());
}

TEST_F(LoopLoadTest, AsksTheKernelOnceAWindow) {
  EXPECT_TRUE(load_.note_turn(1'000'000)) << "the first turn ends what was before it";
  EXPECT_FALSE(load_.note_turn(1'000'000));
  EXPECT_FALSE(load_.note_turn(1'000'000 + LoopLoad::kWindowMs - 1));
  EXPECT_TRUE(load_.note_turn(1'000'000 + LoopLoad::kWindowMs));
  EXPECT_FALSE(load_.note_turn(1'000'000 + LoopLoad::kWindowMs));
}

}  // namespace
}  // namespace fairlead
