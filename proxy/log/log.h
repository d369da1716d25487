// The log: spdlog, writing to standard error.
//
// The only door to it: spdlog's headers take longer to compile than everything else in a file.

#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace fairlead {

enum class LogLevel : std::uint8_t { trace, debug, info, warn, error, off };
enum class LogFormat : std::uint8_t { text, json };

/// One line an event, written at once and unbuffered. Before other threads are started; they may
/// log then, too. Nothing here is on the way of relayed bytes.
void set_up_log(LogLevel level, LogFormat format);

/// False: a message of this level would be dropped, and need not be put together.
bool logs(LogLevel level);

void log_debug(std::string_view message);
void log_info(std::string_view message);
void log_warn(std::string_view message);
void log_error(std::string_view message);

/// A line of the log, with its newline. Text: `2026-11-21T10:00:00.123Z warn message`; control
/// characters are escaped so that a message stays one line. JSON: `{"time":"...","level":"warn",
/// "message":"..."}`.
std::string log_line(LogFormat format, std::chrono::system_clock::time_point time,
                     std::string_view level, std::string_view message);

}  // namespace fairlead
