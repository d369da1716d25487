#include "proxy/options/options.h"

#include <algorithm>
#include <array>
#include <concepts>
#include <utility>

#include "proxy/mapping/decimal.h"
#include "proxy/process/socket_file.h"

namespace fairlead {
namespace {

/// A word and what it stands for.
template <typename T>
using Word = std::pair<std::string_view, T>;

template <typename T, std::size_t count>
Result<void> set_word(T& target, std::string_view value, const std::array<Word<T>, count>& words) {
  std::string accepted;
  for (const auto& [word, meaning] : words) {
    if (value == word) {
      target = meaning;
      return {};
    }
    accepted += (accepted.empty() ? "" : ", ") + std::string(word);
  }
  return failed("accepted: " + accepted);
}

template <std::integral T>
Result<void> set_number(T& target, std::string_view value, T min, T max) {
  const auto number = parse_decimal<T>(value);
  if (!number || *number < min || *number > max) {
    return failed("accepted: a number from " + std::to_string(min) + " to " + std::to_string(max));
  }
  target = *number;
  return {};
}

Result<void> set_seconds(TimeMs& target_ms, std::string_view value, TimeMs min) {
  constexpr TimeMs kDay = 86'400;
  TimeMs seconds = 0;
  if (!set_number(seconds, value, min, kDay)) {
    return failed("accepted: whole seconds from " + std::to_string(min) + " to " +
                  std::to_string(kDay));
  }
  target_ms = seconds * 1000;
  return {};
}

/// No host has more descriptors than this to spend; see fs.nr_open.
constexpr std::size_t kCountLimit = 1'000'000'000;
/// More than any machine has processors.
constexpr std::size_t kWorkersLimit = 1024;

Result<void> set_publish(Options& options, std::string_view value) {
  auto mapping = Mapping::parse(value);
  if (!mapping) return std::unexpected(mapping.error());
  options.mappings.push_back(*mapping);
  return {};
}

Result<void> set_engine(Options& options, std::string_view value) {
  static constexpr std::array<Word<EngineChoice>, 3> kWords = {
      {{"auto", EngineChoice::automatic},
       {"io_uring", EngineChoice::io_uring},
       {"epoll", EngineChoice::epoll}}};
  return set_word(options.engine, value, kWords);
}

Result<void> set_relay(Options& options, std::string_view value) {
  static constexpr std::array<Word<RelayMode>, 3> kWords = {
      {{"auto", RelayMode::automatic}, {"copy", RelayMode::copy}, {"splice", RelayMode::splice}}};
  return set_word(options.relay.mode, value, kWords);
}

Result<void> set_workers(Options& options, std::string_view value) {
  return set_number(options.workers, value, std::size_t{1}, kWorkersLimit);
}

Result<void> set_udp_timeout(Options& options, std::string_view value) {
  return set_seconds(options.relay.udp_timeout_ms, value, 1);
}

Result<void> set_connect_timeout(Options& options, std::string_view value) {
  return set_seconds(options.relay.connect_timeout_ms, value, 0);
}

Result<void> set_proxy_protocol(Options& options, std::string_view value) {
  static constexpr std::array<Word<ProxyProtocol>, 3> kWords = {
      {{"none", ProxyProtocol::none}, {"v1", ProxyProtocol::v1}, {"v2", ProxyProtocol::v2}}};
  return set_word(options.relay.proxy_protocol, value, kWords);
}

Result<void> set_accept_proxy_protocol(Options& options, std::string_view value) {
  const auto subnets = Subnet::parse_list(value);
  if (!subnets) {
    return failed(subnets.error().message +
                  "; accepted: addresses and prefixes with commas between, as in "
                  "192.0.2.1,10.0.0.0/8,fd00::/8");
  }
  std::vector<Subnet>& front_ends = options.relay.front_ends;
  front_ends.insert(front_ends.end(), subnets->begin(), subnets->end());
  return {};
}

Result<void> add_access_rules(Options& options, bool allows, std::string_view value) {
  const auto added = parse_access_rules(allows, value);
  if (!added) return std::unexpected(added.error());
  std::vector<AccessRule>& rules = options.relay.access_rules;
  rules.insert(rules.end(), added->begin(), added->end());
  return {};
}

Result<void> set_allow(Options& options, std::string_view value) {
  return add_access_rules(options, true, value);
}

Result<void> set_deny(Options& options, std::string_view value) {
  return add_access_rules(options, false, value);
}

Result<void> set_idle_timeout(Options& options, std::string_view value) {
  return set_seconds(options.relay.idle_timeout_ms, value, 0);
}

Result<void> set_half_closed_timeout(Options& options, std::string_view value) {
  return set_seconds(options.relay.half_closed_timeout_ms, value, 0);
}

Result<void> set_drain(Options& options, std::string_view value) {
  return set_seconds(options.drain_ms, value, 0);
}

Result<void> set_handover_drain(Options& options, std::string_view value) {
  return set_seconds(options.handover_drain_ms.emplace(), value, 0);
}

Result<void> set_handover(Options& options, std::string_view value) {
  if (value.empty() || value.size() > kSocketPathMax) {
    return failed("accepted: the path of a UNIX socket, 1 to " + std::to_string(kSocketPathMax) +
                  " bytes long");
  }
  options.handover_path = value;
  return {};
}

Result<void> set_metrics(Options& options, std::string_view value) {
  auto address = MetricsAddress::parse(value);
  if (!address) return std::unexpected(address.error());
  options.metrics = std::move(*address);
  return {};
}

Result<void> set_max_connections_per_client(Options& options, std::string_view value) {
  return set_number(options.relay.connections_per_client_max, value, std::size_t{0}, kCountLimit);
}

Result<void> set_max_connections(Options& options, std::string_view value) {
  return set_number(options.relay.connections_max, value, std::size_t{1}, kCountLimit);
}

Result<void> set_max_udp_sessions(Options& options, std::string_view value) {
  return set_number(options.relay.sessions_max, value, std::size_t{1}, kCountLimit);
}

Result<void> set_container_netns(Options& options, std::string_view value) {
  auto netns = ContainerNetns::parse(value);
  if (!netns) return std::unexpected(netns.error());
  options.relay.dial.netns = std::move(*netns);
  return {};
}

Result<void> set_source(Options& options, std::string_view value) {
  static constexpr std::array<Word<Source>, 3> kWords = {
      {{"gateway", Source::gateway}, {"client", Source::client}, {"container", Source::container}}};
  return set_word(options.relay.dial.source, value, kWords);
}

Result<void> set_user(Options& options, std::string_view value) {
  const auto account = Account::parse(value);
  if (!account) return std::unexpected(account.error());
  options.account = *account;
  return {};
}

Result<void> set_log_level(Options& options, std::string_view value) {
  static constexpr std::array<Word<LogLevel>, 6> kWords = {{{"trace", LogLevel::trace},
                                                            {"debug", LogLevel::debug},
                                                            {"info", LogLevel::info},
                                                            {"warn", LogLevel::warn},
                                                            {"error", LogLevel::error},
                                                            {"off", LogLevel::off}}};
  return set_word(options.log_level, value, kWords);
}

Result<void> set_log_format(Options& options, std::string_view value) {
  static constexpr std::array<Word<LogFormat>, 2> kWords = {
      {{"text", LogFormat::text}, {"json", LogFormat::json}}};
  return set_word(options.log_format, value, kWords);
}

// Not a std::array whose type is deduced: GCC 12 puts those where they could be written, and with
// them go pages that idle proxies would share.
constexpr OptionDefinition kDefinitions[] = {
    {kPublishOption, 'p', "Published ports", "MAPPING",
     "publish a port or a range of ports, as "
     "[HOST-IP:]PORT[-END]:CONTAINER-IP:PORT[-END][/PROTOCOL] with PROTOCOL tcp, "
     "udp or sctp (default: tcp) and IPv6 addresses in brackets. Without HOST-IP: "
     "on all addresses of this host, IPv4 and IPv6. May be given any number of "
     "times",
     set_publish},
    {"engine", 0, "Relay", "ENGINE",
     "auto, io_uring or epoll; auto takes io_uring where the kernel lets it "
     "(default: auto)",
     set_engine},
    {"relay", 0, "Relay", "WAY", "how TCP bytes are moved: auto, copy or splice (default: auto)",
     set_relay},
    {"workers", 0, "Relay", "N",
     "threads that TCP connections may keep busy; one, until they are more than it "
     "can serve (default: one for each processor it may run on)",
     set_workers},
    {"connect-timeout", 0, "Relay", "SECONDS",
     "how long to wait for a container to accept a connection; 0: as long as the "
     "kernel does, about two minutes (default: 0)",
     set_connect_timeout},
    {"udp-timeout", 0, "Relay", "SECONDS",
     "end a UDP session when neither side has sent for so long (default: 90)", set_udp_timeout},
    {"idle-timeout", 0, "Relay", "SECONDS",
     "end a TCP or SCTP connection over which nothing has passed for so long; 0: "
     "never (default: 0)",
     set_idle_timeout},
    {"half-closed-timeout", 0, "Relay", "SECONDS",
     "the same for a TCP connection of which one side has finished sending; 0: "
     "--idle-timeout is for it, too (default: 0)",
     set_half_closed_timeout},
    {"container-netns", 0, "Dial", "NETNS",
     "dial from inside the container's network namespace, over its own loopback: "
     "an absolute path, pid:N, name:NAME (of `ip netns`), or auto, which looks for "
     "the namespace that has the container's address (default: dial from the host)",
     set_container_netns},
    {"source", 0, "Dial", "ADDRESS",
     "what the service sees as its client's address when --container-netns is "
     "given: gateway, client or container (default: gateway)",
     set_source},
    {"proxy-protocol", 0, "Addresses", "VERSION",
     "tell containers who the client is, in a PROXY protocol header: none, v1 "
     "(TCP) or v2 (TCP, and before each UDP datagram) (default: none)",
     set_proxy_protocol},
    {"accept-proxy-protocol", 0, "Addresses", "CIDR[,CIDR]...",
     "TCP connections and UDP datagrams from these addresses are those of front "
     "ends and begin with a PROXY protocol header, datagrams with one of v2, that "
     "tells who the client is. May be given any number of times",
     set_accept_proxy_protocol},
    {"allow", 0, "Limits", "[PORTS=]CIDR[,CIDR]...",
     "serve these clients and no others, on all ports or on some of this host, as "
     "in 8000-8099/tcp=10.0.0.0/8. The longest prefix decides between this and "
     "--deny. May be given any number of times",
     set_allow},
    {"deny", 0, "Limits", "[PORTS=]CIDR[,CIDR]...",
     "do not serve these clients: reset their connections, drop their datagrams. "
     "May be given any number of times",
     set_deny},
    {"max-connections", 0, "Limits", "N",
     "TCP and SCTP connections at a time; further clients wait to be accepted "
     "(default: what the limit of open files allows)",
     set_max_connections},
    {"max-connections-per-client", 0, "Limits", "N",
     "TCP and SCTP connections of one IPv4 address or one IPv6 /64 at a time; "
     "further ones are reset; 0: no limit (default: 0)",
     set_max_connections_per_client},
    {"max-udp-sessions", 0, "Limits", "N",
     "UDP sessions at a time; a further one takes the place of the least recently "
     "used (default: what the limit of open files allows)",
     set_max_udp_sessions},
    {"drain", 0, "Replacement", "SECONDS",
     "on SIGTERM and after a handover accept no more clients and let connections "
     "go on for so long; SIGINT and a second SIGTERM end at once. For proxies run "
     "by hand (default: 0)",
     set_drain},
    {"handover-drain", 0, "Replacement", "SECONDS",
     "the same after a handover alone; then SIGTERM ends at once, too (default: as "
     "--drain)",
     set_handover_drain},
    {"handover", 0, "Replacement", "PATH",
     "take over the listening sockets of the proxy that was started with the same "
     "path, which then drains, and hand them over to the next in the same way. For "
     "proxies run by hand (default: none)",
     set_handover},
    {"user", 0, "Isolation", "USER[:GROUP]",
     "serve as this user, once the ports are bound: names of /etc/passwd and "
     "/etc/group, or numbers (default: the user that starts the proxy)",
     set_user},
    {"metrics", 0, "Metrics", "ADDRESS",
     "serve the counters of each mapping to Prometheus, as /metrics at ADDR:PORT, "
     "unix:PATH or unix:DIRECTORY/, where each process has a socket PID.sock "
     "(default: none)",
     set_metrics},
    {"log-level", 0, "Log", "LEVEL", "trace, debug, info, warn, error or off (default: info)",
     set_log_level},
    {"log-format", 0, "Log", "FORMAT", "text or json (default: text)", set_log_format},
};

}  // namespace

std::span<const OptionDefinition> option_definitions() { return kDefinitions; }

const OptionDefinition* find_option(std::string_view name) {
  const auto found = std::ranges::find(kDefinitions, name, &OptionDefinition::name);
  return found == std::ranges::end(kDefinitions) ? nullptr : &*found;
}

Result<void> check_proxy_protocol(ProxyProtocol version, std::span<const Mapping> mappings) {
  if (version == ProxyProtocol::none) return {};
  const bool v1 = version == ProxyProtocol::v1;
  for (const Mapping& mapping : mappings) {
    if (mapping.protocol == Protocol::tcp || (mapping.protocol == Protocol::udp && !v1)) continue;
    return failed("--proxy-protocol " + std::string(v1 ? "v1" : "v2") + ": \"" +
                  mapping.to_string() + "\" cannot have it; accepted: v1 with tcp, v2 with tcp " +
                  "and udp");
  }
  return {};
}

}  // namespace fairlead
