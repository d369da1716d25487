// The log: spdlog's default logger, writing to standard error.

#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "proxy/options/options.h"

namespace fairlead {

/// Replaces spdlog's default logger. One line an event, written at once and unbuffered; for one
/// thread. Nothing here is on the way of relayed bytes.
void set_up_log(LogLevel level, LogFormat format);

/// A line of the log, with its newline. Text: `2026-11-21T10:00:00.123Z warn message`; control
/// characters are escaped so that a message stays one line. JSON: `{"time":"...","level":"warn",
/// "message":"..."}`.
std::string log_line(LogFormat format, std::chrono::system_clock::time_point time,
                     std::string_view level, std::string_view message);

}  // namespace fairlead
