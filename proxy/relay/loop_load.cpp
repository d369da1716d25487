#include "proxy/relay/loop_load.h"

#include <sys/resource.h>

#include <algorithm>

// syscalls: getrusage

namespace fairlead {

bool LoopLoad::note_turn(TimeMs now) {
  ++turns_;
  const TimeMs length_ms = now - window_start_;
  if (length_ms < kWindowMs) return false;
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  const auto processor_us = [](const timeval& time) {
    return std::int64_t{time.tv_sec} * 1'000'000 + time.tv_usec;
  };
  note_window(length_ms, turns_,
              {processor_us(usage.ru_utime) + processor_us(usage.ru_stime), usage.ru_nvcsw});
  window_start_ = now;
  turns_ = 0;
  return true;
}

void LoopLoad::note_window(TimeMs length_ms, std::int64_t turns, const Usage& usage) {
  const std::int64_t percent = (usage.processor_us - usage_before_.processor_us) / (length_ms * 10);
  const std::int64_t sleeps = usage.sleeps - usage_before_.sleeps;
  usage_before_ = usage;
  busy_ = percent >= kBusyPercent;
  if (percent >= kSaturatedPercent && sleeps * kTurnsPerSleep <= turns) {
    saturated_in_row_ = std::min(saturated_in_row_ + 1, kWindowsToSaturation);
  } else {
    saturated_in_row_ = 0;
  }
}

}  // namespace fairlead
