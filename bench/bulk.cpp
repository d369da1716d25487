// Bulk transfer by iperf3; what counts is what the receiving end got.

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <thread>

#include "bench/workload.h"

namespace fairlead::bench {
namespace {

using std::chrono::milliseconds;

enum class Ends { usual, light };

Result<Outcome> run_iperf3(const Route& route, int streams, bool download, Ends ends,
                           double seconds) {
  const int whole_seconds = std::max(1, static_cast<int>(std::lround(seconds)));
  std::vector<std::string> command = {"iperf3",
                                      "-c",
                                      route.address,
                                      "-p",
                                      std::to_string(route.port),
                                      "-t",
                                      std::to_string(whole_seconds),
                                      "-P",
                                      std::to_string(streams),
                                      "--json",
                                      "--connect-timeout",
                                      "2000"};
  if (download) command.emplace_back("-R");
  if (ends == Ends::light) command.emplace_back("--zerocopy");
  for (int attempt = 1;; ++attempt) {
    auto child = ChildProcess::spawn(command, {.network = route.client});
    if (!child) return std::unexpected(child.error());
    if (auto ended = child->wait(milliseconds(whole_seconds * 1000 + 6000)); !ended) {
      return std::unexpected(ended.error());
    }
    const auto report = nlohmann::json::parse(child->output(), nullptr, false);
    if (report.is_object() && !report.contains("error") && report.contains("end") &&
        report["end"].contains("sum_received")) {
      const auto& received = report["end"]["sum_received"];
      Outcome outcome;
      outcome.value = received["bits_per_second"].get<double>() * 1e-9;
      outcome.units = received["bytes"].get<double>() * 1e-9;
      outcome.seconds = received["seconds"].get<double>();
      return outcome;
    }
    // The server may still be ending a run that was cut off.
    if (attempt == 3) {
      return failed("iperf3: " + (report.is_object() ? report.value("error", "no result")
                                                     : child->output() + child->errors()));
    }
    std::this_thread::sleep_for(milliseconds(300));
  }
}

Workload bulk(const std::string& name, const std::string& title, int streams, bool download,
              bool in_quick, Family family = Family::ipv4, Ends ends = Ends::usual) {
  return {.name = name,
          .title = title,
          .metric = "Gbit/s",
          .unit = "GB",
          .service = Service::bulk,
          .family = family,
          .in_quick = in_quick,
          .of_interest = ends == Ends::light,
          .run = [=](const TestBed&, const Contender&, const Route& route, double seconds) {
            return run_iperf3(route, streams, download, ends, seconds);
          }};
}

}  // namespace

std::vector<Workload> bulk_workloads() {
  return {bulk("bulk_up", "bulk up, 1 stream", 1, false, true),
          bulk("bulk_down", "bulk down, 1 stream", 1, true, true),
          bulk("bulk_up_8", "bulk up, 8 streams", 8, false, true),
          bulk("bulk_down_8", "bulk down, 8 streams", 8, true, false),
          bulk("bulk_up_64", "bulk up, 64 streams", 64, false, false),
          bulk("bulk_down_64", "bulk down, 64 streams", 64, true, false),
          // A sender that copies nothing leaves more of the processors to the proxy.
          bulk("bulk_up_64_light", "bulk up, 64 streams, light sender", 64, false, false,
               Family::ipv4, Ends::light),
          bulk("bulk_down_64_light", "bulk down, 64 streams, light sender", 64, true, false,
               Family::ipv4, Ends::light),
          bulk("bulk_up_ipv6", "bulk up, 1 stream, IPv6", 1, false, false, Family::ipv6),
          bulk("bulk_down_ipv6", "bulk down, 1 stream, IPv6", 1, true, false, Family::ipv6)};
}

}  // namespace fairlead::bench
