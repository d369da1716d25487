// How busy a loop is.

#pragma once

#include <cstdint>

#include "proxy/engine/engine.h"

namespace fairlead {

/// Tells from the thread's own accounts, one getrusage(2) in each window, how much of a loop's time
/// is taken. Belongs to the loop's thread.
///
/// The processor time of a thread alone would not do: where client, proxy and server compete for
/// the processors, a loop that always has work gets a third of one. What shows that a loop cannot
/// keep up is that it hardly ever sleeps: whenever it asks for work there is some. And that alone
/// would not do either, as a burst of turns without sleep may fill a small part of a window only.
class LoopLoad {
 public:
  static constexpr TimeMs kWindowMs = 20;

  /// What a thread has used since it began.
  struct Usage {
    std::int64_t processor_us = 0;
    /// Voluntary context switches.
    std::int64_t sleeps = 0;
  };

  /// Call after each turn. True when a window has ended with it.
  bool note_turn(TimeMs now);

  /// A window of so many turns has ended. For note_turn(), and for tests.
  void note_window(TimeMs length_ms, std::int64_t turns, const Usage& usage);

  /// In the last window a part of a processor was used that another loop would do well to have.
  bool busy() const { return busy_; }
  /// Several windows in a row had more work than time.
  bool saturated() const { return saturated_in_row_ >= kWindowsToSaturation; }

 private:
  /// Of the window, in percent.
  static constexpr std::int64_t kBusyPercent = 10;
  static constexpr std::int64_t kSaturatedPercent = 60;
  /// In a saturated loop at most one turn in so many had to wait.
  static constexpr std::int64_t kTurnsPerSleep = 4;
  static constexpr int kWindowsToSaturation = 3;

  TimeMs window_start_ = 0;
  std::int64_t turns_ = 0;
  Usage usage_before_;
  bool busy_ = false;
  int saturated_in_row_ = 0;
};

}  // namespace fairlead
