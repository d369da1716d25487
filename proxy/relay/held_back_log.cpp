#include "proxy/relay/held_back_log.h"

#include <fmt/format.h>

#include "proxy/log/log.h"

namespace fairlead {

void HeldBackLog::warn(TimeMs now, std::string_view message) {
  const std::scoped_lock lock(mutex_);
  if (now - interval_start_ >= kIntervalMs) {
    interval_start_ = now;
    lines_ = 0;
  }
  if (lines_ == kLinesPerInterval) {
    ++held_back_;
    return;
  }
  ++lines_;
  if (held_back_ == 0) {
    log_warn(message);
  } else {
    log_warn(fmt::format("{} ({} more like this were held back)", message, held_back_));
    held_back_ = 0;
  }
}

std::uint64_t HeldBackLog::held_back() const {
  const std::scoped_lock lock(mutex_);
  return held_back_;
}

}  // namespace fairlead
