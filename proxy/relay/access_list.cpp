#include "proxy/relay/access_list.h"

#include <algorithm>
#include <tuple>

namespace fairlead {
namespace {

constexpr std::string_view kAccepted =
    "; accepted: [PORT[-END][/tcp|udp|sctp]=]CIDR[,CIDR]..., as in 10.0.0.0/8,fd00::/8 or "
    "8080/tcp=192.0.2.1";

/// `8080`, `8000-8099/udp`.
Result<AccessRule> parse_ports(std::string_view text) {
  AccessRule rule;
  if (const std::size_t slash = text.find('/'); slash != std::string_view::npos) {
    const std::string_view name = text.substr(slash + 1);
    rule.protocol = parse_protocol(name);
    if (!rule.protocol) return failed("\"" + std::string(name) + "\" is no protocol");
    text = text.substr(0, slash);
  }
  const auto ports = PortRange::parse(text);
  if (!ports) return std::unexpected(ports.error());
  rule.ports = *ports;
  return rule;
}

Result<std::vector<AccessRule>> parse_rules(bool allows, std::string_view text) {
  AccessRule rule;
  if (const std::size_t equals = text.find('='); equals != std::string_view::npos) {
    const auto parsed = parse_ports(text.substr(0, equals));
    if (!parsed) return std::unexpected(parsed.error());
    rule = *parsed;
    text = text.substr(equals + 1);
  }
  rule.allows = allows;
  const auto subnets = Subnet::parse_list(text);
  if (!subnets) return std::unexpected(subnets.error());
  std::vector<AccessRule> rules;
  for (const Subnet& subnet : *subnets) {
    rule.clients = subnet;
    rules.push_back(rule);
  }
  return rules;
}

bool applies(const AccessRule& rule, Protocol protocol, std::uint16_t host_port) {
  if (rule.protocol && *rule.protocol != protocol) return false;
  return !rule.ports || (rule.ports->first <= host_port && host_port <= rule.ports->last);
}

}  // namespace

Result<std::vector<AccessRule>> parse_access_rules(bool allows, std::string_view text) {
  auto rules = parse_rules(allows, text);
  if (!rules) return failed(rules.error().message + std::string(kAccepted));
  return rules;
}

AccessList::AccessList(std::span<const AccessRule> rules, Protocol protocol,
                       std::uint16_t host_port) {
  for (const AccessRule& rule : rules) {
    if (applies(rule, protocol, host_port)) rules_.push_back(rule);
  }
  std::ranges::sort(rules_, [](const AccessRule& a, const AccessRule& b) {
    return std::tuple(b.clients.length(), a.allows) < std::tuple(a.clients.length(), b.allows);
  });
}

bool AccessList::admits(const IpAddress& client) const {
  for (const AccessRule& rule : rules_) {
    if (rule.clients.contains(client)) return rule.allows;
  }
  return std::ranges::none_of(rules_, &AccessRule::allows);
}

}  // namespace fairlead
