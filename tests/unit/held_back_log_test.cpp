#include "proxy/relay/held_back_log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>

#include "proxy/log/log.h"

namespace fairlead {
namespace {

class HeldBackLogTest : public ::testing::Test {
 protected:
  HeldBackLogTest() {
    set_up_log(LogLevel::info, LogFormat::text);
    testing::internal::CaptureStderr();
  }
  ~HeldBackLogTest() override { testing::internal::GetCapturedStderr(); }

  /// What was logged since the last call, without the time.
  std::string logged() {
    std::istringstream lines(testing::internal::GetCapturedStderr());
    testing::internal::CaptureStderr();
    std::string text;
    for (std::string line; std::getline(lines, line);) {
      text += line.substr(line.find(' ') + 1) + '\n';
    }
    return text;
  }

  HeldBackLog log_;
  static constexpr TimeMs kStart = 1'000'000;
};

TEST_F(HeldBackLogTest, LogsTheFirstFew) {
  for (int i = 0; i < HeldBackLog::kLinesPerInterval; ++i) log_.warn(kStart + i, "refused");
  EXPECT_EQ(logged(), "warn refused\nwarn refused\nwarn refused\n");
  EXPECT_EQ(log_.held_back(), 0U);
}

TEST_F(HeldBackLogTest, CountsTheOthersAndTellsLater) {
  for (int i = 0; i < HeldBackLog::kLinesPerInterval; ++i) log_.warn(kStart, "refused");
  logged();
  for (int i = 0; i < 1'000; ++i) log_.warn(kStart + 9'999, "refused");
  EXPECT_EQ(logged(), "");
  EXPECT_EQ(log_.held_back(), 1'000U);

  log_.warn(kStart + HeldBackLog::kIntervalMs, "refused again");
  EXPECT_EQ(logged(), "warn refused again (1000 more like this were held back)\n");
  EXPECT_EQ(log_.held_back(), 0U);
  log_.warn(kStart + HeldBackLog::kIntervalMs, "refused again");
  EXPECT_EQ(logged(), "warn refused again\n");
}

TEST_F(HeldBackLogTest, EachIntervalHasItsFew) {
  for (TimeMs now = kStart; now < kStart + 5 * HeldBackLog::kIntervalMs; now += 100) {
    log_.warn(now, "x");
  }
  const std::string text = logged();
  EXPECT_EQ(std::ranges::count(text, '\n'), 5 * HeldBackLog::kLinesPerInterval);
}

TEST_F(HeldBackLogTest, AnEventAfterALongTimeIsLoggedAtOnce) {
  log_.warn(kStart, "first");
  log_.warn(kStart + 86'400'000, "next day");
  EXPECT_EQ(logged(), "warn first\nwarn next day\n");
}

TEST_F(HeldBackLogTest, BracesInAMessageAreText) {
  log_.warn(kStart, "{} {0} {");
  EXPECT_EQ(logged(), "warn {} {0} {\n");
}

}  // namespace
}  // namespace fairlead
