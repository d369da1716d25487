#include "netsetup/command/watch.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "netsetup/command/report.h"
#include "netsetup/state/text_file.h"

namespace fairlead {
namespace {

using Clock = std::chrono::steady_clock;

struct Sample {
  Clock::time_point time;
  PortActivities activities;
};

Result<Sample> take_sample(const ActivitySource& source) {
  auto activities = source();
  if (!activities) return std::unexpected(activities.error());
  return Sample{Clock::now(), std::move(*activities)};
}

/// Nothing: not known yet, or counted anew since.
std::optional<double> rate(const std::optional<std::uint64_t>& before,
                           const std::optional<std::uint64_t>& now,
                           std::chrono::duration<double> elapsed) {
  if (!before || !now || *now < *before || elapsed.count() <= 0) return std::nullopt;
  return static_cast<double>(*now - *before) / elapsed.count();
}

std::string number(const std::optional<std::uint64_t>& value) {
  return value ? fmt::format("{}", *value) : "-";
}

std::string number(const std::optional<double>& value) {
  return value ? fmt::format("{:.0f}", *value) : "-";
}

std::string bytes_text(const std::optional<double>& bytes) {
  if (!bytes) return "-";
  double value = *bytes;
  for (const std::string_view unit : {"B", "kB", "MB"}) {
    const int decimals = value < 9.95 && unit != "B" ? 1 : 0;
    if (value < 999.5) return fmt::format("{:.{}f} {}", value, decimals, unit);
    value /= 1000;
  }
  return fmt::format("{:.1f} GB", value);
}

/// No line is longer than the screen is wide, so that none of them takes two.
std::string cut(const std::string& text, std::size_t columns) {
  if (columns == 0) return text;
  std::string shown;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    shown += text.substr(begin, std::min(end - begin, columns)) + "\n";
    begin = end + 1;
  }
  return shown;
}

/// Standard output: a terminal's alternate screen, or whatever else it is.
class Screen {
 public:
  Screen() : terminal_(::isatty(STDOUT_FILENO) != 0) {
    if (terminal_) (void)write("\033[?1049h\033[?25l");
  }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;
  ~Screen() {
    if (terminal_) (void)write("\033[?25h\033[?1049l");
  }

  ScreenSize size() const {
    winsize window{};
    if (!terminal_ || ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) != 0) return {};
    // One row less, since the newline of the last one would scroll.
    return {window.ws_row > 1 ? window.ws_row - 1U : window.ws_row, window.ws_col};
  }

  /// In one piece, over what was there before, so that nothing flickers. Error: nobody reads it.
  Result<void> show(const std::string& table) const {
    if (!terminal_) return write(table + "\n");
    std::string frame = "\033[H";
    for (const char byte : table) frame += byte == '\n' ? "\033[K\r\n" : std::string(1, byte);
    return write(frame + "\033[J");
  }

 private:
  static Result<void> write(std::string_view text) { return write_all(STDOUT_FILENO, text); }

  bool terminal_;
};

/// The signals that end or redraw, which are waited for instead of being delivered.
class Signals {
 public:
  Signals() {
    ::sigemptyset(&set_);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGWINCH}) ::sigaddset(&set_, signal);
    ::sigprocmask(SIG_BLOCK, &set_, &before_);
  }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  ~Signals() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }

  /// The signal that came; nothing: the time has.
  std::optional<int> wait_until(Clock::time_point end) const {
    const auto left = std::max(end - Clock::now(), Clock::duration(0));
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
    const timespec timeout{.tv_sec = seconds.count(), .tv_nsec = (left - seconds).count()};
    const int signal = ::sigtimedwait(&set_, nullptr, &timeout);
    if (signal > 0) return signal;
    return std::nullopt;
  }

 private:
  sigset_t set_{};
  sigset_t before_{};
};

std::optional<std::uint64_t> proxied(const PortActivity& activity,
                                     std::uint64_t ProxyCounters::* figure) {
  if (!activity.proxied) return std::nullopt;
  return (*activity.proxied).*figure;
}

/// What has come to be since, each a second.
struct Rates {
  std::optional<double> translated;
  std::optional<double> proxied;
  std::optional<double> to_container;
  std::optional<double> to_client;

  bool operator<(const Rates& other) const { return order() < other.order(); }

 private:
  std::pair<double, double> order() const {
    return {translated.value_or(0) + proxied.value_or(0),
            to_container.value_or(0) + to_client.value_or(0)};
  }
};

Rates rates(const PortActivity& before, const PortActivity& now,
            std::chrono::duration<double> elapsed) {
  const auto of = [&](std::uint64_t ProxyCounters::* figure) {
    return rate(proxied(before, figure), proxied(now, figure), elapsed);
  };
  return {.translated = rate(before.translated, now.translated, elapsed),
          .proxied = of(&ProxyCounters::accepted),
          .to_container = of(&ProxyCounters::bytes_to_container),
          .to_client = of(&ProxyCounters::bytes_to_client)};
}

}  // namespace

std::string activity_table(const PortActivities& before, const PortActivities& now,
                           std::chrono::duration<double> elapsed, ScreenSize size) {
  struct Line {
    const PortActivity* activity;
    Rates rates;
  };
  std::vector<Line> lines;
  auto earlier = before.begin();
  for (const PortActivity& activity : now) {
    // Nearly always the next one. A port that was not there before is looked for to the end.
    auto found = std::find_if(earlier, before.end(),
                              [&](const PortActivity& other) { return other.same_port(activity); });
    Rates current;
    if (found != before.end()) {
      current = rates(*found, activity, elapsed);
      earlier = std::next(found);
    }
    lines.push_back({&activity, current});
  }
  // The heading, and the line that tells of those left out.
  const bool all = size.rows == 0 || lines.size() + 1 <= size.rows;
  const std::size_t shown = all ? lines.size() : size.rows - std::min<std::size_t>(size.rows, 2);
  if (!all) {
    std::ranges::stable_sort(
        lines, [](const Line& one, const Line& other) { return other.rates < one.rates; });
  }
  std::vector<std::vector<std::string>> rows = {{"NETWORK", "CONTAINER", "MODE", "PORT",
                                                 "TRANSLATED", "/S", "PROXIED", "/S", "OPEN",
                                                 "IN/S", "OUT/S"}};
  for (std::size_t i = 0; i < shown; ++i) {
    const PortActivity& activity = *lines[i].activity;
    const Rates& current = lines[i].rates;
    rows.push_back(
        {activity.network, activity.container, std::string(mode_name(activity.mode)),
         activity.port.to_string(), number(activity.translated), number(current.translated),
         activity.unanswered ? "no answer" : number(proxied(activity, &ProxyCounters::accepted)),
         number(current.proxied), number(proxied(activity, &ProxyCounters::open)),
         bytes_text(current.to_container), bytes_text(current.to_client)});
  }
  std::string text = table(rows);
  if (!all) text += fmt::format("and {} more\n", lines.size() - shown);
  return cut(text, size.columns);
}

Result<int> run_watch(std::chrono::seconds interval, const ActivitySource& source) {
  const Signals signals;
  auto sample = take_sample(source);
  if (!sample) return std::unexpected(sample.error());
  Screen screen;
  Sample before = *sample;
  while (true) {
    const auto table = [&] {
      return activity_table(before.activities, sample->activities, sample->time - before.time,
                            screen.size());
    };
    if (auto shown = screen.show(table()); !shown) return std::unexpected(shown.error());
    const Clock::time_point next = sample->time + interval;
    while (const auto signal = signals.wait_until(next)) {
      if (*signal != SIGWINCH) return 0;
      if (auto shown = screen.show(table()); !shown) return std::unexpected(shown.error());
    }
    before = std::move(*sample);
    sample = take_sample(source);
    if (!sample) return std::unexpected(sample.error());
  }
}

}  // namespace fairlead
