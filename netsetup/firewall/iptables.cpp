#include "netsetup/firewall/iptables.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <utility>

#include "netsetup/firewall/nft_session.h"
#include "netsetup/firewall/nftables.h"
#include "netsetup/firewall/tool.h"
#include "netsetup/rules/iptables_text.h"

namespace fairlead {
namespace {

/// The programs of one family.
struct Tools {
  Family family = Family::v4;
  std::string save;
  std::string restore;
};

/// Nothing: they are not there.
std::optional<Tools> find_tools(Family family) {
  const std::string name = family == Family::v4 ? "iptables" : "ip6tables";
  const auto save = find_tool(name + "-save");
  const auto restore = find_tool(name + "-restore");
  if (!save || !restore) return std::nullopt;
  return Tools{family, *save, *restore};
}

Result<IptablesPresent> read_present(const Tools& tools) {
  const auto text = run_tool({tools.save}, "");
  if (!text) return std::unexpected(text.error());
  return parse_iptables_save(*text);
}

/// All tables of `text` in one call; the legacy kind waits so long for others to release its lock.
Result<void> restore(const Tools& tools, const std::string& text) {
  if (text.empty()) return {};
  const auto done = run_tool({tools.restore, "--noflush", "--wait=30"}, text);
  if (!done) return std::unexpected(done.error());
  return {};
}

/// Commands of nft that remove what iptables-restore of nf_tables has made for our hooks, out of a
/// table as it is listed: built-in chains without rules that accept whatever comes, and the table
/// once it has nothing else. Whether someone had such a chain before cannot be told; it did
/// nothing.
std::string bare_chain_removals(const nlohmann::json& objects, std::string_view family,
                                std::string_view table) {
  std::string removals;
  bool anything_else = false;
  for (const nlohmann::json& object : objects) {
    if (object.contains("metainfo") || object.contains("table")) continue;
    const nlohmann::json chain = object.value("chain", nlohmann::json::object());
    const std::string name = chain.value("name", "");
    const bool hooked = std::ranges::any_of(iptables_hooks(), [&](const IptablesHook& hook) {
      return hook.table == table && hook.chain == name;
    });
    const bool has_rules = std::ranges::any_of(objects, [&](const nlohmann::json& other) {
      return other.contains("rule") && other["rule"].value("chain", "") == name;
    });
    if (hooked && !has_rules && chain.value("policy", "") == "accept") {
      removals += fmt::format("delete chain {} {} {}\n", family, table, name);
    } else {
      anything_else = true;
    }
  }
  if (removals.empty() || anything_else) return removals;
  return removals + fmt::format("delete table {} {}\n", family, table);
}

Result<void> remove_bare_chains(const Tools& tools) {
  auto session = NftSession::open();
  if (!session) return std::unexpected(std::move(session.error()));
  const std::string_view family = tools.family == Family::v4 ? "ip" : "ip6";
  for (const std::string_view table : {"raw", "nat", "filter"}) {
    const auto objects = session->list(fmt::format("list table {} {}", family, table));
    if (!objects) return std::unexpected(objects.error());
    const std::string removals = bare_chain_removals(*objects, family, table);
    if (removals.empty()) continue;
    if (auto removed = session->run(removals); !removed) return removed;
  }
  return {};
}

Result<void> remove_from(const Tools& tools) {
  const auto present = read_present(tools);
  if (!present) return std::unexpected(present.error());
  const std::string text = iptables_remove_text(*present);
  if (text.empty()) return {};
  if (auto removed = restore(tools, text); !removed) return removed;
  return iptables_is_legacy() ? Result<void>() : remove_bare_chains(tools);
}

/// After a change that failed between two tables: puts our rules back to what `before` says.
void roll_back(const Tools& tools, const IptablesPresent& before) {
  // The error of the change is the one to tell.
  if (before.tables.empty()) {
    static_cast<void>(remove_from(tools));
  } else if (const auto present = read_present(tools)) {
    static_cast<void>(restore(tools, iptables_change_text(*present, before.tables)));
  }
}

bool concerns(const RuleSet& rules, Family family) {
  return std::ranges::any_of(
      rules.home, [&](const InterfacePrefix& pair) { return pair.prefix.family() == family; });
}

/// A line of `iptables-save --counters`: `[PACKETS:BYTES] -A CHAIN RULE`.
struct CountedRule {
  std::uint64_t packets = 0;
  std::string_view chain;
  std::string_view rule;
};

std::optional<CountedRule> parse_counted_rule(std::string_view line) {
  if (!line.starts_with('[')) return std::nullopt;
  CountedRule counted;
  std::from_chars(line.data() + 1, line.data() + line.size(), counted.packets);
  const std::size_t verb = line.find("] -A ");
  if (verb == std::string_view::npos) return std::nullopt;
  line.remove_prefix(verb + 5);
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  counted.chain = line.substr(0, space);
  counted.rule = line.substr(space + 1);
  return counted;
}

/// The text of the one rule that translates.
std::string rule_of(const Translation& translation) {
  RuleSet one;
  one.translations = {translation};
  const IptablesTables tables = iptables_tables(one, translation.container_ip.family());
  for (const std::string_view chain : {"FAIRLEAD-DNAT", "FAIRLEAD-BOTH"}) {
    const std::vector<std::string>& rules = tables.at("nat").at(std::string(chain));
    if (!rules.empty()) return rules.front();
  }
  return {};
}

void compare_rules(const std::string& chain, const std::vector<std::string>& expected,
                   std::vector<std::string> present, std::vector<std::string>& differences) {
  // Of a bridge of others that has gone since; see iptables_tables().
  std::erase_if(present, [&](const std::string& rule) {
    return rule.starts_with("-o ") && rule.ends_with(" -j RETURN") &&
           std::ranges::find(expected, rule) == expected.end();
  });
  if (expected == present) return;
  const std::size_t before = differences.size();
  for (const std::string& rule : expected) {
    if (std::ranges::find(present, rule) == present.end()) {
      differences.push_back(fmt::format("missing from {} {}", chain, rule));
    }
  }
  for (const std::string& rule : present) {
    if (std::ranges::find(expected, rule) == expected.end()) {
      differences.push_back(fmt::format("too much in {} {}", chain, rule));
    }
  }
  if (differences.size() == before) differences.push_back("other order of rules in " + chain);
}

void compare_tables(const Tools& tools, const IptablesTables& expected,
                    const IptablesPresent& present, std::vector<std::string>& differences) {
  const std::string_view program = tools.family == Family::v4 ? "iptables" : "ip6tables";
  for (const auto& [table, chains] : expected) {
    const auto there = present.tables.find(table);
    for (const auto& [chain, rules] : chains) {
      const std::string name = fmt::format("{} -t {}: -A {}", program, table, chain);
      if (there == present.tables.end() || !there->second.contains(chain)) {
        differences.push_back(
            fmt::format("missing from {} -t {}: chain {}", program, table, chain));
      } else if (chain != kIptablesUserChain) {
        compare_rules(name, rules, there->second.at(chain), differences);
      }
    }
    if (there == present.tables.end()) continue;
    for (const auto& entry : there->second) {
      if (chains.contains(entry.first)) continue;
      differences.push_back(
          fmt::format("too much in {} -t {}: chain {}", program, table, entry.first));
    }
  }
  for (std::size_t i = 0; i < iptables_hooks().size(); ++i) {
    const IptablesHook& hook = iptables_hooks()[i];
    const auto there = std::ranges::count(present.hooks, i);
    if (there == 1) continue;
    differences.push_back(fmt::format("{} {} -t {}: -A {} {}",
                                      there == 0 ? "missing from" : "more than once in", program,
                                      hook.table, hook.chain, hook.rule));
  }
}

class IptablesFirewall final : public Firewall {
 public:
  IptablesFirewall(std::vector<Tools> tools, std::vector<std::string> other_bridges)
      : tools_(std::move(tools)), other_bridges_(std::move(other_bridges)) {}

  Backend backend() const override { return Backend::iptables; }

  Result<void> install(const RuleSet* from, const RuleSet& to) override {
    if (concerns(to, Family::v6) && tools_.size() < 2) {
      return failed("ip6tables-restore: not found, and a network has an IPv6 subnet");
    }
    if (from != nullptr) {
      if (change([&](const Tools& tools) { return change_text(tools, from, to); })) return {};
      // What has been done of it before it failed is not to stay.
      for (const Tools& tools : tools_) {
        roll_back(tools, iptables_all_present(iptables_tables(*from, tools.family)));
      }
    }
    std::map<Family, IptablesPresent> present;
    for (const Tools& tools : tools_) {
      auto read = read_present(tools);
      if (!read) return std::unexpected(std::move(read.error()));
      present.emplace(tools.family, std::move(*read));
    }
    const auto changed = change([&](const Tools& tools) {
      return iptables_change_text(present.at(tools.family),
                                  iptables_tables(to, tools.family, nullptr, other_bridges_));
    });
    if (!changed) {
      for (const Tools& tools : tools_) roll_back(tools, present.at(tools.family));
      return changed;
    }
    return from == nullptr ? remove_nftables() : Result<void>();
  }

  Result<void> remove() override {
    if (auto removed = remove_iptables(); !removed) return removed;
    return remove_nftables();
  }

  std::string text(const RuleSet* from, const RuleSet& to) const override {
    std::string text;
    for (const Tools& tools : tools_) {
      const std::string change = change_text(tools, from, to);
      if (change.empty()) continue;
      text += fmt::format("# {} --noflush\n{}", tools.restore, change);
    }
    return text;
  }

  Result<std::vector<std::string>> differences(const RuleSet& expected) override {
    std::vector<std::string> differences;
    for (const Tools& tools : tools_) {
      const auto present = read_present(tools);
      if (!present) return std::unexpected(present.error());
      compare_tables(tools, iptables_tables(expected, tools.family, nullptr, other_bridges_),
                     *present, differences);
    }
    return differences;
  }

  Result<FirewallCounters> counters(const RuleSet& installed) override {
    FirewallCounters counters;
    for (const Tools& tools : tools_) {
      const auto saved = run_tool({tools.save, "--counters"}, "");
      if (!saved) return std::unexpected(saved.error());
      const std::map<std::string, std::uint64_t, std::less<>> packets =
          count(*saved, counters.dropped);
      for (const Translation& translation : installed.translations) {
        if (translation.container_ip.family() != tools.family) continue;
        const auto found = packets.find(rule_of(translation));
        counters.connections[translation] = found == packets.end() ? 0 : found->second;
      }
    }
    return counters;
  }

 private:
  std::string change_text(const Tools& tools, const RuleSet* from, const RuleSet& to) const {
    // Other bridges come and go: none is taken for known, so that those of now are written.
    const IptablesPresent present =
        from == nullptr ? IptablesPresent{}
                        : iptables_all_present(iptables_tables(*from, tools.family, &to));
    return iptables_change_text(present, iptables_tables(to, tools.family, from, other_bridges_));
  }

  /// `text` gives what each of the tools is to load. What comes before a failure stays.
  template <typename Text>
  Result<void> change(const Text& text) const {
    for (const Tools& tools : tools_) {
      if (auto done = restore(tools, text(tools)); !done) return done;
    }
    return {};
  }

  /// Packets by the text of the rule that translates; those dropped are added by the comment.
  static std::map<std::string, std::uint64_t, std::less<>> count(
      std::string_view saved, std::map<std::string, std::uint64_t>& dropped) {
    std::map<std::string, std::uint64_t, std::less<>> packets;
    while (!saved.empty()) {
      const std::size_t end = saved.find('\n');
      const auto counted = parse_counted_rule(saved.substr(0, end));
      saved.remove_prefix(end == std::string_view::npos ? saved.size() : end + 1);
      if (!counted || counted->chain == kIptablesUserChain ||
          !counted->chain.starts_with("FAIRLEAD")) {
        continue;
      }
      if (const auto reason = iptables_drop_reason(counted->rule)) {
        dropped[std::string(*reason)] += counted->packets;
      } else {
        packets[std::string(counted->rule)] = counted->packets;
      }
    }
    return packets;
  }

  std::vector<Tools> tools_;
  std::vector<std::string> other_bridges_;
};

}  // namespace

Result<std::unique_ptr<Firewall>> make_iptables_firewall(std::vector<std::string> other_bridges) {
  std::vector<Tools> tools;
  for (const Family family : {Family::v4, Family::v6}) {
    if (auto found = find_tools(family)) tools.push_back(std::move(*found));
  }
  if (tools.empty() || tools.front().family != Family::v4) {
    return failed("iptables-restore: not found; install iptables, or use --firewall nftables");
  }
  return std::make_unique<IptablesFirewall>(std::move(tools), std::move(other_bridges));
}

bool iptables_is_legacy() {
  const auto tools = find_tools(Family::v4);
  if (!tools) return false;
  // One program under many names, which the links lead to.
  std::error_code error;
  const auto program = std::filesystem::canonical(tools->restore, error).filename().string();
  return program.find("legacy") != std::string::npos;
}

Result<void> remove_iptables() {
  for (const Family family : {Family::v4, Family::v6}) {
    const auto tools = find_tools(family);
    if (!tools) continue;
    if (auto removed = remove_from(*tools); !removed) return removed;
  }
  return {};
}

}  // namespace fairlead
