#include "bench/report_writer.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <ctime>
#include <fstream>
#include <thread>

namespace fairlead::bench {
namespace {

/// Starting and ending a proxy and a load generator.
constexpr double kSetUpS = 0.15;

/// The value of a `key<separator>value` line of a file, without quotes.
std::string line_value(const char* path, const std::string& key, char separator) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const std::size_t at = line.find(separator);
    const std::size_t start = line.find_first_not_of(" \t\"", at + 1);
    if (at == std::string::npos || start == std::string::npos) continue;
    return line.substr(start, line.find_last_not_of(" \t\"") - start + 1);
  }
  return "";
}

}  // namespace

ReportWriter::ReportWriter(nlohmann::json& results, int planned_runs, double run_s)
    : results_(results),
      planned_runs_(planned_runs),
      expected_run_s_(run_s + kSetUpS),
      terminal_(::isatty(2) == 1) {
  results_["runs"] = nlohmann::json::array();
  fmt::print(stderr, "{} measurements ({})\n", planned_runs_, time_left());
}

std::string ReportWriter::time_left() const {
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  const double per_run_s = finished_runs_ == 0 ? expected_run_s_ : elapsed.count() / finished_runs_;
  const int left_s = static_cast<int>(per_run_s * (planned_runs_ - finished_runs_));
  return fmt::format("{}:{:02} left", left_s / 60, left_s % 60);
}

void ReportWriter::announce(const std::string& name, const std::string& metric) {
  metric_ = metric;
  if (terminal_) {
    fmt::print(stderr, "\r\033[K[{:3}/{}] {} ... ({})", finished_runs_ + 1, planned_runs_, name,
               time_left());
  }
}

void ReportWriter::ReportRuns(const std::vector<Run>& runs) {
  for (const Run& run : runs) {
    ++finished_runs_;
    const std::string& name = run.run_name.function_name;
    const std::size_t slash = name.find('/');
    nlohmann::json entry = {{"round", round_},
                            {"workload", name.substr(0, slash)},
                            {"contender", name.substr(slash + 1)}};
    std::string shown;
    if (run.error_occurred) {
      entry["error"] = run.error_message;
      shown = "FAILED: " + run.error_message;
    } else {
      entry["seconds"] = run.real_accumulated_time;
      for (const auto& [key, counter] : run.counters) entry[key] = counter.value;
      shown = fmt::format("{:.5g} {}", entry.value("value", 0.0), metric_);
    }
    results_["runs"].push_back(std::move(entry));
    fmt::print(stderr, "{}[{:3}/{}] {:<44} {}  ({})\n", terminal_ ? "\r\033[K" : "", finished_runs_,
               planned_runs_, name, shown, time_left());
  }
}

nlohmann::json describe_machine() {
  utsname system{};
  ::uname(&system);
  return {{"processor", line_value("/proc/cpuinfo", "model name", ':')},
          {"cores", std::thread::hardware_concurrency()},
          {"memory", line_value("/proc/meminfo", "MemTotal", ':')},
          {"kernel", fmt::format("{} {}", system.sysname, system.release)},
          {"distribution", line_value("/etc/os-release", "PRETTY_NAME", '=')},
          {"date", fmt::format("{:%Y-%m-%d %H:%M} UTC", fmt::gmtime(std::time(nullptr)))}};
}

}  // namespace fairlead::bench
