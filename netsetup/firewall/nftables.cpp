#include "netsetup/firewall/nftables.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "netsetup/firewall/iptables.h"
#include "netsetup/rules/nftables_text.h"
#include "proxy/net/protocol_numbers.h"

namespace fairlead {
namespace {

using Json = nlohmann::json;

std::string protocol_text(int number) {
  for (const Protocol protocol : {Protocol::tcp, Protocol::udp, Protocol::sctp}) {
    if (protocol_number(protocol) == number) return std::string(protocol_name(protocol));
  }
  return std::to_string(number);
}

/// A key or its data, from JSON into the form of nftables_elements(). `type` is that of the set's
/// keys, an array where they have several parts; null: data, which has no protocol or interface.
std::string element_text(const Json& value, const Json& type) {
  if (value.is_number()) {
    const auto number = value.get<int>();
    return type == "inet_proto" ? protocol_text(number) : std::to_string(number);
  }
  if (value.is_string()) {
    const auto text = value.get<std::string>();
    // nft prints the name of an interface as any other text.
    return type == "ifname" ? fmt::format("\"{}\"", text) : text;
  }
  if (value.contains("elem")) return element_text(value["elem"]["val"], type);
  if (value.contains("prefix")) {
    return fmt::format("{}/{}", value["prefix"]["addr"].get<std::string>(),
                       value["prefix"]["len"].get<unsigned>());
  }
  if (value.contains("range")) {
    return fmt::format("{}-{}", element_text(value["range"][0], type),
                       element_text(value["range"][1], type));
  }
  std::string text;
  std::size_t i = 0;
  for (const Json& part : value["concat"]) {
    text += (text.empty() ? "" : " . ") + element_text(part, type.is_null() ? type : type.at(i++));
  }
  return text;
}

/// A prefix of one host and the host's address are the same element, shown as the address.
std::string normal_key(std::string key) {
  const std::string_view length = key.find(':') == std::string::npos ? "/32" : "/128";
  const std::size_t at = key.find(length);
  if (at != std::string::npos) key.erase(at, length.size());
  return key;
}

struct PresentElement {
  std::string data;
  std::uint64_t packets = 0;
};

using PresentSet = std::map<std::string, PresentElement>;

/// The table as the kernel has it.
struct PresentTable {
  std::map<std::string, PresentSet> sets;
  /// Rules of each chain.
  std::map<std::string, std::size_t> chains;
  /// Packets that rules have dropped, by the rule's comment.
  std::map<std::string, std::uint64_t> dropped;
};

void add_set(const Json& set, bool map, PresentTable& table) {
  PresentSet& present = table.sets[set["name"].get<std::string>()];
  if (!set.contains("elem")) return;
  for (const Json& element : set["elem"]) {
    const Json& key = map ? element[0] : element;
    PresentElement value;
    if (map) value.data = element_text(element[1], nullptr);
    if (key.is_object() && key.contains("elem") && key["elem"].contains("counter")) {
      value.packets = key["elem"]["counter"]["packets"].get<std::uint64_t>();
    }
    present.emplace(element_text(key, set["type"]), std::move(value));
  }
}

void add_rule(const Json& rule, PresentTable& table) {
  ++table.chains[rule["chain"].get<std::string>()];
  if (!rule.contains("comment")) return;
  std::uint64_t packets = 0;
  bool drops = false;
  for (const Json& expression : rule["expr"]) {
    if (expression.contains("drop")) drops = true;
    if (expression.contains("counter")) packets = expression["counter"]["packets"];
  }
  if (drops) table.dropped[rule["comment"].get<std::string>()] += packets;
}

PresentTable present_table(const Json& objects) {
  PresentTable table;
  for (const Json& object : objects) {
    if (object.contains("set")) add_set(object["set"], false, table);
    if (object.contains("map")) add_set(object["map"], true, table);
    if (object.contains("chain")) table.chains[object["chain"]["name"].get<std::string>()];
    if (object.contains("rule")) add_rule(object["rule"], table);
  }
  return table;
}

constexpr const char* kListTable = "list table inet fairlead";

std::string shown(const std::string& set, const std::string& key, const std::string& data) {
  return data.empty() ? fmt::format("{} {{ {} }}", set, key)
                      : fmt::format("{} {{ {} : {} }}", set, key, data);
}

void compare_sets(const NftablesElements& expected, const PresentTable& present,
                  std::vector<std::string>& differences) {
  for (const auto& [name, elements] : expected) {
    const auto set = present.sets.find(name);
    for (const auto& [key, data] : elements) {
      const std::string normal = normal_key(key);
      if (set == present.sets.end() || !set->second.contains(normal)) {
        differences.push_back("missing from nftables: " + shown(name, key, data));
      } else if (set->second.at(normal).data != data) {
        differences.push_back(
            "other in nftables: " + shown(name, normal, set->second.at(normal).data) +
            " instead of " + shown(name, key, data));
      }
    }
  }
  for (const auto& [name, elements] : present.sets) {
    std::map<std::string, std::string> normal;
    if (const auto set = expected.find(name); set != expected.end()) {
      for (const auto& [key, data] : set->second) normal.emplace(normal_key(key), data);
    }
    for (const auto& [key, element] : elements) {
      if (!normal.contains(key)) {
        differences.push_back("too much in nftables: " + shown(name, key, element.data));
      }
    }
  }
}

class NftablesFirewall final : public Firewall {
 public:
  explicit NftablesFirewall(NftSession session) : session_(std::move(session)) {}

  Backend backend() const override { return Backend::nftables; }

  Result<void> install(const RuleSet* from, const RuleSet& to) override {
    if (from != nullptr) {
      const std::string change = text(from, to);
      if (change.empty() || session_.run(change)) return {};
    }
    if (auto loaded = session_.run(text(nullptr, to)); !loaded) return loaded;
    return from == nullptr ? remove_iptables() : Result<void>();
  }

  Result<void> remove() override {
    if (auto removed = remove_nftables(session_); !removed) return removed;
    return remove_iptables();
  }

  std::string text(const RuleSet* from, const RuleSet& to) const override {
    return from == nullptr ? nftables_load_text(nftables_elements(to))
                           : nftables_change_text(*from, to);
  }

  Result<std::vector<std::string>> differences(const RuleSet& expected) override {
    const auto objects = session_.list(kListTable);
    if (!objects) return std::unexpected(objects.error());
    if (objects->empty())
      return std::vector<std::string>{"missing from nftables: table inet fairlead"};
    const PresentTable present = present_table(*objects);
    std::vector<std::string> differences;
    for (const auto& [chain, rules] : nftables_chain_sizes()) {
      const auto found = present.chains.find(chain);
      const std::size_t there = found == present.chains.end() ? 0 : found->second;
      if (there == rules) continue;
      differences.push_back(fmt::format("other in nftables: chain {} has {} rules instead of {}",
                                        chain, there, rules));
    }
    compare_sets(nftables_elements(expected), present, differences);
    return differences;
  }

  Result<FirewallCounters> counters(const RuleSet& installed) override {
    const auto objects = session_.list(kListTable);
    if (!objects) return std::unexpected(objects.error());
    PresentTable present = present_table(*objects);
    FirewallCounters counters;
    counters.dropped = std::move(present.dropped);
    for (const Translation& translation : installed.translations) {
      RuleSet one;
      one.translations = {translation};
      one.translations.front().proxied_bridge.clear();
      std::uint64_t& connections = counters.connections[translation];
      for (const auto& [name, elements] : nftables_elements(one)) {
        for (const auto& element : elements) {
          const auto found = present.sets[name].find(element.first);
          if (found != present.sets[name].end()) connections += found->second.packets;
        }
      }
    }
    return counters;
  }

  static Result<void> remove_nftables(NftSession& session) {
    // Deleting alone would fail where there is none, with an error that is told by its text only.
    return session.run("add table inet fairlead\n" + nftables_remove_text());
  }

 private:
  NftSession session_;
};

}  // namespace

Result<std::unique_ptr<Firewall>> make_nftables_firewall() {
  auto session = NftSession::open();
  if (!session) return std::unexpected(std::move(session.error()));
  return std::make_unique<NftablesFirewall>(std::move(*session));
}

Result<void> try_out_nftables(NftSession& session) {
  const auto there = session.list("list table inet fairlead");
  if (!there) return std::unexpected(there.error());
  // Where the table is, it can be.
  return there->empty() ? session.try_out(nftables_load_text({})) : Result<void>();
}

Result<void> remove_nftables() {
  auto session = NftSession::open();
  if (!session) return std::unexpected(std::move(session.error()));
  return NftablesFirewall::remove_nftables(*session);
}

}  // namespace fairlead
