#include "netsetup/rules/port_tree.h"

#include <fmt/format.h>

#include <array>

namespace fairlead {
namespace {

constexpr unsigned kBitsPerLevel = 4;

/// 2^bits ports from `first` on; `bits` is 16, 12, 8, 4 or 0.
struct Block {
  std::uint32_t first = 0;
  unsigned bits = 16;

  std::uint32_t last() const { return first + (1U << bits) - 1; }
};

void fill(ChainRules& chains, const std::string& chain, const std::string& prefix,
          std::string_view protocol, const Block& block,
          const std::vector<const PortRule*>& rules) {
  std::vector<std::string>& here = chains[chain];
  if (rules.size() <= kPortTreeFanOut || block.bits == 0) {
    for (const PortRule* rule : rules) here.push_back(rule->text);
    return;
  }
  const unsigned child_bits = block.bits - kBitsPerLevel;
  std::array<std::vector<const PortRule*>, 1U << kBitsPerLevel> children;
  for (const PortRule* rule : rules) {
    const std::uint32_t first = (rule->ports.first - block.first) >> child_bits;
    const std::uint32_t last = (rule->ports.last - block.first) >> child_bits;
    if (first == last) {
      children[first].push_back(rule);
    } else {
      here.push_back(rule->text);
    }
  }
  for (std::uint32_t i = 0; i < children.size(); ++i) {
    if (children[i].empty()) continue;
    const Block child{block.first + (i << child_bits), child_bits};
    const std::string name = fmt::format("{}-{:04x}-{}", prefix, child.first, child.bits);
    // Port 0 is never published, and --dport 0:15 is as good as 1:15.
    const std::string ports = child.bits == 0 ? fmt::format("{}", child.first)
                                              : fmt::format("{}:{}", child.first, child.last());
    // A goto: what no rule of the child takes goes back to whoever jumped to the root.
    chains[chain].push_back(fmt::format("-p {0} -m {0} --dport {1} -g {2}", protocol, ports, name));
    fill(chains, name, prefix, protocol, child, children[i]);
  }
}

}  // namespace

void add_port_tree(ChainRules& chains, std::string_view root, const std::vector<PortRule>& rules) {
  for (const Protocol protocol : {Protocol::tcp, Protocol::udp, Protocol::sctp}) {
    std::vector<const PortRule*> of_protocol;
    for (const PortRule& rule : rules) {
      if (rule.protocol == protocol) of_protocol.push_back(&rule);
    }
    if (of_protocol.empty()) continue;
    const std::string_view name = protocol_name(protocol);
    if (rules.size() <= kPortTreeFanOut) {
      fill(chains, std::string(root), std::string(root), name, {}, of_protocol);
      continue;
    }
    const std::string prefix = fmt::format("{}-{}", root, name.substr(0, 1));
    chains[std::string(root)].push_back(fmt::format("-p {} -g {}", name, prefix));
    fill(chains, prefix, prefix, name, {}, of_protocol);
  }
}

}  // namespace fairlead
