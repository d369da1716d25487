// fairlead-bench-e2e: every workload through every contender, over namespaces of its own.
//
// A round takes the workloads one after the other and, for each, all contenders in random order
// (Google Benchmark's random interleaving, one block a workload). Whatever else the machine does
// then meets all contenders of a block alike, and the report compares within blocks: the ratio to
// DNAT is taken in each round, and the median of the rounds is what counts. Repetitions of Google
// Benchmark would spread a contender's runs over the whole time instead, hence rounds of our own.
//
// The process starts itself in a PID and a mount namespace: when it ends, however it ends, the
// kernel ends every server, proxy and load generator, and with them go the network namespaces.

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/program_options.hpp>
#include <fstream>
#include <iostream>
#include <regex>
#include <sstream>

#include "bench/contender.h"
#include "bench/process_usage.h"
#include "bench/report_writer.h"
#include "bench/test_bed.h"
#include "bench/workload.h"

namespace fairlead::bench {
namespace {

struct Settings {
  bool full = false;
  std::string filter;
  std::string contenders;
  std::vector<std::string> docker_proxies;
  std::vector<std::string> compare;
  std::string fairlead;
  std::string udp_tool;
  std::string folder;
  std::string output;
  std::string command;
  std::string congestion_control;
  int rounds = 0;
  double seconds = 0;
};

/// `LABEL=PATH[,ARGUMENT...]`, with commas or blanks between the arguments.
Contender proxy_from(const std::string& text) {
  const std::size_t equals = text.find('=');
  std::string words = text.substr(equals + 1);
  std::ranges::replace(words, ',', ' ');
  std::istringstream stream(words);
  Contender contender{.label = text.substr(0, equals), .kind = Kind::docker_proxy_like};
  stream >> contender.program;
  for (std::string word; stream >> word;) contender.arguments.push_back(word);
  return contender;
}

std::vector<Contender> choose_contenders(const Settings& settings,
                                         std::vector<std::string>& missing) {
  std::vector<std::pair<std::string, std::string>> docker_proxies;
  for (const std::string& text : settings.docker_proxies) {
    const std::size_t equals = text.find('=');
    docker_proxies.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  std::vector<Contender> all = known_peers(docker_proxies, missing);

  std::vector<std::string> ours = settings.compare;
  if (ours.empty()) {
    ours.push_back("fairlead=" + settings.fairlead);
    ours.push_back("fairlead-netns=" + settings.fairlead + ",-container-netns,auto");
    if (settings.full || !settings.contenders.empty()) {
      ours.push_back("fairlead-workers-1=" + settings.fairlead + ",-workers,1");
      ours.push_back("fairlead-epoll=" + settings.fairlead + ",-engine,epoll");
      ours.push_back("fairlead-copy=" + settings.fairlead + ",-relay,copy");
      ours.push_back("fairlead-splice=" + settings.fairlead + ",-relay,splice");
    }
  }
  for (const std::string& text : ours) {
    Contender contender = proxy_from(text);
    if (find_program(contender.program).empty()) {
      missing.push_back(fmt::format("{} ({} is not there)", contender.label, contender.program));
    } else {
      all.push_back(std::move(contender));
    }
  }

  const std::string wanted = !settings.contenders.empty() ? settings.contenders
                             : settings.full
                                 ? ".*"
                                 : "dnat|haproxy-.*|nginx|docker-proxy-26.*|docker-proxy";
  const std::regex pattern(wanted);
  std::erase_if(all, [&](const Contender& contender) {
    const bool compared = std::ranges::any_of(
        ours, [&](const std::string& text) { return text.starts_with(contender.label + "="); });
    if (compared && settings.contenders.empty()) return false;
    if (compared && !settings.compare.empty()) return false;
    // Everything is a ratio to DNAT.
    return contender.label != "dnat" && !std::regex_match(contender.label, pattern);
  });
  return all;
}

/// Whether this pair is measured. Unless contenders were named, a full run takes those that only
/// show one thing (an engine, a way of relaying, an old version) through few of the workloads, and
/// a quick run takes each HAProxy through those that it is tuned for: all of everything would take
/// two hours.
bool is_measured(const Settings& settings, const Workload& workload, const Contender& contender) {
  static const std::regex kOneThing(
      "direct|hairpin|socat|docker-proxy-20.*|fairlead-(workers-1|epoll|copy|splice)");
  if (!contender.carries(workload.service)) return false;
  if (!settings.contenders.empty()) return true;
  // Where it dials changes nothing of what a proxy is at rest.
  if (workload.lower_is_better && contender.label == "fairlead-netns") return false;
  if (settings.full) {
    const bool every_contender = workload.in_quick || workload.of_interest;
    return every_contender || !std::regex_match(contender.label, kOneThing);
  }
  const bool is_bulk = workload.unit == "GB";
  return contender.label != (is_bulk ? "haproxy-copy" : "haproxy-splice");
}

/// Many ports and very many connections are long in the making and vary little: once. Of the rest,
/// those that quick leaves out get a round less.
int rounds_of(const Settings& settings, const Workload& workload) {
  if (workload.lower_is_better && !workload.in_quick) return 1;
  if (settings.rounds > 0) return settings.rounds;
  return workload.in_quick || !settings.filter.empty() ? 3 : 2;
}

std::vector<Workload> choose_workloads(const Settings& settings) {
  std::vector<Workload> all;
  for (auto part :
       {bulk_workloads(), request_workloads(), datagram_workloads(), footprint_workloads()}) {
    for (Workload& workload : part) all.push_back(std::move(workload));
  }
  const std::regex pattern(settings.filter.empty() ? ".*" : settings.filter);
  std::erase_if(all, [&](const Workload& workload) {
    return (!settings.full && !workload.in_quick) || !std::regex_search(workload.name, pattern);
  });
  return all;
}

double proxy_cpu_s(const Route& route) {
  double total_s = 0;
  for (const ChildProcess& proxy : route.proxies) total_s += process_tree_cpu_s(proxy.pid());
  return total_s;
}

void measure(benchmark::State& state, const TestBed& bed, const Workload& workload,
             const Contender& contender, double seconds) {
  for ([[maybe_unused]] auto _ : state) {
    const auto route = workload.needs_route
                           ? open_route(bed, contender, workload.services(), workload.family)
                           : Result<Route>(Route());
    if (!route) {
      state.SkipWithError(route.error().message.c_str());
      break;
    }
    const double proxy_before_s = proxy_cpu_s(*route);
    const std::int64_t start_ns = monotonic_ns();
    const double test_before_s = process_tree_cpu_s(::getpid());
    const double system_before_s = system_cpu_s();
    const auto outcome = workload.run(bed, contender, *route, seconds);
    if (!outcome) {
      state.SkipWithError(outcome.error().message.c_str());
      break;
    }
    // With bulk beside them, what the requests take of the processors cannot be told.
    if (!route->proxies.empty() && !workload.beside) {
      const double proxy_s = proxy_cpu_s(*route) - proxy_before_s;
      state.counters["proxy_cpu_s_per_unit"] = proxy_s / outcome->units;
      state.counters["proxy_cores"] = proxy_s / outcome->seconds;
    }
    if (workload.needs_route && !workload.beside) {
      const double test_s = process_tree_cpu_s(::getpid()) - test_before_s;
      const double system_s = system_cpu_s() - system_before_s;
      const double processors_s = static_cast<double>(monotonic_ns() - start_ns) * 1e-9 *
                                  static_cast<double>(::sysconf(_SC_NPROCESSORS_ONLN));
      state.counters["test_cpu_s_per_unit"] = test_s / outcome->units;
      state.counters["system_cpu_s_per_unit"] = system_s / outcome->units;
      state.counters["busy_percent"] = 100 * system_s / processors_s;
      state.counters["other_work_percent"] = 100 * std::max(0.0, system_s - test_s) / processors_s;
    }
    state.counters["value"] = outcome->value;
    for (const auto& [name, value] : outcome->details) state.counters[name] = value;
    state.SetIterationTime(outcome->seconds);
  }
  bed.flush_connection_tracking();
}

int run(const Settings& settings) {
  std::vector<std::string> missing;
  const std::vector<Contender> contenders = choose_contenders(settings, missing);
  const std::vector<Workload> workloads = choose_workloads(settings);
  const double seconds = settings.seconds > 0 ? settings.seconds : 1;
  for (const std::string& name : missing) fmt::print(stderr, "missing: {}\n", name);
  // Pages of a program that was just built and not yet written back would count as its own.
  ::sync();
  const auto bed = TestBed::create(settings.folder, settings.udp_tool, settings.congestion_control);
  if (!bed) {
    fmt::print(stderr, "fairlead-bench-e2e: {}\n", bed.error().message);
    return 1;
  }

  nlohmann::json results = {{"machine", describe_machine()},
                            {"command", settings.command},
                            {"congestion_control", settings.congestion_control},
                            {"seconds_per_run", seconds},
                            {"missing", missing},
                            {"workloads", nlohmann::json::array()}};
  for (const Contender& contender : contenders) {
    results["contenders"].push_back({{"label", contender.label},
                                     {"program", contender.program},
                                     {"arguments", contender.arguments},
                                     {"version", contender.version}});
  }
  int rounds = 0;
  int runs = 0;
  for (const Workload& workload : workloads) {
    results["workloads"].push_back({{"name", workload.name},
                                    {"title", workload.title},
                                    {"metric", workload.metric},
                                    {"unit", workload.unit},
                                    {"lower_is_better", workload.lower_is_better}});
    rounds = std::max(rounds, rounds_of(settings, workload));
    runs += rounds_of(settings, workload) *
            static_cast<int>(std::ranges::count_if(contenders, [&](const Contender& each) {
              return is_measured(settings, workload, each);
            }));
  }
  results["rounds"] = rounds;

  ReportWriter writer(results, runs, seconds);
  for (const Workload& workload : workloads) {
    for (const Contender& contender : contenders) {
      if (!is_measured(settings, workload, contender)) continue;
      const std::string name = workload.name + "/" + contender.label;
      benchmark::RegisterBenchmark(name.c_str(),
                                   [&, name, seconds](benchmark::State& state) {
                                     writer.announce(name, workload.metric);
                                     measure(state, *bed, workload, contender, seconds);
                                   })
          ->Iterations(1)
          ->UseManualTime();
    }
  }
  const auto save = [&] {
    std::ofstream(settings.output, std::ios::trunc) << results.dump(1) << "\n";
  };
  save();
  for (int round = 1; round <= rounds; ++round) {
    writer.set_round(round);
    for (const Workload& workload : workloads) {
      if (round > rounds_of(settings, workload)) continue;
      benchmark::RunSpecifiedBenchmarks(&writer, nullptr, "^" + workload.name + "/");
      save();
    }
  }
  return 0;
}

/// Runs `work` as process 1 of a PID namespace with a /proc of its own.
int run_isolated(const std::function<int()>& work) {
  if (::unshare(CLONE_NEWPID | CLONE_NEWNS) != 0) {
    fmt::print(stderr, "fairlead-bench-e2e: unshare: {}; root is needed\n", errno_text(errno));
    return 1;
  }
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    ::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
    const int status = work();
    std::fflush(nullptr);
    ::_exit(status);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int parse_and_run(int argc, char** argv) {
  namespace po = boost::program_options;
  Settings settings;
  po::options_description options("fairlead-bench-e2e");
  options.add_options()("help", "this text")("full", po::bool_switch(&settings.full),
                                             "every workload and contender")(
      "filter", po::value(&settings.filter), "workloads whose name matches this expression")(
      "contenders", po::value(&settings.contenders),
      "contenders whose label matches this expression")(
      "docker-proxy", po::value(&settings.docker_proxies), "LABEL=PATH, repeatable")(
      "compare", po::value(&settings.compare),
      "LABEL=PATH[,ARGUMENT...], repeatable: these instead of the built fairlead-proxy")(
      "fairlead", po::value(&settings.fairlead), "path of fairlead-proxy")(
      "udp-tool", po::value(&settings.udp_tool)->required(), "path of fairlead-bench-udp")(
      "folder", po::value(&settings.folder)->required(), "where to write configuration files")(
      "output", po::value(&settings.output)->required(), "the results, as JSON")(
      "command", po::value(&settings.command), "the command line to put in the report")(
      "congestion-control", po::value(&settings.congestion_control)->default_value("reno"),
      "of TCP, in every namespace")("rounds", po::value(&settings.rounds),
                                    "how often everything is measured")(
      "seconds", po::value(&settings.seconds), "length of each measurement");
  try {
    po::variables_map values;
    po::store(po::parse_command_line(argc, argv, options), values);
    if (values.contains("help")) {
      std::cout << options;
      return 0;
    }
    po::notify(values);
  } catch (const po::error& error) {
    fmt::print(stderr, "fairlead-bench-e2e: {}\n", error.what());
    return 2;
  }
  // Thousands of connections need a descriptor or two each, in every process on the way.
  rlimit descriptors{};
  ::getrlimit(RLIMIT_NOFILE, &descriptors);
  descriptors.rlim_cur = descriptors.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &descriptors);
  return run_isolated([&] { return run(settings); });
}

}  // namespace
}  // namespace fairlead::bench

int main(int argc, char** argv) {
  std::string name = argv[0];
  std::string interleaving = "--benchmark_enable_random_interleaving=true";
  char* flags[] = {name.data(), interleaving.data(), nullptr};
  int flag_count = 2;
  benchmark::Initialize(&flag_count, flags);
  return fairlead::bench::parse_and_run(argc, argv);
}
