#include "bench/process_usage.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace fairlead::bench {
namespace {

double clock_tick_s() { return 1.0 / static_cast<double>(::sysconf(_SC_CLK_TCK)); }

/// cutime and cstime of proc(5): only children that have ended and been waited for.
double reaped_children_s(pid_t pid) {
  std::ifstream stat(fmt::format("/proc/{}/stat", pid));
  std::string text;
  std::getline(stat, text);
  const std::size_t name_end = text.rfind(')');  // The name may itself hold spaces.
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(text.substr(name_end + 1));
  std::string field;
  for (int number = 3; number < 16; ++number) fields >> field;
  double user_ticks = 0;
  double system_ticks = 0;
  fields >> user_ticks >> system_ticks;
  return (user_ticks + system_ticks) * clock_tick_s();
}

/// The sum of some lines of /proc/meminfo or a file like it.
double labelled_kb(const std::string& path, const std::vector<std::string>& labels) {
  std::ifstream file(path);
  double total_kb = 0;
  for (std::string line; std::getline(file, line);) {
    for (const std::string& label : labels) {
      if (line.starts_with(label)) total_kb += std::stod(line.substr(label.size()));
    }
  }
  return total_kb;
}

/// The last field of `TCP: inuse 5 orphan 0 tw 0 alloc 8 mem 3`, in pages; it counts all network
/// namespaces together.
double queued_kb() {
  std::ifstream file("/proc/net/sockstat");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("TCP:")) {
      return std::stod(line.substr(line.rfind(' '))) * static_cast<double>(::getpagesize()) / 1024;
    }
  }
  return 0;
}

}  // namespace

double process_tree_cpu_s(pid_t pid) {
  double total_s = reaped_children_s(pid);
  std::error_code gone;
  for (const auto& task :
       std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), gone)) {
    double run_time_ns = 0;
    std::ifstream(task.path() / "schedstat") >> run_time_ns;
    total_s += run_time_ns * 1e-9;
    std::ifstream children(task.path() / "children");
    for (pid_t child = 0; children >> child;) total_s += process_tree_cpu_s(child);
  }
  return total_s;
}

Footprint& Footprint::operator+=(const Footprint& other) {
  private_kb += other.private_kb;
  threads += other.threads;
  descriptors += other.descriptors;
  processes += other.processes;
  return *this;
}

Footprint process_tree_footprint(pid_t pid) {
  Footprint total;
  total.processes = 1;
  total.private_kb = labelled_kb(fmt::format("/proc/{}/smaps_rollup", pid), {"Private_Dirty:"});
  std::error_code gone;
  for ([[maybe_unused]] const auto& descriptor :
       std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", pid), gone)) {
    ++total.descriptors;
  }
  for (const auto& task :
       std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), gone)) {
    ++total.threads;
    std::ifstream children(task.path() / "children");
    for (pid_t child = 0; children >> child;) total += process_tree_footprint(child);
  }
  return total;
}

double kernel_memory_kb() {
  return labelled_kb("/proc/meminfo", {"Slab:", "KernelStack:", "PageTables:"}) + queued_kb();
}

double available_memory_kb() { return labelled_kb("/proc/meminfo", {"MemAvailable:"}); }

double system_cpu_s() {
  std::ifstream stat("/proc/stat");
  std::string label;
  double user = 0;
  double nice = 0;
  double system = 0;
  double idle = 0;
  double io_wait = 0;
  double irq = 0;
  double soft_irq = 0;
  stat >> label >> user >> nice >> system >> idle >> io_wait >> irq >> soft_irq;
  return (user + nice + system + irq + soft_irq) * clock_tick_s();
}

}  // namespace fairlead::bench
