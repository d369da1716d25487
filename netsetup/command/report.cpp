#include "netsetup/command/report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <span>

#include "netsetup/network/document.h"
#include "netsetup/network/json_reader.h"
#include "netsetup/proxies/proxy_process.h"
#include "netsetup/rules/rule_plan.h"

namespace fairlead {
namespace {

constexpr std::size_t kPortsShown = 3;
constexpr int kIndent = 2;

template <typename T>
std::string joined(const std::vector<T>& values, std::string_view separator = ", ") {
  std::string text;
  for (const T& value : values) {
    if (!text.empty()) text += separator;
    text += value.to_string();
  }
  return text;
}

std::string_view yes_no(bool value) { return value ? "yes" : "no"; }

std::string shortened_ports(const std::vector<PublishedPort>& ports) {
  if (ports.empty()) return "-";
  const std::size_t shown = std::min(ports.size(), kPortsShown);
  std::string text = joined(std::vector(ports.begin(), ports.begin() + std::ptrdiff_t(shown)), ",");
  if (ports.size() > shown) text += fmt::format(",+{}", ports.size() - shown);
  return text;
}

/// The proxies that have handed over and not ended yet.
std::vector<pid_t> draining(const Container& container) {
  std::vector<pid_t> pids;
  for (const ProxyProcess& proxy : container.draining) {
    if (is_running(proxy)) pids.push_back(proxy.pid);
  }
  return pids;
}

std::string proxy_text(const Container& container) {
  if (!container.proxy) return "-";
  std::string text =
      is_running(*container.proxy) ? fmt::format("{}", container.proxy->pid) : "ended";
  if (const std::vector<pid_t> pids = draining(container); !pids.empty()) {
    text += fmt::format(", drains {}", fmt::join(pids, " "));
  }
  return text;
}

std::uint64_t connections(const FirewallCounters& counters, const Container& container) {
  std::uint64_t sum = 0;
  for (const auto& [translation, count] : counters.connections) {
    if (std::ranges::find(container.addresses, translation.container_ip) !=
        container.addresses.end()) {
      sum += count;
    }
  }
  return sum;
}

/// What the proxy of a container has relayed.
std::string proxied_text(std::span<const PortActivity> ports) {
  std::optional<std::uint64_t> sum;
  for (const PortActivity& port : ports) {
    if (port.unanswered) return "no answer";
    if (port.proxied) sum = sum.value_or(0) + port.proxied->accepted;
  }
  return sum ? fmt::format("{}", *sum) : "-";
}

Json activity_json(const PortActivity& activity) {
  Json json = {{"port", activity.port.to_string()}};
  if (activity.translated) json["translated"] = *activity.translated;
  if (activity.unanswered) json["proxied"] = nullptr;
  if (const std::optional<ProxyCounters>& proxied = activity.proxied; proxied) {
    json["proxied"] = proxied->accepted;
    json["open"] = proxied->open;
    json["bytes_to_container"] = proxied->bytes_to_container;
    json["bytes_to_client"] = proxied->bytes_to_client;
  }
  return json;
}

/// Nothing: there is no such setting.
std::optional<std::string> read_sysctl(const std::string& path) {
  std::string value;
  if (std::ifstream file("/proc/sys/" + path); std::getline(file, value)) return value;
  return std::nullopt;
}

/// Settings that have not the value they should have.
std::vector<SysctlSetting> different_sysctls(const std::vector<SysctlSetting>& wanted) {
  std::vector<SysctlSetting> different;
  for (const SysctlSetting& setting : wanted) {
    if (read_sysctl(setting.path) != setting.value) different.push_back(setting);
  }
  return different;
}

void find_proxy_problems(const Network& network, std::vector<std::string>& problems) {
  for (const Container& container : network.containers) {
    if (plan_proxy(network, container).empty()) continue;
    if (container.proxy && is_running(*container.proxy)) continue;
    problems.push_back(
        fmt::format("network {}: container {}: its proxy has ended; `fairlead-net "
                    "reload` starts it anew",
                    network.name, container.name));
  }
}

void find_rule_problems(KernelHost& host, const State& state, std::vector<std::string>& problems) {
  const RuleSet rules = plan(state.networks);
  const auto chosen = host.choose_backend(rules, rules);
  if (!chosen) {
    problems.push_back("firewall: " + chosen.error().message);
    return;
  }
  const auto differences = host.firewall()->differences(rules);
  if (!differences) {
    problems.push_back("firewall: " + differences.error().message);
    return;
  }
  for (const std::string& difference : *differences) problems.push_back("firewall: " + difference);
}

void find_sysctl_problems(KernelHost& host, const State& state,
                          std::vector<std::string>& problems) {
  const auto wanted = host.wanted_sysctls(state.networks, state.sysctls);
  if (!wanted) {
    problems.push_back("kernel settings: " + wanted.error().message);
    return;
  }
  for (const SysctlSetting& setting : different_sysctls(*wanted)) {
    problems.push_back(fmt::format("kernel setting {} is {} and should be {}", setting.path,
                                   read_sysctl(setting.path).value_or("not there"), setting.value));
  }
}

}  // namespace

std::string table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const std::vector<std::string>& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const std::vector<std::string>& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      fmt::format_to(std::back_inserter(line), "{:<{}}", row[i], widths[i] + 2);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::vector<std::string> find_problems(KernelHost& host, const State& state, bool unfinished) {
  std::vector<std::string> problems;
  if (unfinished) {
    problems.emplace_back("a run was cut short; `fairlead-net reload` takes it back");
  }
  if (state.networks.empty()) return problems;
  for (const Network& network : state.networks) {
    const std::vector<std::string> links = host.links().problems(network);
    problems.insert(problems.end(), links.begin(), links.end());
    find_proxy_problems(network, problems);
  }
  find_sysctl_problems(host, state, problems);
  find_rule_problems(host, state, problems);
  return problems;
}

std::string problems_json(const std::vector<std::string>& problems) {
  return Json{{"problems", problems}}.dump(kIndent) + "\n";
}

std::string list_networks(const Networks& networks) {
  std::vector<std::vector<std::string>> rows = {
      {"NETWORK", "BRIDGE", "SUBNETS", "MODE", "INTERNAL", "CONTAINERS"}};
  for (const Network& network : networks) {
    rows.push_back({network.name, network.bridge, joined(network.subnets, ","),
                    std::string(mode_name(network.mode)), std::string(yes_no(network.internal)),
                    fmt::format("{}", network.containers.size())});
  }
  return table(rows);
}

std::string inspect_network(const Network& network, const std::vector<std::string>& problems) {
  std::vector<std::vector<std::string>> rows = {
      {"network", network.name},
      {"bridge", network.bridge + (network.adopted ? " (adopted)" : "")},
      {"subnets", joined(network.subnets)},
      {"gateways", joined(network.gateways)},
      {"ip-range", network.ip_range ? network.ip_range->to_string() : "-"},
      {"mtu", network.mtu ? fmt::format("{}", *network.mtu) : "-"},
      {"internal", std::string(yes_no(network.internal))},
      {"icc", std::string(yes_no(network.icc))},
      {"masquerade", std::string(yes_no(network.masquerade))},
      {"allow-networks", fmt::format("{}", fmt::join(network.allow_networks, ", "))},
      {"host-binding", network.host_binding ? network.host_binding->to_string() : "-"},
      {"mode", std::string(mode_name(network.mode))},
      {"forwarding", std::string(forwarding_name(network.forwarding))}};
  std::string text = table(rows);
  for (const Container& container : network.containers) {
    text += "\n" + table({{"container", container.name},
                          {"namespace", container.netns},
                          {"link", container.ifname + ", on the host " + container.host_ifname},
                          {"addresses", joined(container.addresses)},
                          {"mac", container.mac.to_string()},
                          {"proxy", proxy_text(container)},
                          {"ports", container.ports.empty() ? "-" : joined(container.ports)}});
  }
  for (const std::string& problem : problems) text += "\nwrong: " + problem;
  if (!problems.empty()) text += "\n";
  return text;
}

std::string status_text(const Networks& networks, const std::optional<FirewallCounters>& counters,
                        const PortActivities& activities,
                        const std::vector<std::string>& problems) {
  std::vector<std::vector<std::string>> rows = {{"NETWORK", "CONTAINER", "BRIDGE", "LINK",
                                                 "NAMESPACE", "ADDRESSES", "MODE", "PROXY",
                                                 "TRANSLATED", "PROXIED", "PORTS"}};
  auto activity = activities.begin();
  for (const Network& network : networks) {
    for (const Container& container : network.containers) {
      rows.push_back({network.name, container.name, network.bridge, container.host_ifname,
                      container.netns, joined(container.addresses, ","),
                      std::string(mode_name(network.mode)), proxy_text(container),
                      counters ? fmt::format("{}", connections(*counters, container)) : "-",
                      proxied_text({activity, container.ports.size()}),
                      shortened_ports(container.ports)});
      activity += std::ptrdiff_t(container.ports.size());
    }
  }
  std::string text = table(rows);
  if (counters) {
    for (const auto& [reason, packets] : counters->dropped) {
      text += fmt::format("dropped, {}: {} packets\n", reason, packets);
    }
  }
  for (const std::string& problem : problems) text += "wrong: " + problem + "\n";
  return text;
}

std::string status_json(const Networks& networks, const std::optional<FirewallCounters>& counters,
                        const PortActivities& activities,
                        const std::vector<std::string>& problems) {
  auto activity = activities.begin();
  Json containers = Json::array();
  for (const Network& network : networks) {
    for (const Container& container : network.containers) {
      Json json = {{"network", network.name},        {"container", container.name},
                   {"bridge", network.bridge},       {"link", container.host_ifname},
                   {"netns", container.netns},       {"ifname", container.ifname},
                   {"mode", mode_name(network.mode)}};
      for (const IpAddress& ip : container.addresses) json["addresses"].push_back(ip.to_string());
      json["ports"] = Json::array();
      json["activity"] = Json::array();
      for (const PublishedPort& port : container.ports) {
        json["ports"].push_back(port.to_string());
        json["activity"].push_back(activity_json(*activity++));
      }
      if (container.proxy) {
        json["proxy"] = {{"pid", container.proxy->pid}, {"running", is_running(*container.proxy)}};
        if (const std::vector<pid_t> pids = draining(container); !pids.empty()) {
          json["proxy"]["draining"] = pids;
        }
      }
      if (counters) json["translated"] = connections(*counters, container);
      containers.push_back(std::move(json));
    }
  }
  Json json = {{"containers", std::move(containers)}};
  if (counters) {
    json["dropped"] = Json::object();
    for (const auto& [reason, packets] : counters->dropped) json["dropped"][reason] = packets;
  }
  json["problems"] = problems;
  return json.dump(kIndent) + "\n";
}

Result<PlannedChange> plan_change(KernelHost& host, const State& state, const Networks& wanted,
                                  Extent extent) {
  if (auto checked = host.check(state.networks, wanted); !checked) {
    return std::unexpected(checked.error());
  }
  PlannedChange change;
  const LinkPlan links = plan_links(state.networks, wanted, extent);
  for (const LinkChange& link : links.first) change.links.push_back(link.to_string());
  for (const LinkChange& link : links.last) change.links.push_back(link.to_string());

  const auto sysctls = host.wanted_sysctls(wanted, state.sysctls);
  if (!sysctls) return std::unexpected(sysctls.error());
  change.sysctls = different_sysctls(*sysctls);

  const RuleSet before = plan(state.networks);
  const RuleSet after = plan(wanted);
  const auto backend = host.choose_backend(before, after);
  if (!backend) return std::unexpected(backend.error());
  change.backend = *backend;
  const bool known = extent == Extent::differences && state.backend == *backend;
  change.rules = host.firewall()->text(known ? &before : nullptr, after);

  for (const Network& network : wanted) {
    const Network* home = find_network(state.networks, network.name);
    for (const Container& container : network.containers) {
      const std::vector<Mapping> mappings = plan_proxy(network, container);
      const Container* present = home != nullptr ? find_container(*home, container.name) : nullptr;
      if (mappings.empty() || (present != nullptr && plan_proxy(*home, *present) == mappings)) {
        continue;
      }
      const auto program = host.proxy_program();
      if (!program) return std::unexpected(program.error());
      change.proxies.push_back(fmt::format(
          "{} {}", *program,
          fmt::join(proxy_arguments(host.directory().metrics_directory(),
                                    host.directory().handover_path(container), mappings),
                    " ")));
    }
  }
  return change;
}

std::string planned_text(const PlannedChange& change) {
  std::string text = "# links\n";
  for (const std::string& link : change.links) text += link + "\n";
  text += "# kernel settings\n";
  for (const SysctlSetting& setting : change.sysctls) {
    text += fmt::format("{} = {}\n", setting.path, setting.value);
  }
  text += fmt::format("# rules ({})\n{}# proxies\n", backend_name(change.backend), change.rules);
  for (const std::string& proxy : change.proxies) text += proxy + "\n";
  return text;
}

std::string planned_json(const PlannedChange& change) {
  Json sysctls = Json::object();
  for (const SysctlSetting& setting : change.sysctls) sysctls[setting.path] = setting.value;
  const Json json = {{"links", change.links},
                     {"sysctls", std::move(sysctls)},
                     {"firewall", backend_name(change.backend)},
                     {"rules", change.rules},
                     {"proxies", change.proxies}};
  return json.dump(kIndent) + "\n";
}

}  // namespace fairlead
