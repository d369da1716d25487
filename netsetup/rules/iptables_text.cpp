// Theory of operation
//
// Per family, hooked once each:
//
//   raw     PREROUTING  -> FAIRLEAD             loopback guards, direct access
//   nat     PREROUTING, OUTPUT (to local addresses) -> FAIRLEAD
//             FAIRLEAD        -> FAIRLEAD-DNAT (the tree of ports translated for everyone), then,
//                                but for loopback destinations, FAIRLEAD-BOTH (the tree of ports
//                                whose own-bridge clients go to the proxy)
//   nat     POSTROUTING -> FAIRLEAD-POSTROUTING hairpin, masquerade
//   filter  FORWARD     -> FAIRLEAD             per bridge, in and out: -> FAIRLEAD-FORWARD
//             FAIRLEAD-FORWARD -> FAIRLEAD-USER, established, FAIRLEAD-ISOLATION, accept
//
// An accept is the last word on a packet here, over the rules and policies of others too: that is
// what containers get out by where Docker or ufw drop whatever they do not know. It is not to open
// other bridges of the host, as Docker's, whose containers may be protected by that very policy: to
// those, packets return.
//
// A chain declared in the input of iptables-restore --noflush is emptied if it exists and made if
// not, and everything takes effect at the COMMIT of its table: so a change writes each differing
// chain whole. Tree chains are jumped to by --goto and named after their ports, so a change of one
// port differs in one chain. Where rules are only added to a chain of nat, they alone are written:
// whoever deletes rules of nf_tables waits, as it closes its socket, until no packet can meet them
// any more (15 ms). Not so in filter, where the rules about bridges of others are never known.

#include "netsetup/rules/iptables_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <set>

namespace fairlead {
namespace {

constexpr std::array<std::string_view, 3> kTables = {"raw", "nat", "filter"};

template <typename... Arguments>
void append(std::vector<std::string>& chain, fmt::format_string<Arguments...> format,
            Arguments&&... arguments) {
  chain.push_back(fmt::format(format, std::forward<Arguments>(arguments)...));
}

/// As iptables-save writes an address: with its length.
std::string host_prefix(const IpAddress& address) {
  return Subnet(address, address_bits(address.family())).to_string();
}

std::string dport(Protocol protocol, const PortRange& ports) {
  const std::string text = ports.size() == 1 ? fmt::format("{}", ports.first)
                                             : fmt::format("{}:{}", ports.first, ports.last);
  return fmt::format("-p {0} -m {0} --dport {1}", protocol_name(protocol), text);
}

/// The port shift of --to-destination (FIRST-LAST/BASE) needs kernel 4.18 and iptables 1.8.
std::string destination(const Translation& translation) {
  const std::string address = translation.container_ip.is_v4()
                                  ? translation.container_ip.to_string()
                                  : "[" + translation.container_ip.to_string() + "]";
  const PortRange& to = translation.container_ports;
  if (to == translation.host_ports && to.size() > 1) return translation.container_ip.to_string();
  if (to.size() == 1) return fmt::format("{}:{}", address, to.first);
  return fmt::format("{}:{}/{}", address, to.to_string(), translation.host_ports.first);
}

std::string translation_rule(const Translation& translation) {
  std::string text;
  // The order of iptables-save: source, destination, interface, protocol.
  if (translation.host_ip) text += fmt::format("-d {} ", host_prefix(*translation.host_ip));
  if (!translation.proxied_bridge.empty())
    text += fmt::format("! -i {} ", translation.proxied_bridge);
  text +=
      fmt::format("{} -j DNAT --to-destination {}",
                  dport(translation.protocol, translation.host_ports), destination(translation));
  return text;
}

/// Ends a rule that drops. The reason is for whoever looks at the rules or their counters.
std::string drop(std::string_view reason) {
  return fmt::format("-m comment --comment \"{}\" -j DROP", reason);
}

ChainRules raw_table(const RuleSet& rules, Family family) {
  ChainRules chains;
  std::vector<std::string>& chain = chains["FAIRLEAD"];
  std::set<std::string> hairpin;
  for (const InterfacePrefix& pair : rules.hairpin) hairpin.insert(pair.interface);
  if (family == Family::v4) {
    for (const std::string& bridge : hairpin) {
      append(chain, "-d 127.0.0.0/8 -i {} {}", bridge, drop("host loopback from a bridge"));
    }
    for (const LoopbackPort& port : rules.loopback_ports) {
      append(chain, "-d {} ! -i lo {} {}", host_prefix(port.host_ip),
             dport(port.protocol, port.host_ports), drop("loopback port from outside"));
    }
  }
  for (const InterfacePrefix& pair : rules.home) {
    if (pair.prefix.family() != family) continue;
    append(chain, "-d {} -i {} -j RETURN", pair.prefix.to_string(), pair.interface);
  }
  for (const Subnet& subnet : rules.guarded) {
    if (subnet.family() != family) continue;
    append(chain, "-d {} -m addrtype ! --dst-type LOCAL {}", subnet.to_string(),
           drop("direct access"));
  }
  return chains;
}

/// Those that concern everyone, and those whose own-bridge clients go to the proxy.
struct SortedTranslations {
  TreeTranslations for_everyone;
  TreeTranslations beside_proxy;

  SortedTranslations(const RuleSet& rules, Family family) {
    for (const Translation& translation : rules.translations) {
      if (translation.container_ip.family() != family) continue;
      (translation.proxied_bridge.empty() ? for_everyone : beside_proxy).push_back(&translation);
    }
  }
};

ChainRules nat_table(const RuleSet& rules, Family family, const RuleSet* like) {
  ChainRules chains;
  chains["FAIRLEAD"] = {};
  if (family == Family::v6) {
    append(chains["FAIRLEAD"], "-s fe80::/10 -j RETURN");
    append(chains["FAIRLEAD"], "-d ::1/128 -j RETURN");
  }
  append(chains["FAIRLEAD"], "-j FAIRLEAD-DNAT");
  if (family == Family::v4) {
    append(chains["FAIRLEAD"], "! -d 127.0.0.0/8 -j FAIRLEAD-BOTH");
  } else {
    append(chains["FAIRLEAD"], "-j FAIRLEAD-BOTH");
  }
  chains["FAIRLEAD-DNAT"] = {};
  chains["FAIRLEAD-BOTH"] = {};
  const SortedTranslations sorted(rules, family);
  std::optional<SortedTranslations> others;
  if (like != nullptr) others.emplace(*like, family);
  add_port_tree(chains, "FAIRLEAD-DNAT", sorted.for_everyone, translation_rule,
                others ? &others->for_everyone : nullptr);
  add_port_tree(chains, "FAIRLEAD-BOTH", sorted.beside_proxy, translation_rule,
                others ? &others->beside_proxy : nullptr);

  std::vector<std::string>& postrouting = chains["FAIRLEAD-POSTROUTING"];
  for (const InterfacePrefix& pair : rules.hairpin) {
    if (pair.prefix.family() != family) continue;
    append(postrouting, "-s {} -o {} -m conntrack --ctstate DNAT -j MASQUERADE",
           pair.prefix.to_string(), pair.interface);
    append(postrouting,
           "-o {} -m conntrack --ctstate DNAT -m addrtype --src-type LOCAL -j MASQUERADE",
           pair.interface);
  }
  for (const InterfacePrefix& pair : rules.home) {
    if (pair.prefix.family() != family) continue;
    append(postrouting, "-s {} -o {} -j RETURN", pair.prefix.to_string(), pair.interface);
  }
  for (const Subnet& subnet : rules.masqueraded) {
    if (subnet.family() == family) append(postrouting, "-s {} -j MASQUERADE", subnet.to_string());
  }
  return chains;
}

ChainRules filter_table(const RuleSet& rules, const std::vector<std::string>& other_bridges) {
  ChainRules chains;
  std::vector<std::string>& entry = chains["FAIRLEAD"];
  for (const std::string& bridge : rules.bridges) {
    append(entry, "-i {} -j FAIRLEAD-FORWARD", bridge);
    append(entry, "-o {} -j FAIRLEAD-FORWARD", bridge);
  }
  std::vector<std::string>& forward = chains["FAIRLEAD-FORWARD"];
  forward = {fmt::format("-j {}", kIptablesUserChain),
             "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-j FAIRLEAD-ISOLATION"};
  for (const std::string& bridge : other_bridges) {
    if (std::ranges::find(rules.bridges, bridge) != rules.bridges.end()) continue;
    append(forward, "-o {} -j RETURN", bridge);
  }
  append(forward, "-j ACCEPT");
  chains[std::string(kIptablesUserChain)] = {};
  std::vector<std::string>& isolation = chains["FAIRLEAD-ISOLATION"];
  for (const InterfacePair& pair : rules.open) {
    append(isolation, "-i {} -o {} -j ACCEPT", pair.from, pair.to);
  }
  for (const std::string& bridge : rules.internal) {
    append(isolation, "-i {} {}", bridge, drop("internal network"));
    append(isolation, "-o {} {}", bridge, drop("internal network"));
  }
  for (const std::string& bridge : rules.bridges) {
    append(isolation, "-o {} -m conntrack ! --ctstate DNAT {}", bridge, drop("unpublished port"));
  }
  return chains;
}

bool is_ours(std::string_view chain) {
  return chain == "FAIRLEAD" || chain.starts_with("FAIRLEAD-");
}

const ChainRules& table_of(const IptablesTables& tables, std::string_view name) {
  static const ChainRules kEmpty;
  const auto found = tables.find(std::string(name));
  return found == tables.end() ? kEmpty : found->second;
}

void append_table(std::string& text, std::string_view table, const std::string& body) {
  if (!body.empty()) text += fmt::format("*{}\n{}COMMIT\n", table, body);
}

void append_rules(std::string& body, const std::string& chain,
                  const std::vector<std::string>& rules) {
  for (const std::string& rule : rules) {
    fmt::format_to(std::back_inserter(body), "-A {} {}\n", chain, rule);
  }
}

/// Fails the whole table where a hook is not there that should be: what is known of it is wrong
/// then.
std::string hook_checks(const IptablesPresent& present, std::string_view table) {
  std::string body;
  const std::vector<IptablesHook>& hooks = iptables_hooks();
  for (std::size_t i = 0; i < hooks.size(); ++i) {
    if (hooks[i].table != table || std::ranges::count(present.hooks, i) == 0) continue;
    body += fmt::format("-C {} {}\n", hooks[i].chain, hooks[i].rule);
  }
  return body;
}

std::string hook_changes(const IptablesPresent& present, std::string_view table) {
  std::string body;
  const std::vector<IptablesHook>& hooks = iptables_hooks();
  for (std::size_t i = 0; i < hooks.size(); ++i) {
    if (hooks[i].table != table) continue;
    const auto there = std::ranges::count(present.hooks, i);
    for (auto extra = there; extra > 1; --extra) {
      body += fmt::format("-D {} {}\n", hooks[i].chain, hooks[i].rule);
    }
    if (there == 0) body += fmt::format("-I {} {}\n", hooks[i].chain, hooks[i].rule);
  }
  return body;
}

/// What inserts into `chain` the rules that `lines` has more than `there`; nothing: it has not all
/// of those, in their order.
std::optional<std::string> insertions(std::string_view chain, const std::vector<std::string>& there,
                                      const std::vector<std::string>& lines) {
  std::string text;
  auto next = there.begin();
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (next != there.end() && *next == lines[i]) {
      ++next;
    } else {
      text += fmt::format("-I {} {} {}\n", chain, i + 1, lines[i]);
    }
  }
  if (next != there.end()) return std::nullopt;
  return text;
}

std::string change_body(const IptablesPresent& present, std::string_view table,
                        const ChainRules& wanted) {
  const ChainRules& there = table_of(present.tables, table);
  std::string declarations;
  std::string rules;
  std::string removals;
  for (const auto& [chain, lines] : wanted) {
    const auto found = there.find(chain);
    if (found != there.end() && (found->second == lines || chain == kIptablesUserChain)) continue;
    if (found != there.end() && table == "nat") {
      if (const auto inserted = insertions(chain, found->second, lines)) {
        rules += *inserted;
        continue;
      }
    }
    declarations += fmt::format(":{} - [0:0]\n", chain);
    append_rules(rules, chain, lines);
  }
  // A chain is emptied before any is deleted: they may lead to one another.
  for (const auto& [chain, lines] : there) {
    if (wanted.contains(chain) || chain == kIptablesUserChain) continue;
    declarations += fmt::format(":{} - [0:0]\n", chain);
    removals += fmt::format("-X {}\n", chain);
  }
  const std::string body = declarations + rules + hook_changes(present, table) + removals;
  return body.empty() ? body : hook_checks(present, table) + body;
}

}  // namespace

IptablesTables iptables_tables(const RuleSet& rules, Family family, const RuleSet* like,
                               const std::vector<std::string>& other_bridges) {
  return {{"raw", raw_table(rules, family)},
          {"nat", nat_table(rules, family, like)},
          {"filter", filter_table(rules, other_bridges)}};
}

const std::vector<IptablesHook>& iptables_hooks() {
  static const std::vector<IptablesHook> kHooks = {
      {"raw", "PREROUTING", "-j FAIRLEAD"},
      {"nat", "PREROUTING", "-m addrtype --dst-type LOCAL -j FAIRLEAD"},
      {"nat", "OUTPUT", "-m addrtype --dst-type LOCAL -j FAIRLEAD"},
      {"nat", "POSTROUTING", "-j FAIRLEAD-POSTROUTING"},
      {"filter", "FORWARD", "-j FAIRLEAD"},
  };
  return kHooks;
}

std::optional<std::string_view> iptables_drop_reason(std::string_view rule) {
  constexpr std::string_view kComment = "--comment \"";
  constexpr std::string_view kEnd = "\" -j DROP";
  const std::size_t comment = rule.find(kComment);
  if (comment == std::string_view::npos || !rule.ends_with(kEnd)) return std::nullopt;
  rule.remove_suffix(kEnd.size());
  return rule.substr(comment + kComment.size());
}

IptablesPresent parse_iptables_save(std::string_view text) {
  IptablesPresent present;
  std::string table;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.starts_with('*')) table = line.substr(1);
    if (line.starts_with(':')) {
      const std::string_view chain = line.substr(1, line.find(' ') - 1);
      if (is_ours(chain)) present.tables[table][std::string(chain)];
    }
    if (!line.starts_with("-A ")) continue;
    const std::size_t space = line.find(' ', 3);
    if (space == std::string_view::npos) continue;
    const std::string_view chain = line.substr(3, space - 3);
    const std::string_view rule = line.substr(space + 1);
    if (is_ours(chain)) present.tables[table][std::string(chain)].emplace_back(rule);
    const std::vector<IptablesHook>& hooks = iptables_hooks();
    for (std::size_t i = 0; i < hooks.size(); ++i) {
      if (hooks[i].table == table && hooks[i].chain == chain && hooks[i].rule == rule) {
        present.hooks.push_back(i);
      }
    }
  }
  return present;
}

std::string iptables_change_text(const IptablesPresent& present, const IptablesTables& wanted) {
  std::string text;
  for (const std::string_view table : kTables) {
    append_table(text, table, change_body(present, table, table_of(wanted, table)));
  }
  return text;
}

IptablesPresent iptables_all_present(const IptablesTables& wanted) {
  IptablesPresent present{wanted, {}};
  for (std::size_t i = 0; i < iptables_hooks().size(); ++i) present.hooks.push_back(i);
  return present;
}

std::string iptables_remove_text(const IptablesPresent& present) {
  std::string text;
  for (const std::string_view table : kTables) {
    std::string body;
    for (const std::size_t i : present.hooks) {
      const IptablesHook& hook = iptables_hooks()[i];
      if (hook.table == table) body += fmt::format("-D {} {}\n", hook.chain, hook.rule);
    }
    std::string declarations;
    std::string removals;
    for (const auto& [chain, lines] : table_of(present.tables, table)) {
      if (chain == kIptablesUserChain && !lines.empty()) continue;
      declarations += fmt::format(":{} - [0:0]\n", chain);
      removals += fmt::format("-X {}\n", chain);
    }
    append_table(text, table, declarations + body + removals);
  }
  return text;
}

}  // namespace fairlead
