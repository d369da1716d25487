#include "netsetup/rules/port_tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

namespace fairlead {
namespace {

constexpr unsigned kBitsPerLevel = 4;

/// 2^bits ports from `first` on; `bits` is 16, 12, 8, 4 or 0.
struct Block {
  std::uint32_t first = 0;
  unsigned bits = 16;

  std::uint32_t last() const { return first + (1U << bits) - 1; }
};

bool is_leaf(const Block& block, const TreeTranslations& translations) {
  return translations.size() <= kPortTreeFanOut || block.bits == 0;
}

/// By the part of the block that encloses their ports.
struct Split {
  TreeTranslations here;
  std::array<TreeTranslations, 1U << kBitsPerLevel> children;
};

Split split(const Block& block, const TreeTranslations& translations) {
  const unsigned child_bits = block.bits - kBitsPerLevel;
  Split split;
  for (const Translation* translation : translations) {
    const PortRange& ports = translation->host_ports;
    const std::uint32_t first = (ports.first - block.first) >> child_bits;
    const std::uint32_t last = (ports.last - block.first) >> child_bits;
    (first == last ? split.children[first] : split.here).push_back(translation);
  }
  return split;
}

bool same(const TreeTranslations& a, const TreeTranslations& b) {
  return std::ranges::equal(
      a, b, {}, [](const Translation* one) -> const Translation& { return *one; },
      [](const Translation* one) -> const Translation& { return *one; });
}

/// A tree under way, for one protocol.
struct Tree {
  ChainRules& chains;
  std::string prefix;
  std::string_view protocol;
  TranslationRule rule;

  void fill(const std::string& chain, const Block& block, const TreeTranslations& translations,
            const TreeTranslations* like) const {
    if (like != nullptr && same(translations, *like)) return;
    std::vector<std::string>& here = chains[chain];
    if (is_leaf(block, translations)) {
      for (const Translation* translation : translations) here.push_back(rule(*translation));
      return;
    }
    const Split parts = split(block, translations);
    for (const Translation* translation : parts.here) here.push_back(rule(*translation));
    // The chains below are there in the other tree only where it is split here, too.
    std::optional<Split> others;
    if (like != nullptr && !is_leaf(block, *like)) others = split(block, *like);
    const unsigned child_bits = block.bits - kBitsPerLevel;
    for (std::uint32_t i = 0; i < parts.children.size(); ++i) {
      if (parts.children[i].empty()) continue;
      const Block child{block.first + (i << child_bits), child_bits};
      const std::string name = fmt::format("{}-{:04x}-{}", prefix, child.first, child.bits);
      // Port 0 is never published, and --dport 0:15 is as good as 1:15.
      const std::string ports = child.bits == 0 ? fmt::format("{}", child.first)
                                                : fmt::format("{}:{}", child.first, child.last());
      // A goto: what no rule of the child takes goes back to whoever jumped to the root.
      chains[chain].push_back(
          fmt::format("-p {0} -m {0} --dport {1} -g {2}", protocol, ports, name));
      fill(name, child, parts.children[i], others ? &others->children[i] : nullptr);
    }
  }
};

TreeTranslations of_protocol(Protocol protocol, const TreeTranslations& translations) {
  TreeTranslations found;
  for (const Translation* translation : translations) {
    if (translation->protocol == protocol) found.push_back(translation);
  }
  return found;
}

}  // namespace

void add_port_tree(ChainRules& chains, std::string_view root, const TreeTranslations& translations,
                   TranslationRule rule, const TreeTranslations* like) {
  const std::string root_chain(root);
  for (const Protocol protocol : {Protocol::tcp, Protocol::udp, Protocol::sctp}) {
    const TreeTranslations of_it = of_protocol(protocol, translations);
    if (of_it.empty()) continue;
    const std::string_view name = protocol_name(protocol);
    if (translations.size() <= kPortTreeFanOut) {
      Tree{chains, root_chain, name, rule}.fill(root_chain, {}, of_it, nullptr);
      continue;
    }
    const Tree tree{chains, fmt::format("{}-{}", root, name.substr(0, 1)), name, rule};
    chains[root_chain].push_back(fmt::format("-p {} -g {}", name, tree.prefix));
    std::optional<TreeTranslations> like_it;
    if (like != nullptr && like->size() > kPortTreeFanOut) like_it = of_protocol(protocol, *like);
    tree.fill(tree.prefix, {}, of_it, like_it ? &*like_it : nullptr);
  }
}

}  // namespace fairlead
