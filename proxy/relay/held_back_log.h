// A log line that cannot flood.

#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "proxy/engine/engine.h"

namespace fairlead {

/// One kind of event that traffic can cause: the first few in each interval are logged, the others
/// counted, and the next line that is logged says how many were held back. Thread-safe.
class HeldBackLog {
 public:
  static constexpr TimeMs kIntervalMs = 10'000;
  static constexpr int kLinesPerInterval = 3;

  /// Logs a warning, or counts it.
  void warn(TimeMs now, std::string_view message);

  std::uint64_t held_back() const;

 private:
  mutable std::mutex mutex_;
  TimeMs interval_start_ = 0;
  int lines_ = 0;
  std::uint64_t held_back_ = 0;
};

}  // namespace fairlead
