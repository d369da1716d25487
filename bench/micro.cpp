// fairlead-bench-micro: the parts of the proxy, and the planning of rules, on their own.

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "netsetup/rules/nftables_text.h"
#include "netsetup/rules/rule_plan.h"
#include "proxy/engine/engine.h"
#include "proxy/options/command_line.h"
#include "proxy/options/docker_command_line.h"
#include "proxy/relay/counters.h"
#include "proxy/relay/deadlines.h"
#include "proxy/relay/udp_sessions.h"

namespace fairlead {
namespace {

IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }

// ---- options ----

void parse_docker_flags(benchmark::State& state) {
  const std::array<const char*, 10> arguments = {
      "-proto", "tcp",           "-host-ip",   "0.0.0.0",         "-host-port",
      "8080",   "-container-ip", "172.17.0.2", "-container-port", "80"};
  for ([[maybe_unused]] auto _ : state) {
    auto parsed = parse_docker_command_line("fairlead-proxy", arguments);
    benchmark::DoNotOptimize(parsed);
  }
}
BENCHMARK(parse_docker_flags);

void parse_published_ranges(benchmark::State& state) {
  std::vector<std::string> words;
  for (int i = 0; i < state.range(0); ++i) {
    words.emplace_back("--publish");
    words.push_back(
        fmt::format("127.0.0.1:{0}-{1}:172.17.0.2:{0}-{1}/tcp", 1000 + i * 10, 1009 + i * 10));
  }
  std::vector<const char*> arguments;
  arguments.reserve(words.size());
  for (const std::string& word : words) arguments.push_back(word.c_str());
  for ([[maybe_unused]] auto _ : state) {
    auto parsed = parse_command_line(arguments);
    benchmark::DoNotOptimize(parsed);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(parse_published_ranges)->Arg(1)->Arg(100)->Arg(1000);

// ---- deadlines ----

class NoOwner final : public DeadlineList::Owner {
 public:
  void on_deadline(Deadline&) override {}
};

/// What every datagram does to its session: it becomes the last to expire.
void move_deadline(benchmark::State& state) {
  NoOwner owner;
  DeadlineList list(owner, 90'000);
  std::vector<Deadline> deadlines(static_cast<std::size_t>(state.range(0)));
  for (Deadline& deadline : deadlines) list.set(deadline, 0);
  TimeMs now = 1;
  std::size_t next = 0;
  for ([[maybe_unused]] auto _ : state) {
    list.set(deadlines[next], now++);
    next = (next * 5 + 1) % deadlines.size();
  }
}
BENCHMARK(move_deadline)->Arg(1000)->Arg(100'000);

// ---- sessions ----

/// Takes every call and does nothing, so that only the bookkeeping above it is measured.
class IdleEngine final : public Engine {
 public:
  std::string_view name() const override { return "idle"; }
  void accept(Handler&, Tag, int, Repeat) override {}
  void connect(Handler&, Tag, int, const SocketAddress&) override {}
  void receive(Handler&, Tag, int, BufferSize, Repeat) override {}
  void wait(Handler&, Tag, int, short) override {}
  void cancel(Handler&, Tag) override {}
  void close(FileDescriptor fd) override { (void)fd.release(); }
  void turn(std::optional<TimeMs>) override {}
  void stop() override {}
  bool buffers_scarce(BufferSize) const override { return false; }
  // Far from any real descriptor, as owners close them.
  int open_socket(int, int, int) override { return kFirstFd + opened_++; }
  int connect_datagram(int, const SocketAddress&) override { return 0; }
  int set_option(int, int, int, int) override { return 0; }

 private:
  static constexpr int kFirstFd = 100'000'000;
  int opened_ = 0;
};

UdpFlow flow_of(std::uint32_t number) {
  UdpFlow flow;
  flow.client.s6_addr[10] = flow.client.s6_addr[11] = 0xff;
  flow.client.s6_addr[12] = 198;
  flow.client.s6_addr[14] = static_cast<std::uint8_t>(number >> 16);
  flow.client_port = number & 0xffff;
  flow.host = flow.client;
  return flow;
}

/// What every datagram of a client costs before it is sent on.
void find_session(benchmark::State& state) {
  IdleEngine engine;
  SharedState shared;
  const RelaySettings settings;
  Loop loop{.engine = engine, .settings = settings, .shared = shared};
  auto sessions = std::make_shared<UdpSessions>(loop);
  const Endpoint host{ip("0.0.0.0"), 53};
  const Endpoint backend{ip("172.17.0.2"), 53};
  Counters counters;
  UdpPort port{.loop = loop,
               .counters = counters,
               .sessions = sessions,
               .socket = {},
               .family = AF_INET,
               .host = host,
               .backend = backend,
               .backend_address = SocketAddress(backend),
               .access = {{}, Protocol::udp, host.port}};
  const auto count = static_cast<std::uint32_t>(state.range(0));
  for (std::uint32_t i = 0; i < count; ++i) {
    if (sessions->open({&port, flow_of(i)}) == nullptr) {
      state.SkipWithError("no session");
      return;
    }
  }
  std::uint32_t next = 0;
  for ([[maybe_unused]] auto _ : state) {
    UdpSession* session = sessions->find({&port, flow_of(next)});
    sessions->touch(*session);
    benchmark::DoNotOptimize(session);
    next = (next * 5 + 1) % count;
  }
}
BENCHMARK(find_session)->Arg(1)->Arg(1000)->Arg(60'000);

// ---- engines ----

class Receiver final : public Handler {
 public:
  void on_completion(Completion completion) override {
    if (completion.result > 0) received += static_cast<std::size_t>(completion.result);
  }
  std::size_t received = 0;
};

/// A message through a socket pair: send, a turn of the loop, its completion.
void engine_round_trip(benchmark::State& state, EngineChoice choice) {
  auto chosen = make_engine(choice);
  if (!chosen) {
    state.SkipWithError(chosen.error().message.c_str());
    return;
  }
  Engine& engine = *chosen->engine;
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) return;
  const FileDescriptor near(ends[0]);
  FileDescriptor far(ends[1]);
  Receiver receiver;
  engine.receive(receiver, 0, far.get(), BufferSize::small, Repeat::until_stopped);
  std::vector<char> message(static_cast<std::size_t>(state.range(0)), 'x');
  const iovec piece{message.data(), message.size()};
  std::size_t expected = 0;
  for ([[maybe_unused]] auto _ : state) {
    engine.send(near.get(), {&piece, 1});
    expected += message.size();
    while (receiver.received < expected) engine.turn(std::nullopt);
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
  engine.stop();
}
BENCHMARK_CAPTURE(engine_round_trip, io_uring, EngineChoice::io_uring)->Arg(64)->Arg(16'384);
BENCHMARK_CAPTURE(engine_round_trip, epoll, EngineChoice::epoll)->Arg(64)->Arg(16'384);

// ---- rules ----

/// From the desired state to the text for nftables, with this many published ports.
void plan_rules(benchmark::State& state) {
  Network network;
  network.name = "web";
  network.bridge = "fl-web";
  network.subnets = {Subnet::parse("10.1.0.0/16").value()};
  network.gateways = {ip("10.1.0.1")};
  for (int i = 0; i < state.range(0); ++i) {
    if (i % 100 == 0) {
      Container& container = network.containers.emplace_back();
      container.name = fmt::format("c{}", i / 100);
      container.host_ifname = fmt::format("flv{}", i / 100);
      container.addresses = {ip(fmt::format("10.1.{}.2", i / 100))};
    }
    network.containers.back().ports.push_back(
        PublishedPort::parse(fmt::format("{}:80/tcp", 1024 + i)).value());
  }
  const Networks networks = {network};
  for ([[maybe_unused]] auto _ : state) {
    const std::string text = nftables_load_text(nftables_elements(plan(networks)));
    benchmark::DoNotOptimize(text.data());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(plan_rules)->Arg(10)->Arg(1000)->Arg(10'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace fairlead

BENCHMARK_MAIN();
