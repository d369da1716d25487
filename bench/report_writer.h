// Follows the benchmarks as they run: progress for the person who waits, results for the report.

#pragma once

#include <benchmark/benchmark.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

namespace fairlead::bench {

/// A Google Benchmark reporter that prints one line a run (the figure, and the time left) and
/// collects the runs, which Google Benchmark's own JSON reporter would start anew for every block.
class ReportWriter : public benchmark::BenchmarkReporter {
 public:
  /// `results` gets one entry in "runs" for each run. `run_s` is how long one is expected to take
  /// before any has ended.
  ReportWriter(nlohmann::json& results, int planned_runs, double run_s);

  /// Says what is measured now; called by the benchmark itself, before it starts.
  void announce(const std::string& name, const std::string& metric);

  void set_round(int round) { round_ = round; }

  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override;

 private:
  std::string time_left() const;

  nlohmann::json& results_;
  int planned_runs_;
  double expected_run_s_;
  int finished_runs_ = 0;
  int round_ = 0;
  bool terminal_;
  std::string metric_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// Machine, kernel, distribution and date, for the head of a report.
nlohmann::json describe_machine();

}  // namespace fairlead::bench
