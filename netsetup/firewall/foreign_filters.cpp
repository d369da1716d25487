#include "netsetup/firewall/foreign_filters.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <utility>

#include "netsetup/firewall/tool.h"

namespace fairlead {
namespace {

using Json = nlohmann::json;

bool concerns(const RuleSet& rules, Family family) {
  return std::ranges::any_of(
      rules.home, [&](const InterfacePrefix& pair) { return pair.prefix.family() == family; });
}

bool concerns(const RuleSet& rules, std::string_view table_family) {
  if (table_family == "ip") return concerns(rules, Family::v4);
  if (table_family == "ip6") return concerns(rules, Family::v6);
  return table_family == "inet";
}

/// Drops or rejects without looking at the packet. iptables' REJECT is foreign to nft.
bool drops_all(const Json& rule) {
  if (!rule.contains("expr")) return false;
  for (const Json& expression : rule["expr"]) {
    if (expression.contains("drop") || expression.contains("reject")) return true;
    if (expression.contains("xt") && expression["xt"].value("name", "") == "REJECT") return true;
    if (!expression.contains("counter") && !expression.contains("log")) return false;
  }
  return false;
}

bool same_chain(const Json& rule, const Json& chain) {
  return rule["family"] == chain["family"] && rule["table"] == chain["table"] &&
         rule["chain"] == chain["name"];
}

bool is_foreign_forward_chain(const Json& chain) {
  return chain.value("hook", "") == "forward" && chain.value("type", "") == "filter" &&
         chain["table"] != "fairlead";
}

/// The old tables exist from the first look that anyone takes at them; so they are not looked at
/// where nobody has.
bool has_legacy_filter(Family family) {
  std::ifstream names(family == Family::v4 ? "/proc/net/ip_tables_names"
                                           : "/proc/net/ip6_tables_names");
  for (std::string name; std::getline(names, name);) {
    if (name == "filter") return true;
  }
  return false;
}

}  // namespace

std::vector<ForeignFilter> nft_foreign_filters(const Json& objects, const RuleSet& rules) {
  std::vector<ForeignFilter> filters;
  for (const Json& object : objects) {
    if (!object.contains("chain")) continue;
    const Json& chain = object["chain"];
    if (!is_foreign_forward_chain(chain) || !concerns(rules, chain.value("family", ""))) continue;
    const bool drops =
        chain.value("policy", "") == "drop" || std::ranges::any_of(objects, [&](const Json& other) {
          return other.contains("rule") && same_chain(other["rule"], chain) &&
                 drops_all(other["rule"]);
        });
    if (!drops) continue;
    const std::string family = chain["family"];
    if (family != "inet" && chain["table"] == "filter" && chain["name"] == "FORWARD") {
      filters.push_back(
          {ForeignFilter::Kind::iptables_nft, fmt::format("{}tables, chain FORWARD", family)});
    } else {
      filters.push_back(
          {ForeignFilter::Kind::nftables,
           fmt::format("table {} {}, chain {}", family, chain["table"].get<std::string>(),
                       chain["name"].get<std::string>())});
    }
  }
  return filters;
}

bool forward_drops(std::string_view iptables_save) {
  bool in_filter = false;
  while (!iptables_save.empty()) {
    const std::size_t end = iptables_save.find('\n');
    const std::string_view line = iptables_save.substr(0, end);
    iptables_save.remove_prefix(end == std::string_view::npos ? iptables_save.size() : end + 1);
    if (line.starts_with('*')) in_filter = line == "*filter";
    if (!in_filter) continue;
    if (line.starts_with(":FORWARD DROP")) return true;
    if (line.starts_with("-A FORWARD -j DROP") || line.starts_with("-A FORWARD -j REJECT")) {
      return true;
    }
  }
  return false;
}

Result<std::vector<ForeignFilter>> foreign_filters(NftSession& session, const RuleSet& rules) {
  auto objects = session.list("list chains");
  if (!objects) return std::unexpected(std::move(objects.error()));
  const Json chains = *objects;
  for (const Json& object : chains) {
    if (!object.contains("chain")) continue;
    const Json& chain = object["chain"];
    if (!is_foreign_forward_chain(chain) || chain.value("policy", "") == "drop") continue;
    const auto listed = session.list(
        fmt::format("list chain {} {} {}", chain["family"].get<std::string>(),
                    chain["table"].get<std::string>(), chain["name"].get<std::string>()));
    if (!listed) return std::unexpected(listed.error());
    for (const Json& entry : *listed) {
      if (entry.contains("rule")) objects->push_back(entry);
    }
  }
  std::vector<ForeignFilter> filters = nft_foreign_filters(*objects, rules);
  for (const Family family : {Family::v4, Family::v6}) {
    if (!concerns(rules, family) || !has_legacy_filter(family)) continue;
    const std::string name = family == Family::v4 ? "iptables" : "ip6tables";
    const auto save = find_tool(name + "-legacy-save");
    if (!save) continue;
    const auto saved = run_tool({*save, "-t", "filter"}, "");
    if (!saved) return std::unexpected(saved.error());
    if (!forward_drops(*saved)) continue;
    filters.push_back({ForeignFilter::Kind::iptables_legacy, name + "-legacy, chain FORWARD"});
  }
  return filters;
}

}  // namespace fairlead
