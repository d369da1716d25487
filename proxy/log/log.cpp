#include "proxy/log/log.h"

#include <fmt/format.h>
#include <spdlog/formatter.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/sink.h>
#include <unistd.h>

#include <memory>

// syscalls: write

namespace fairlead {
namespace {

/// By arithmetic: gmtime_r() reads the local time zone from its file, needed or not.
std::string utc_time(std::chrono::system_clock::time_point time) {
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(std::chrono::floor<std::chrono::milliseconds>(time - day));
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     clock.hours().count(), clock.minutes().count(), clock.seconds().count(),
                     clock.subseconds().count());
}

/// As RFC 8259 wants it; bytes of 0x80 and above are UTF-8 and stay.
std::string escaped(std::string_view text, bool quotes) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (quotes && (c == '"' || c == '\\')) {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\u{:04x}", byte);
    } else {
      out += c;
    }
  }
  return out;
}

std::string_view level_word(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::trace:
      return "trace";
    case spdlog::level::debug:
      return "debug";
    case spdlog::level::info:
      return "info";
    case spdlog::level::warn:
      return "warn";
    default:
      return "error";
  }
}

/// Formats and writes in one piece, so that lines of several proxies that share a terminal or a
/// file do not mix.
class StderrSink final : public spdlog::sinks::sink {
 public:
  explicit StderrSink(LogFormat format) : format_(format) {}

  void log(const spdlog::details::log_msg& message) override {
    const std::string line =
        log_line(format_, message.time, level_word(message.level),
                 std::string_view(message.payload.data(), message.payload.size()));
    // A log that cannot be written is no reason to stop serving.
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
  }
  void flush() override {}
  void set_pattern(const std::string&) override {}
  void set_formatter(std::unique_ptr<spdlog::formatter>) override {}

 private:
  LogFormat format_;
};

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::trace:
      return spdlog::level::trace;
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warn:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
    case LogLevel::off:
      return spdlog::level::off;
  }
  return spdlog::level::info;
}

/// Not spdlog's default logger: its registry would take a tenth of the memory of an idle proxy.
spdlog::logger& logger() {
  static spdlog::logger instance("", std::make_shared<StderrSink>(LogFormat::text));
  return instance;
}

}  // namespace

std::string log_line(LogFormat format, std::chrono::system_clock::time_point time,
                     std::string_view level, std::string_view message) {
  if (format == LogFormat::json) {
    return fmt::format("{{\"time\":\"{}\",\"level\":\"{}\",\"message\":\"{}\"}}\n", utc_time(time),
                       level, escaped(message, true));
  }
  return fmt::format("{} {} {}\n", utc_time(time), level, escaped(message, false));
}

void set_up_log(LogLevel level, LogFormat format) {
  logger().sinks().front() = std::make_shared<StderrSink>(format);
  logger().set_level(spdlog_level(level));
}

bool logs(LogLevel level) { return logger().should_log(spdlog_level(level)); }

void log_debug(std::string_view message) { logger().log(spdlog::level::debug, message); }
void log_info(std::string_view message) { logger().log(spdlog::level::info, message); }
void log_warn(std::string_view message) { logger().log(spdlog::level::warn, message); }
void log_error(std::string_view message) { logger().log(spdlog::level::err, message); }

}  // namespace fairlead
