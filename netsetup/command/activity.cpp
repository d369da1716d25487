#include "netsetup/command/activity.h"

#include <tuple>
#include <utility>

#include "netsetup/rules/rule_plan.h"

namespace fairlead {
namespace {

/// What a translation and a published port have in common.
using TranslationKey = std::tuple<Protocol, std::optional<IpAddress>, PortRange, IpAddress>;

void add_proxied(const Network& network, const Container& container, const ProxyAnswers& proxies,
                 PortActivity& activity) {
  const std::vector<Mapping> mappings = plan_proxy(network, container, activity.port);
  if (mappings.empty()) return;
  const auto answer = container.proxy ? proxies.find(container.proxy->pid) : proxies.end();
  activity.unanswered = answer == proxies.end();
  if (activity.unanswered) return;
  activity.proxied.emplace();
  for (const Mapping& mapping : mappings) {
    const auto counted = answer->second.find(mapping.to_string());
    if (counted != answer->second.end()) *activity.proxied += counted->second;
  }
}

}  // namespace

ProxyAnswers ask_proxies(const Networks& networks, const StateDirectory& directory) {
  std::vector<pid_t> proxies;
  std::vector<ProxyQuestion> questions;
  for (const Network& network : networks) {
    for (const Container& container : network.containers) {
      if (!container.proxy) continue;
      proxies.push_back(container.proxy->pid);
      // Of each port one for IPv4 and one for IPv6.
      questions.push_back({directory.metrics_path(*container.proxy), 2 * container.ports.size()});
    }
  }
  ProxyAnswers answers;
  std::vector<std::optional<MappingCounters>> answered = ask_proxies(questions);
  for (std::size_t i = 0; i < proxies.size(); ++i) {
    std::optional<MappingCounters>& answer = answered[i];
    if (answer) answers.emplace(proxies[i], std::move(*answer));
  }
  return answers;
}

PortActivities port_activities(const Networks& networks,
                               const std::optional<FirewallCounters>& counters,
                               const ProxyAnswers& proxies) {
  std::map<TranslationKey, std::uint64_t> translated;
  if (counters) {
    for (const auto& [of, count] : counters->connections) {
      translated[{of.protocol, of.host_ip, of.host_ports, of.container_ip}] += count;
    }
  }
  PortActivities activities;
  for (const Network& network : networks) {
    for (const Container& container : network.containers) {
      for (const PublishedPort& port : container.ports) {
        PortActivity activity{network.name, container.name, port, network.mode, {}, {}};
        add_proxied(network, container, proxies, activity);
        const bool any = port.host_ip && port.host_ip->is_unspecified();
        for (const IpAddress& address : container.addresses) {
          const auto found = translated.find(
              {port.protocol, any ? std::nullopt : port.host_ip, port.host_ports, address});
          if (found == translated.end()) continue;
          activity.translated = activity.translated.value_or(0) + found->second;
        }
        activities.push_back(std::move(activity));
      }
    }
  }
  return activities;
}

}  // namespace fairlead
