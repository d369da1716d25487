// What a proxy costs when nothing moves: starting it, an idle process, published ports, and
// connections that only stay open.

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <thread>

#include "bench/process_usage.h"
#include "bench/workload.h"

namespace fairlead::bench {
namespace {

using std::chrono::milliseconds;

constexpr auto kSettle = milliseconds(200);
constexpr int kFirstPort = 30000;

/// The same port of host and container, above the ports that TestBed uses.
Publication publication(int port) {
  return {.host_address = host_address(Family::ipv4),
          .host_port = static_cast<std::uint16_t>(port),
          .container_address = container_address(Family::ipv4),
          .container_port = static_cast<std::uint16_t>(port)};
}

/// Waits until the kernel has given back what earlier runs had: sockets are freed some time after
/// they were closed. Not for ever, as other programs take and give, too.
void settle() {
  constexpr double kStillKb = 256;
  constexpr int kMostWaits = 20;
  double before_kb = kernel_memory_kb();
  for (int waits = 0; waits < kMostWaits; ++waits) {
    std::this_thread::sleep_for(kSettle);
    const double now_kb = kernel_memory_kb();
    if (std::abs(now_kb - before_kb) < kStillKb) return;
    before_kb = now_kb;
  }
}

/// From exec(2) to "0\n" on descriptor 3: the median of some starts.
Result<Outcome> measure_start(const TestBed& bed, const Contender& contender) {
  constexpr int kStarts = 21;
  std::vector<double> times_ms;
  for (int i = 0; i < kStarts; ++i) {
    const auto proxy = start_docker_proxy_like(bed, contender, publication(kFirstPort + i));
    const std::int64_t ready_ns = monotonic_ns();
    if (!proxy) return std::unexpected(proxy.error());
    times_ms.push_back(static_cast<double>(ready_ns - proxy->exec_ns()) * 1e-6);
  }
  std::ranges::sort(times_ms);
  Outcome outcome;
  outcome.value = times_ms[kStarts / 2];
  outcome.units = kStarts;
  outcome.seconds = outcome.value * 1e-3;
  return outcome;
}

Outcome outcome_of(const Footprint& footprint) {
  Outcome outcome;
  outcome.value = footprint.private_kb;
  outcome.units = 1;
  outcome.seconds = 1;
  outcome.details = {{"threads", footprint.threads},
                     {"descriptors", footprint.descriptors},
                     {"processes", footprint.processes}};
  return outcome;
}

Result<Outcome> measure_idle(const TestBed& bed, const Contender& contender) {
  const auto route = open_route(bed, contender, {Service::held}, Family::ipv4);
  if (!route) return std::unexpected(route.error());
  std::this_thread::sleep_for(kSettle);
  return outcome_of(process_tree_footprint(route->proxies.front().pid()));
}

/// docker-proxy: a process for each port. fairlead-proxy: one process, one range.
Result<std::vector<ChildProcess>> publish_ports(const TestBed& bed, const Contender& contender,
                                                int count) {
  std::vector<ChildProcess> processes;
  if (contender.is_docker_proxy()) {
    for (int i = 0; i < count; ++i) {
      auto proxy = start_docker_proxy_like(bed, contender, publication(kFirstPort + i));
      if (!proxy) return std::unexpected(proxy.error());
      processes.push_back(std::move(*proxy));
    }
    return processes;
  }
  const int last = kFirstPort + count - 1;
  auto proxy =
      start_by_hand(bed, contender,
                    {fmt::format("{}:{}-{}:{}:{}-{}/tcp", host_address(Family::ipv4), kFirstPort,
                                 last, container_address(Family::ipv4), kFirstPort, last)});
  if (!proxy) return std::unexpected(proxy.error());
  while (bound_ports(bed, false, Family::ipv4, kFirstPort, last) < count) {
    if (!proxy->running() || monotonic_ns() - proxy->exec_ns() > 20'000'000'000) {
      return failed(
          fmt::format("{} did not bind {} ports: {}", contender.label, count, proxy->errors()));
    }
    std::this_thread::sleep_for(milliseconds(1));
  }
  processes.push_back(std::move(*proxy));
  return processes;
}

Result<Outcome> measure_ports(const TestBed& bed, const Contender& contender, int count) {
  settle();
  const double kernel_before_kb = kernel_memory_kb();
  const double available_before_kb = available_memory_kb();
  const std::int64_t start_ns = monotonic_ns();
  const auto processes = publish_ports(bed, contender, count);
  const std::int64_t ready_ns = monotonic_ns();
  if (!processes) return std::unexpected(processes.error());
  std::this_thread::sleep_for(kSettle);
  Footprint total;
  for (const ChildProcess& process : *processes) total += process_tree_footprint(process.pid());
  Outcome outcome = outcome_of(total);
  outcome.seconds = static_cast<double>(ready_ns - start_ns) * 1e-9;
  outcome.details["start_ms"] = outcome.seconds * 1e3;
  outcome.details["kernel_kb"] = kernel_memory_kb() - kernel_before_kb;
  outcome.details["used_kb"] = available_before_kb - available_memory_kb();
  return outcome;
}

/// Connections from the client through a contender to a listening socket of the bench's own, in the
/// container. Each has carried a few bytes both ways and now rests.
class HeldConnections {
 public:
  Result<void> open(const TestBed& bed, const Route& route, int count) {
    bed.container().run_inside([&] { listen(); });
    if (!listener_) return failed("listen in the container", errno);
    for (int i = 0; i < count; ++i) {
      // Entering the namespace takes a thread, so a batch of sockets is made at a time.
      if (fresh_.empty()) {
        route.client->run_inside([&] {
          for (int made = 0; made < 256; ++made) {
            fresh_.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
          }
        });
      }
      FileDescriptor client = std::move(fresh_.back());
      fresh_.pop_back();
      if (auto opened = exchange(client, route); !opened) return opened;
      clients_.push_back(std::move(client));
    }
    fresh_.clear();
    return {};
  }

 private:
  void listen() {
    FileDescriptor fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) return;
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(container_port(Service::held));
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
        ::listen(fd.get(), 4096) == 0) {
      listener_ = std::move(fd);
    }
  }

  Result<void> exchange(const FileDescriptor& client, const Route& route) {
    // Whatever does not answer must not hold the bench.
    const timeval limit{.tv_sec = 3, .tv_usec = 0};
    for (const int fd : {client.get(), listener_.get()}) {
      ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
      ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(route.port);
    ::inet_pton(AF_INET, route.address.c_str(), &address.sin_addr);
    char text[8] = "request";
    FileDescriptor server;
    const bool carried =
        ::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
        ::send(client.get(), text, sizeof text, MSG_NOSIGNAL) == sizeof text &&
        (server = FileDescriptor(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC))) &&
        ::setsockopt(server.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0 &&
        ::recv(server.get(), text, sizeof text, MSG_WAITALL) == sizeof text &&
        ::send(server.get(), text, sizeof text, MSG_NOSIGNAL) == sizeof text &&
        ::recv(client.get(), text, sizeof text, MSG_WAITALL) == sizeof text;
    if (!carried) return failed(fmt::format("connection {}", clients_.size() + 1), errno);
    servers_.push_back(std::move(server));
    return {};
  }

  FileDescriptor listener_;
  std::vector<FileDescriptor> fresh_;
  std::vector<FileDescriptor> clients_;
  std::vector<FileDescriptor> servers_;
};

/// docker-proxy has six descriptors for each connection, and all contenders get the same number.
int possible_connections(int wanted) {
  rlimit descriptors{};
  ::getrlimit(RLIMIT_NOFILE, &descriptors);
  const auto possible = static_cast<int>(std::min<rlim_t>(descriptors.rlim_max, 1 << 20)) - 500;
  return std::min(wanted, possible / 6);
}

Result<Outcome> measure_connections(const TestBed& bed, const Contender& contender, int count) {
  const auto route = open_route(bed, contender, {Service::held}, Family::ipv4);
  if (!route) return std::unexpected(route.error());
  settle();
  const pid_t proxy = route->proxies.front().pid();
  const Footprint before = process_tree_footprint(proxy);
  const double kernel_before_kb = kernel_memory_kb();
  HeldConnections connections;
  if (auto opened = connections.open(bed, *route, count); !opened) {
    return std::unexpected(opened.error());
  }
  std::this_thread::sleep_for(kSettle);
  const Footprint after = process_tree_footprint(proxy);
  Outcome outcome;
  outcome.units = count;
  outcome.seconds = 1;
  outcome.value = (after.private_kb - before.private_kb) / count;
  outcome.details = {
      {"kernel_kb", (kernel_memory_kb() - kernel_before_kb) / count},
      {"descriptors", (after.descriptors - before.descriptors) / count},
      {"threads", after.threads},
  };
  return outcome;
}

Workload footprint(const std::string& name, const std::string& title, const std::string& metric,
                   std::function<Result<Outcome>(const TestBed&, const Contender&)> run,
                   bool contract_only) {
  return {.name = name,
          .title = title,
          .metric = metric,
          .unit = "",
          .service = contract_only ? Service::contract : Service::held,
          .in_quick = name == "start" || name == "idle" || name == "held_1000",
          .lower_is_better = true,
          .needs_route = false,
          .run = [run = std::move(run)](const TestBed& bed, const Contender& contender,
                                        const Route&, double) { return run(bed, contender); }};
}

}  // namespace

std::vector<Workload> footprint_workloads() {
  std::vector<Workload> workloads = {
      footprint("start", "exec to ready", "ms", measure_start, true),
      footprint("idle", "idle proxy, private memory", "kB", measure_idle, false)};
  for (const int count : {1, 100, 2000}) {
    workloads.push_back(footprint(
        fmt::format("ports_{}", count), fmt::format("{} published ports, private memory", count),
        "kB",
        [count](const TestBed& bed, const Contender& contender) {
          return measure_ports(bed, contender, count);
        },
        true));
  }
  for (const int wanted : {1000, 10000}) {
    const int count = possible_connections(wanted);
    workloads.push_back(footprint(
        fmt::format("held_{}", wanted),
        fmt::format("{} idle connections, private memory each", count), "kB",
        [count](const TestBed& bed, const Contender& contender) {
          return measure_connections(bed, contender, count);
        },
        false));
  }
  return workloads;
}

}  // namespace fairlead::bench
