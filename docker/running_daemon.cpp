#include "docker/running_daemon.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <sstream>

#include "docker/text_file.h"
#include "proxy/mapping/decimal.h"

namespace fairlead {
namespace {

using std::chrono::duration_cast;
using std::chrono::system_clock;

/// Empty when it cannot be read: the process may have ended.
std::string contents(const std::filesystem::path& path) {
  const auto text = read_text_file(path);
  return text ? text->value_or("") : "";
}

std::filesystem::path process_directory(pid_t pid) { return "/proc/" + std::to_string(pid); }

std::vector<std::string> command_line(pid_t pid) {
  std::vector<std::string> words;
  std::istringstream text(contents(process_directory(pid) / "cmdline"));
  for (std::string word; std::getline(text, word, '\0');) words.push_back(word);
  return words;
}

/// What /proc/PID/stat says after the name, which may hold anything, from the third field on:
/// proc(5).
std::vector<std::string> stat_fields(pid_t pid) {
  const std::string text = contents(process_directory(pid) / "stat");
  const std::size_t name_end = text.rfind(')');
  if (name_end == text.npos) return {};
  std::istringstream fields(text.substr(name_end + 1));
  return {std::istream_iterator<std::string>(fields), {}};
}

constexpr std::size_t kParentField = 4 - 3;
constexpr std::size_t kStartField = 22 - 3;

/// The end of the clock tick that is told: the process has not started later.
std::optional<system_clock::time_point> start_time(const std::vector<std::string>& stat) {
  if (stat.size() <= kStartField) return std::nullopt;
  const auto ticks = parse_decimal<long>(stat[kStartField]);
  timespec since_boot{};
  if (!ticks || ::clock_gettime(CLOCK_BOOTTIME, &since_boot) < 0) return std::nullopt;
  const auto now =
      std::chrono::seconds(since_boot.tv_sec) + std::chrono::nanoseconds(since_boot.tv_nsec);
  const auto started = std::chrono::milliseconds((*ticks + 1) * 1000 / ::sysconf(_SC_CLK_TCK));
  return system_clock::now() - duration_cast<system_clock::duration>(now - started);
}

/// Programs of the daemon's children that have a proxy's command line.
std::map<std::string, int> count_proxies(pid_t daemon) {
  std::map<std::string, int> proxies;
  std::error_code code;
  // Not a range-for: its step throws where reading on fails.
  for (std::filesystem::directory_iterator entry("/proc", code), end; !code && entry != end;
       entry.increment(code)) {
    const auto pid = parse_decimal<pid_t>(entry->path().filename().string());
    if (!pid) continue;
    const std::vector<std::string> stat = stat_fields(*pid);
    if (stat.size() <= kParentField || stat[kParentField] != std::to_string(daemon)) continue;
    const std::vector<std::string> words = command_line(*pid);
    if (std::ranges::find(words, "-container-port") != words.end()) ++proxies[words.front()];
  }
  return proxies;
}

}  // namespace

std::optional<std::string> RunningDaemon::option(std::string_view name) const {
  const std::string word = "--" + std::string(name);
  std::optional<std::string> value;
  for (auto argument = arguments.begin(); argument != arguments.end(); ++argument) {
    if (argument->starts_with(word + "=")) value = argument->substr(word.size() + 1);
    if (*argument == word && std::next(argument) != arguments.end()) value = *std::next(argument);
  }
  return value;
}

std::optional<RunningDaemon> find_running_daemon(const std::string& pid_file) {
  std::string text = contents(pid_file);
  while (text.ends_with('\n')) text.pop_back();
  const auto pid = parse_decimal<pid_t>(text);
  if (!pid || contents(process_directory(*pid) / "comm") != "dockerd\n") return std::nullopt;
  const auto started = start_time(stat_fields(*pid));
  std::vector<std::string> words = command_line(*pid);
  if (!started || words.empty()) return std::nullopt;
  words.erase(words.begin());
  return RunningDaemon{*pid, *started, std::move(words), count_proxies(*pid)};
}

}  // namespace fairlead
