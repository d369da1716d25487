#include "proxy/relay/held_back_log.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <memory>
#include <sstream>
#include <string>

namespace fairlead {
namespace {

class HeldBackLogTest : public ::testing::Test {
 protected:
  HeldBackLogTest() : before_(spdlog::default_logger()) {
    auto logger = std::make_shared<spdlog::logger>(
        "test", std::make_shared<spdlog::sinks::ostream_sink_st>(lines_));
    logger->set_pattern("%l %v");
    spdlog::set_default_logger(std::move(logger));
  }
  ~HeldBackLogTest() override { spdlog::set_default_logger(before_); }

  /// What was logged since the last call.
  std::string logged() {
    std::string text = lines_.str();
    lines_.str("");
    return text;
  }

  HeldBackLog log_;
  static constexpr TimeMs kStart = 1'000'000;

 private:
  std::shared_ptr<spdlog::logger> before_;
  std::ostringstream lines_;
};

TEST_F(HeldBackLogTest, LogsTheFirstFew) {
  for (int i = 0; i < HeldBackLog::kLinesPerInterval; ++i) log_.warn(kStart + i, "refused");
  EXPECT_EQ(logged(), "warning refused\nwarning refused\nwarning refused\n");
  EXPECT_EQ(log_.held_back(), 0U);
}

TEST_F(HeldBackLogTest, CountsTheOthersAndTellsLater) {
  for (int i = 0; i < HeldBackLog::kLinesPerInterval; ++i) log_.warn(kStart, "refused");
  logged();
  for (int i = 0; i < 1'000; ++i) log_.warn(kStart + 9'999, "refused");
  EXPECT_EQ(logged(), "");
  EXPECT_EQ(log_.held_back(), 1'000U);

  log_.warn(kStart + HeldBackLog::kIntervalMs, "refused again");
  EXPECT_EQ(logged(), "warning refused again (1000 more like this were held back)\n");
  EXPECT_EQ(log_.held_back(), 0U);
  log_.warn(kStart + HeldBackLog::kIntervalMs, "refused again");
  EXPECT_EQ(logged(), "warning refused again\n");
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
  EXPECT_EQ(logged(), "warning first\nwarning next day\n");
}

TEST_F(HeldBackLogTest, BracesInAMessageAreText) {
  log_.warn(kStart, "{} {0} {");
  EXPECT_EQ(logged(), "warning {} {0} {\n");
}

}  // namespace
}  // namespace fairlead
