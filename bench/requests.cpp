// HTTP requests by wrk against one nginx worker; and bulk beside them.

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <thread>

#include "bench/workload.h"

namespace fairlead::bench {
namespace {

using std::chrono::milliseconds;

int whole(double seconds) { return std::max(1, static_cast<int>(std::lround(seconds))); }

std::vector<std::string> wrk_command(const Route& route, int size_bytes, int connections,
                                     bool keep_alive, double seconds) {
  const bool ipv6 = route.address.contains(':');
  std::vector<std::string> command = {"wrk",
                                      "-t1",
                                      fmt::format("-c{}", connections),
                                      fmt::format("-d{}s", whole(seconds)),
                                      "-s",
                                      FAIRLEAD_BENCH_FOLDER "/wrk_report.lua",
                                      "--timeout",
                                      "5s"};
  if (!keep_alive) command.insert(command.end(), {"-H", "Connection: close"});
  command.push_back(fmt::format("http://{}:{}/{}", ipv6 ? "[" + route.address + "]" : route.address,
                                route.port, size_bytes));
  return command;
}

Result<Outcome> read_report(const std::string& output, int size_bytes) {
  const std::size_t start = output.rfind("\n{");
  const auto report =
      nlohmann::json::parse(start == std::string::npos ? "" : output.substr(start), nullptr, false);
  if (!report.is_object()) return failed("wrk: " + output);
  const auto number = [&](const char* name) { return report[name].get<double>(); };
  if (number("requests") == 0) return failed("wrk: no request succeeded");
  if (number("status_errors") > 0 || number("bytes") < number("requests") * size_bytes) {
    return failed(fmt::format("wrk: {} of {} responses are errors; {} bytes came",
                              number("status_errors"), number("requests"), number("bytes")));
  }
  Outcome outcome;
  outcome.seconds = number("duration") * 1e-6;
  outcome.units = number("requests");
  outcome.value = outcome.units / outcome.seconds;
  outcome.details = {{"p50_us", number("p50")},
                     {"p99_us", number("p99")},
                     {"p999_us", number("p999")},
                     {"errors", number("errors")}};
  return outcome;
}

Result<Outcome> run_wrk(const Route& route, int size_bytes, int connections, bool keep_alive,
                        double seconds) {
  const auto output =
      run_command(wrk_command(route, size_bytes, connections, keep_alive, seconds),
                  {.network = route.client}, milliseconds(whole(seconds) * 1000 + 8000));
  if (!output) return std::unexpected(output.error());
  return read_report(*output, size_bytes);
}

/// Small requests while eight streams of bulk run through the same proxy: what they wait.
Result<Outcome> run_mixed(const Contender& contender, const Route& route, double seconds) {
  auto bulk = ChildProcess::spawn({"iperf3", "-c", route.address, "-p",
                                   std::to_string(published_port(contender, Service::bulk)), "-t",
                                   std::to_string(whole(seconds) + 1), "-P", "8", "--json"},
                                  {.network = route.client});
  if (!bulk) return std::unexpected(bulk.error());
  std::this_thread::sleep_for(milliseconds(200));  // Until all streams run.
  auto outcome = run_wrk(route, 64, 16, true, seconds);
  if (!outcome) return outcome;
  if (auto ended = bulk->wait(milliseconds(whole(seconds) * 1000 + 8000)); !ended) {
    return std::unexpected(ended.error());
  }
  const auto report = nlohmann::json::parse(bulk->output(), nullptr, false);
  if (!report.is_object() || !report["end"].contains("sum_received")) {
    return failed("iperf3 beside the requests failed");
  }
  outcome->details["bulk_gbit_per_s"] =
      report["end"]["sum_received"]["bits_per_second"].get<double>() * 1e-9;
  return outcome;
}

std::string size_text(int size_bytes) {
  if (size_bytes >= 1 << 20) return fmt::format("{} MiB", size_bytes >> 20);
  if (size_bytes >= 1 << 10) return fmt::format("{} KiB", size_bytes >> 10);
  return fmt::format("{} B", size_bytes);
}

Workload requests(int size_bytes, int connections, bool in_quick, Family family = Family::ipv4) {
  const char* suffix = family == Family::ipv4 ? "" : "_ipv6";
  return {.name = fmt::format("req_{}_c{}{}", size_bytes, connections, suffix),
          .title = fmt::format("{} requests, {} connection{}{}", size_text(size_bytes), connections,
                               connections == 1 ? "" : "s", family == Family::ipv4 ? "" : ", IPv6"),
          .metric = "requests/s",
          .unit = "request",
          .service = Service::http,
          .family = family,
          .in_quick = in_quick,
          .of_interest = size_bytes == 64 && connections == 256,
          .run = [=](const TestBed&, const Contender&, const Route& route, double seconds) {
            return run_wrk(route, size_bytes, connections, true, seconds);
          }};
}

Workload connections(bool in_quick, Family family = Family::ipv4) {
  return {.name = family == Family::ipv4 ? "connections" : "connections_ipv6",
          .title = family == Family::ipv4 ? "new connections" : "new connections, IPv6",
          .metric = "connections/s",
          .unit = "connection",
          .service = Service::http,
          .family = family,
          .in_quick = in_quick,
          .run = [](const TestBed&, const Contender&, const Route& route, double seconds) {
            return run_wrk(route, 64, 32, false, seconds);
          }};
}

}  // namespace

std::vector<Workload> request_workloads() {
  std::vector<Workload> workloads;
  for (const int size : kResponseSizes) {
    for (const int connections : {1, 16, 64, 256}) {
      const bool in_quick = (size == 64 && (connections == 1 || connections == 64)) ||
                            (size == 16384 && connections == 64);
      workloads.push_back(requests(size, connections, in_quick));
    }
  }
  workloads.push_back(connections(true));
  workloads.push_back({.name = "mixed",
                       .title = "64 B requests, 16 connections, beside 8 bulk streams",
                       .metric = "requests/s",
                       .unit = "request",
                       .service = Service::http,
                       .beside = Service::bulk,
                       .in_quick = true,
                       .run = [](const TestBed&, const Contender& contender, const Route& route,
                                 double seconds) { return run_mixed(contender, route, seconds); }});
  workloads.push_back(requests(64, 1, false, Family::ipv6));
  workloads.push_back(requests(64, 64, false, Family::ipv6));
  workloads.push_back(connections(false, Family::ipv6));
  return workloads;
}

}  // namespace fairlead::bench
