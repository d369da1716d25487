// Theory of operation
//
// The chains below never change: whatever a network, a mode or a published port needs is an element
// of a set or a map, so that the cost of a packet does not grow with them, and a change is a
// handful of elements in one transaction.
//
// Published ports are in three maps for each family, since no one kind of set serves all:
//   dnat_any    (protocol, port) on every local address; a hash, constant cost to add and find
//   dnat_addr   (address, protocol, port); a hash
//   dnat_range  (address or 0.0.0.0/0, protocol, first-last): one element for a range whose ports
//               stay as they are. An interval set over a concatenation (kernel 5.6): adding costs
//               more with each element there is (ten thousand took 2.7 s, in a hash 0.1 s), so
//               single ports do not belong here. A map cannot yield "the port, shifted" either:
//               ranges that lead to other port numbers are spelt out in the hashes.
// The own_* sets have the same three shapes with the interface in front: what clients on that
// interface publish or, for `lo`, what loopback clients ask for, is the proxy's to serve and is not
// translated (mode both).
//
// nat chains of family inet need kernel 5.2. `iifname` in postrouting would need 5.7, and is
// avoided.

#include "netsetup/rules/nftables_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>
#include <utility>
#include <vector>

namespace fairlead {
namespace {

constexpr std::string_view kSetDefinitions = R"(
  set bridges { type ifname; }
  set internal { type ifname; }
  set hairpin { type ifname; }
  set open { type ifname . ifname; }
  set loopback_port { type ipv4_addr . inet_proto . inet_service; }
  set loopback_range { type ipv4_addr . inet_proto . inet_service; flags interval; }
)";

/// FAMILY is 4 or 6, ADDR its nft type.
constexpr std::string_view kFamilySetDefinitions = R"(
  set home{0} {{ type ifname . {1}; flags interval; }}
  set guarded{0} {{ type {1}; flags interval; }}
  set masqueraded{0} {{ type {1}; flags interval; }}
  set hairpin{0} {{ type ifname . {1}; flags interval; }}
  set own_any{0} {{ type ifname . inet_proto . inet_service; }}
  set own_addr{0} {{ type ifname . {1} . inet_proto . inet_service; }}
  set own_range{0} {{ type ifname . {1} . inet_proto . inet_service; flags interval; }}
  map dnat_any{0} {{ type inet_proto . inet_service : {1} . inet_service; counter; }}
  map dnat_addr{0} {{ type {1} . inet_proto . inet_service : {1} . inet_service; counter; }}
  map dnat_range{0} {{ type {1} . inet_proto . inet_service : {1}; flags interval; counter; }}
)";

constexpr std::string_view kChains = R"(
  chain user { comment "yours: forwarded packets from and to the bridges meet it first"; }

  chain raw-prerouting { type filter hook prerouting priority raw; policy accept; }
  chain nat-prerouting { type nat hook prerouting priority dstnat; policy accept; }
  chain nat-output { type nat hook output priority -100; policy accept; }
  chain nat-postrouting { type nat hook postrouting priority srcnat; policy accept; }
  chain filter-forward { type filter hook forward priority filter; policy accept; }
  chain publish { }
  chain bridged { }
)";

constexpr std::string_view kFlush = R"(
flush chain inet fairlead raw-prerouting
flush chain inet fairlead nat-prerouting
flush chain inet fairlead nat-output
flush chain inet fairlead nat-postrouting
flush chain inet fairlead filter-forward
flush chain inet fairlead publish
flush chain inet fairlead bridged
)";

constexpr std::string_view kRules = R"(
  chain raw-prerouting {
    iifname @hairpin ip daddr 127.0.0.0/8 counter drop comment "host loopback from a bridge"
    iifname != "lo" ip daddr . meta l4proto . th dport @loopback_port counter drop comment "loopback port from outside"
    iifname != "lo" ip daddr . meta l4proto . th dport @loopback_range counter drop comment "loopback port from outside"
    iifname . ip daddr @home4 accept
    iifname . ip6 daddr @home6 accept
    ip daddr @guarded4 fib daddr type != local counter drop comment "direct access"
    ip6 daddr @guarded6 fib daddr type != local counter drop comment "direct access"
  }
  chain nat-prerouting {
    fib daddr type local jump publish
  }
  chain nat-output {
    ip6 daddr ::1 return
    ip daddr 127.0.0.0/8 oifname . meta l4proto . th dport @own_any4 return
    ip daddr 127.0.0.0/8 oifname . ip daddr . meta l4proto . th dport @own_range4 return
    fib daddr type local jump publish
  }
  chain publish {
    meta l4proto != { tcp, udp, sctp } return
    ip6 saddr fe80::/10 return
    iifname . meta l4proto . th dport @own_any4 meta nfproto ipv4 return
    iifname . ip daddr . meta l4proto . th dport @own_addr4 return
    iifname . ip daddr . meta l4proto . th dport @own_range4 return
    iifname . meta l4proto . th dport @own_any6 meta nfproto ipv6 return
    iifname . ip6 daddr . meta l4proto . th dport @own_addr6 return
    iifname . ip6 daddr . meta l4proto . th dport @own_range6 return
    meta l4proto { tcp, udp, sctp } dnat ip to meta l4proto . th dport map @dnat_any4
    meta l4proto { tcp, udp, sctp } dnat ip to ip daddr . meta l4proto . th dport map @dnat_addr4
    meta l4proto { tcp, udp, sctp } dnat ip to ip daddr . meta l4proto . th dport map @dnat_range4
    meta l4proto { tcp, udp, sctp } dnat ip6 to meta l4proto . th dport map @dnat_any6
    meta l4proto { tcp, udp, sctp } dnat ip6 to ip6 daddr . meta l4proto . th dport map @dnat_addr6
    meta l4proto { tcp, udp, sctp } dnat ip6 to ip6 daddr . meta l4proto . th dport map @dnat_range6
  }
  chain nat-postrouting {
    ct status dnat oifname . ip saddr @hairpin4 counter masquerade comment "back to the own bridge"
    ct status dnat oifname . ip6 saddr @hairpin6 counter masquerade comment "back to the own bridge"
    ct status dnat oifname @hairpin fib saddr type local counter masquerade comment "from the host"
    oifname . ip saddr @home4 return
    oifname . ip6 saddr @home6 return
    ip saddr @masqueraded4 counter masquerade
    ip6 saddr @masqueraded6 counter masquerade
  }
  chain filter-forward {
    iifname @bridges goto bridged
    oifname @bridges goto bridged
  }
  chain bridged {
    jump user
    ct state established,related counter accept
    iifname . oifname @open counter accept
    iifname @internal counter drop comment "internal network"
    oifname @internal counter drop comment "internal network"
    oifname @bridges ct status dnat counter accept comment "published port"
    oifname @bridges counter drop comment "unpublished port"
    counter accept comment "outwards"
  }
)";

std::string_view suffix(Family family) { return family == Family::v4 ? "4" : "6"; }

std::string quoted(std::string_view interface) { return fmt::format("\"{}\"", interface); }

/// The three shapes of a published port; see the head of the file.
struct PortSets {
  std::string_view prefix;
  /// `"br0" . ` or nothing, in front of each key.
  std::string key_prefix;
};

std::string any_prefix(Family family) { return family == Family::v4 ? "0.0.0.0/0" : "::/0"; }

/// What the three shapes have in common.
struct PortKey {
  Family family;
  Protocol protocol;
  /// Nothing: every local address of the family.
  std::optional<IpAddress> host_ip;
};

void add_single(NftablesElements& elements, const PortSets& sets, const PortKey& key,
                std::uint32_t host_port, const std::string& data) {
  const std::string_view family = suffix(key.family);
  const std::string_view protocol = protocol_name(key.protocol);
  if (key.host_ip) {
    elements[fmt::format("{}_addr{}", sets.prefix, family)].emplace(
        fmt::format("{}{} . {} . {}", sets.key_prefix, key.host_ip->to_string(), protocol,
                    host_port),
        data);
  } else {
    elements[fmt::format("{}_any{}", sets.prefix, family)].emplace(
        fmt::format("{}{} . {}", sets.key_prefix, protocol, host_port), data);
  }
}

void add_range(NftablesElements& elements, const PortSets& sets, const PortKey& key,
               const PortRange& ports, const std::string& data) {
  const std::string address = key.host_ip ? key.host_ip->to_string() : any_prefix(key.family);
  elements[fmt::format("{}_range{}", sets.prefix, suffix(key.family))].emplace(
      fmt::format("{}{} . {} . {}", sets.key_prefix, address, protocol_name(key.protocol),
                  ports.to_string()),
      data);
}

void add_translation(NftablesElements& elements, const Translation& translation) {
  const PortSets sets{"dnat", ""};
  const PortKey key{translation.container_ip.family(), translation.protocol, translation.host_ip};
  const std::string container = translation.container_ip.to_string();
  const PortRange& ports = translation.host_ports;
  if (ports.size() > 1 && ports == translation.container_ports) {
    add_range(elements, sets, key, ports, container);
  } else {
    for (std::uint32_t i = 0; i < ports.size(); ++i) {
      add_single(elements, sets, key, ports.first + i,
                 fmt::format("{} . {}", container, translation.container_ports.first + i));
    }
  }
}

/// Whose clients the proxy serves, and on which host address.
struct Proxied {
  std::string interface;
  Protocol protocol;
  std::optional<IpAddress> host_ip;
  Family family;

  auto operator<=>(const Proxied&) const = default;
};

using ProxiedPorts = std::map<Proxied, std::vector<PortRange>>;

/// The ports the proxy serves: for clients of the bridge and, where they are published on all
/// addresses, of loopback. Neighbouring ports become one range: a thousand ports are one element.
ProxiedPorts proxied_ports(const RuleSet& rules) {
  ProxiedPorts proxied;
  for (const Translation& translation : rules.translations) {
    if (translation.proxied_bridge.empty()) continue;
    const Proxied key{translation.proxied_bridge, translation.protocol, translation.host_ip,
                      translation.container_ip.family()};
    proxied[key].push_back(translation.host_ports);
    if (key.host_ip || key.family != Family::v4) continue;
    proxied[{"lo", key.protocol, key.host_ip, key.family}].push_back(translation.host_ports);
  }
  for (auto& [key, ranges] : proxied) {
    std::ranges::sort(ranges);
    std::vector<PortRange> merged;
    for (const PortRange& range : ranges) {
      if (!merged.empty() && merged.back().last + 1 >= range.first) {
        merged.back().last = std::max(merged.back().last, range.last);
      } else {
        merged.push_back(range);
      }
    }
    ranges = std::move(merged);
  }
  return proxied;
}

void add_proxied(NftablesElements& elements, const ProxiedPorts& proxied) {
  for (const auto& [of, ranges] : proxied) {
    const PortSets sets{"own", quoted(of.interface) + " . "};
    const PortKey key{of.family, of.protocol, of.host_ip};
    for (const PortRange& ports : ranges) {
      if (ports.size() > 1) {
        add_range(elements, sets, key, ports, "");
      } else {
        add_single(elements, sets, key, ports.first, "");
      }
    }
  }
}

/// All but those of the own_* sets.
NftablesElements unproxied_elements(const RuleSet& rules) {
  NftablesElements elements;
  for (const std::string& bridge : rules.bridges) elements["bridges"].emplace(quoted(bridge), "");
  for (const std::string& bridge : rules.internal) elements["internal"].emplace(quoted(bridge), "");
  for (const InterfacePair& pair : rules.open) {
    elements["open"].emplace(fmt::format("{} . {}", quoted(pair.from), quoted(pair.to)), "");
  }
  const auto add_prefixes = [&](std::string_view name, const std::vector<Subnet>& prefixes) {
    for (const Subnet& prefix : prefixes) {
      elements[fmt::format("{}{}", name, suffix(prefix.family()))].emplace(prefix.to_string(), "");
    }
  };
  const auto add_pairs = [&](std::string_view name, const std::vector<InterfacePrefix>& pairs) {
    for (const InterfacePrefix& pair : pairs) {
      elements[fmt::format("{}{}", name, suffix(pair.prefix.family()))].emplace(
          fmt::format("{} . {}", quoted(pair.interface), pair.prefix.to_string()), "");
    }
  };
  add_pairs("home", rules.home);
  add_prefixes("guarded", rules.guarded);
  add_prefixes("masqueraded", rules.masqueraded);
  add_pairs("hairpin", rules.hairpin);
  for (const InterfacePrefix& pair : rules.hairpin) {
    elements["hairpin"].emplace(quoted(pair.interface), "");
  }
  for (const Translation& translation : rules.translations) {
    add_translation(elements, translation);
  }
  for (const LoopbackPort& port : rules.loopback_ports) {
    elements[port.host_ports.size() > 1 ? "loopback_range" : "loopback_port"].emplace(
        fmt::format("{} . {} . {}", port.host_ip.to_string(), protocol_name(port.protocol),
                    port.host_ports.to_string()),
        "");
  }
  return elements;
}

/// Takes out of two sorted lists what both have.
template <typename T>
void drop_common(std::vector<T>& a, std::vector<T>& b) {
  std::vector<T> only_a;
  std::vector<T> only_b;
  std::ranges::set_difference(a, b, std::back_inserter(only_a));
  std::ranges::set_difference(b, a, std::back_inserter(only_b));
  a = std::move(only_a);
  b = std::move(only_b);
}

/// The elements of two rule sets, less most of those that both have: with ten thousand ports,
/// writing an element down takes longer than finding that it is not needed.
std::pair<NftablesElements, NftablesElements> differing_elements(RuleSet from, RuleSet to) {
  ProxiedPorts proxied_from = proxied_ports(from);
  ProxiedPorts proxied_to = proxied_ports(to);
  for (auto& [key, ranges] : proxied_from) {
    const auto found = proxied_to.find(key);
    if (found != proxied_to.end()) drop_common(ranges, found->second);
  }
  drop_common(from.translations, to.translations);
  drop_common(from.loopback_ports, to.loopback_ports);
  std::pair elements{unproxied_elements(from), unproxied_elements(to)};
  add_proxied(elements.first, proxied_from);
  add_proxied(elements.second, proxied_to);
  return elements;
}

void append_elements(std::string& text, std::string_view verb, const std::string& set,
                     const std::map<std::string, std::string>& elements) {
  if (elements.empty()) return;
  const bool deleting = verb == "delete";
  fmt::format_to(std::back_inserter(text), "{} element inet fairlead {} {{\n", verb, set);
  for (const auto& [key, data] : elements) {
    text += "  ";
    text += key;
    if (!data.empty() && !deleting) {
      text += " : ";
      text += data;
    }
    text += ",\n";
  }
  text += "}\n";
}

const std::map<std::string, std::string>& set_of(const NftablesElements& elements,
                                                 const std::string& name) {
  static const std::map<std::string, std::string> kEmpty;
  const auto found = elements.find(name);
  return found == elements.end() ? kEmpty : found->second;
}

/// Elements of `a` that `b` has not, or has with other data.
std::map<std::string, std::string> missing_from(const std::map<std::string, std::string>& a,
                                                const std::map<std::string, std::string>& b) {
  std::map<std::string, std::string> difference;
  for (const auto& element : a) {
    const auto found = b.find(element.first);
    if (found == b.end() || found->second != element.second) difference.insert(element);
  }
  return difference;
}

std::string set_definitions() {
  return fmt::format("{}{}{}", kSetDefinitions,
                     fmt::format(kFamilySetDefinitions, "4", "ipv4_addr"),
                     fmt::format(kFamilySetDefinitions, "6", "ipv6_addr"));
}

/// The sets whose elements are told apart by name, so that every set is flushed on load.
constexpr std::array<std::string_view, 6> kSetNames = {
    "bridges", "internal", "hairpin", "open", "loopback_port", "loopback_range"};
constexpr std::array<std::string_view, 7> kFamilySetNames = {
    "home", "guarded", "masqueraded", "hairpin", "own_any", "own_addr", "own_range"};
constexpr std::array<std::string_view, 3> kFamilyMapNames = {"dnat_any", "dnat_addr", "dnat_range"};

std::string flush_text() {
  std::string text(kFlush);
  for (const std::string_view name : kSetNames) {
    fmt::format_to(std::back_inserter(text), "flush set inet fairlead {}\n", name);
  }
  for (const char family : {'4', '6'}) {
    for (const std::string_view name : kFamilySetNames) {
      fmt::format_to(std::back_inserter(text), "flush set inet fairlead {}{}\n", name, family);
    }
    for (const std::string_view name : kFamilyMapNames) {
      fmt::format_to(std::back_inserter(text), "flush map inet fairlead {}{}\n", name, family);
    }
  }
  return text;
}

}  // namespace

NftablesElements nftables_elements(const RuleSet& rules) {
  NftablesElements elements = unproxied_elements(rules);
  add_proxied(elements, proxied_ports(rules));
  return elements;
}

std::map<std::string, std::size_t> nftables_chain_sizes() {
  std::map<std::string, std::size_t> sizes;
  std::string chain;
  std::string_view rest = kRules;
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (line.starts_with("  chain ")) {
      chain = line.substr(8, line.find(' ', 8) - 8);
    } else if (line.starts_with("    ")) {
      ++sizes[chain];
    }
  }
  return sizes;
}

std::string nftables_load_text(const NftablesElements& elements) {
  std::string text = fmt::format("table inet fairlead {{{}{}}}\n{}table inet fairlead {{{}}}\n",
                                 set_definitions(), kChains, flush_text(), kRules);
  for (const auto& [set, members] : elements) append_elements(text, "add", set, members);
  return text;
}

std::string nftables_change_text(const RuleSet& from, const RuleSet& to) {
  const auto [before, after] = differing_elements(from, to);
  NftablesElements names = before;
  names.insert(after.begin(), after.end());
  std::string text;
  // Everything is deleted before anything is added: the old and the new element of a changed
  // interval may overlap.
  for (const auto& entry : names) {
    append_elements(text, "delete", entry.first,
                    missing_from(set_of(before, entry.first), set_of(after, entry.first)));
  }
  for (const auto& entry : names) {
    append_elements(text, "add", entry.first,
                    missing_from(set_of(after, entry.first), set_of(before, entry.first)));
  }
  return text;
}

std::string nftables_remove_text() { return "delete table inet fairlead\n"; }

}  // namespace fairlead
