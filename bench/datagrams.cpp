// UDP by fairlead-bench-udp, which checks every datagram that arrives.

#include <fmt/format.h>
#include <signal.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "bench/workload.h"

namespace fairlead::bench {
namespace {

using std::chrono::milliseconds;

/// The sink or the echo server, in the container, until it goes out of scope.
Result<ChildProcess> start_service(const TestBed& bed, Service service) {
  auto server =
      ChildProcess::spawn({bed.udp_tool(), service == Service::datagram_sink ? "sink" : "echo",
                           std::to_string(container_port(service))},
                          {.network = &bed.container()});
  for (int waited_ms = 0; server && !server->output().starts_with("ready"); ++waited_ms) {
    if (waited_ms == 2000) return failed("fairlead-bench-udp: " + server->errors());
    std::this_thread::sleep_for(milliseconds(1));
  }
  return server;
}

Result<nlohmann::json> report_of(const std::string& output) {
  auto report = nlohmann::json::parse(output.substr(std::min(output.size(), output.find('{'))),
                                      nullptr, false);
  if (!report.is_object()) return failed("fairlead-bench-udp: " + output);
  return report;
}

Result<nlohmann::json> run_tool(const TestBed& bed, const Route& route,
                                std::vector<std::string> arguments, double seconds) {
  arguments.insert(arguments.begin(), bed.udp_tool());
  const auto output = run_command(arguments, {.network = route.client},
                                  milliseconds(static_cast<int>(seconds * 1000) + 5000));
  if (!output) return std::unexpected(output.error());
  return report_of(*output);
}

Result<Outcome> run_flood(const TestBed& bed, const Route& route, int size, int flows,
                          double per_second, double seconds) {
  auto sink = start_service(bed, Service::datagram_sink);
  if (!sink) return std::unexpected(sink.error());
  const auto sent =
      run_tool(bed, route,
               {"flood", route.address, std::to_string(route.port), std::to_string(size),
                std::to_string(flows), fmt::format("{}", seconds), fmt::format("{}", per_second)},
               seconds);
  if (!sent) return std::unexpected(sent.error());
  std::this_thread::sleep_for(milliseconds(100));  // What is still in a queue arrives.
  sink->signal(SIGTERM);
  if (auto ended = sink->wait(milliseconds(2000)); !ended) return std::unexpected(ended.error());
  const auto arrived = report_of(sink->output());
  if (!arrived) return std::unexpected(arrived.error());
  if ((*arrived)["corrupt"].get<double>() > 0) return failed("datagrams arrived damaged");

  const double sent_count = (*sent)["sent"].get<double>();
  Outcome outcome;
  outcome.units = (*arrived)["received"].get<double>();
  outcome.seconds = (*arrived)["seconds"].get<double>();
  if (outcome.units == 0 || outcome.seconds == 0) return failed("no datagram arrived");
  outcome.value = outcome.units / outcome.seconds * 1e-3;
  outcome.details = {{"loss_percent", 100 * (1 - outcome.units / sent_count)},
                     {"p50_us", (*arrived)["p50_us"].get<double>()},
                     {"p99_us", (*arrived)["p99_us"].get<double>()},
                     {"p999_us", (*arrived)["p999_us"].get<double>()},
                     {"sent_per_s", sent_count / (*sent)["seconds"].get<double>()},
                     {"out_of_order", (*arrived)["out_of_order"].get<double>()},
                     {"duplicates", (*arrived)["duplicates"].get<double>()}};
  return outcome;
}

Result<Outcome> run_echo(const TestBed& bed, const Route& route, int size, int flows, int window,
                         double seconds) {
  const auto server = start_service(bed, Service::datagram_echo);
  if (!server) return std::unexpected(server.error());
  const auto report =
      run_tool(bed, route,
               {"ping", route.address, std::to_string(route.port), std::to_string(size),
                std::to_string(flows), std::to_string(window), fmt::format("{}", seconds)},
               seconds);
  if (!report) return std::unexpected(report.error());
  const auto number = [&](const char* name) { return (*report)[name].get<double>(); };
  if (number("corrupt") > 0) return failed("datagrams came back damaged or to another flow");
  Outcome outcome;
  outcome.units = number("replies");
  outcome.seconds = number("seconds");
  if (outcome.units == 0) return failed("no datagram came back");
  outcome.value = outcome.units / outcome.seconds * 1e-3;
  outcome.details = {{"loss_percent", 100 * number("lost") / (number("lost") + outcome.units)},
                     {"p50_us", number("p50_us")},
                     {"p99_us", number("p99_us")},
                     {"p999_us", number("p999_us")}};
  return outcome;
}

std::string flows_text(int flows) { return flows == 1 ? "1 flow" : fmt::format("{} flows", flows); }

Workload flood(int size, int flows, int per_second, bool in_quick, Family family = Family::ipv4) {
  const std::string rate = per_second == 0 ? "" : fmt::format("_{}k", per_second / 1000);
  return {
      .name =
          fmt::format("udp_{}_f{}{}{}", size, flows, rate, family == Family::ipv4 ? "" : "_ipv6"),
      .title = fmt::format("UDP {} B, {}, {}{}", size, flows_text(flows),
                           per_second == 0 ? "flat out" : fmt::format("{}/s offered", per_second),
                           family == Family::ipv4 ? "" : ", IPv6"),
      .metric = "kpps",
      .unit = "datagram",
      .service = Service::datagram_sink,
      .family = family,
      .in_quick = in_quick,
      .run = [=](const TestBed& bed, const Contender&, const Route& route, double seconds) {
        return run_flood(bed, route, size, flows, per_second, seconds);
      }};
}

Workload echo(int size, int flows, int window, bool in_quick, Family family = Family::ipv4) {
  return {.name = fmt::format("udp_echo_{}_f{}_w{}{}", size, flows, window,
                              family == Family::ipv4 ? "" : "_ipv6"),
          .title = fmt::format("UDP echo {} B, {}, {} under way each{}", size, flows_text(flows),
                               window, family == Family::ipv4 ? "" : ", IPv6"),
          .metric = "kpps",
          .unit = "datagram",
          .service = Service::datagram_echo,
          .family = family,
          .in_quick = in_quick,
          .run = [=](const TestBed& bed, const Contender&, const Route& route, double seconds) {
            return run_echo(bed, route, size, flows, window, seconds);
          }};
}

}  // namespace

std::vector<Workload> datagram_workloads() {
  std::vector<Workload> workloads;
  for (const int size : {64, 512, 1200}) {
    for (const int flows : {1, 64}) {
      workloads.push_back(flood(size, flows, 0, size == 64 && flows == 1));
      workloads.push_back(flood(size, flows, 20'000, false));
      workloads.push_back(echo(size, flows, 1, false));
    }
  }
  workloads.push_back(echo(64, 16, 16, true));
  workloads.push_back(flood(64, 1, 0, false, Family::ipv6));
  workloads.push_back(flood(64, 64, 20'000, false, Family::ipv6));
  workloads.push_back(echo(64, 16, 16, false, Family::ipv6));
  return workloads;
}

}  // namespace fairlead::bench
