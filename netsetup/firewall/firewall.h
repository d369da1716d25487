// The firewall of this network namespace, as a place where a RuleSet is put into force.
//
// What is ours there is table `inet fairlead` of nftables, or the chains FAIRLEAD and FAIRLEAD-* of
// iptables and ip6tables with one hook each. Nothing else is ever changed, and what the user has
// put into our chain `user` (FAIRLEAD-USER) stays.
//
// Needs CAP_NET_ADMIN. Not thread-safe: one writer at a time, which is the caller's to see to.

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "netsetup/rules/rule_set.h"
#include "proxy/mapping/error.h"

namespace fairlead {

/// What carries the rules.
enum class Backend : std::uint8_t {
  nftables,
  iptables,
  /// Nothing: published ports are the proxy's alone, and nothing is masqueraded or isolated.
  none,
};

/// What is asked for with --firewall.
enum class BackendChoice : std::uint8_t { automatic, nftables, iptables, none };

constexpr std::string_view backend_name(Backend backend) {
  switch (backend) {
    case Backend::nftables:
      return "nftables";
    case Backend::iptables:
      return "iptables";
    case Backend::none:
      return "none";
  }
  return "";
}

constexpr std::optional<Backend> parse_backend(std::string_view name) {
  for (Backend backend : {Backend::nftables, Backend::iptables, Backend::none}) {
    if (name == backend_name(backend)) return backend;
  }
  return std::nullopt;
}

/// `auto`, or the name of a back end.
constexpr std::optional<BackendChoice> parse_backend_choice(std::string_view name) {
  if (name == "auto") return BackendChoice::automatic;
  if (name == "nftables") return BackendChoice::nftables;
  if (name == "iptables") return BackendChoice::iptables;
  if (name == "none") return BackendChoice::none;
  return std::nullopt;
}

/// What the rules have seen since they were loaded.
struct FirewallCounters {
  /// New connections (for UDP: flows) that were translated to published ports, which is all that
  /// meets those rules.
  std::map<Translation, std::uint64_t> connections;
  /// Packets dropped, by the reason, as "direct access" or "unpublished port".
  std::map<std::string, std::uint64_t> dropped;
};

class Firewall {
 public:
  virtual ~Firewall() = default;

  virtual Backend backend() const = 0;

  /// Puts `to` into force, in one transaction (iptables: one for each table of each family).
  /// `from` is what an earlier call has put there, and only what differs is changed; if the kernel
  /// is seen not to have it any more (the table, an element to delete, a hook), all is loaded.
  /// nullptr: not known, all is loaded, and what another back end has left is removed afterwards.
  /// An error leaves what was in force before. An empty `to` is still a table with its chains: see
  /// remove().
  virtual Result<void> install(const RuleSet* from, const RuleSet& to) = 0;

  /// Removes all that is ours, of every back end; FAIRLEAD-USER stays where the user has rules in
  /// it. That nothing of it is there is no error.
  virtual Result<void> remove() = 0;

  /// What install() would hand to the kernel, for people to read; empty: nothing.
  virtual std::string text(const RuleSet* from, const RuleSet& to) const = 0;

  /// What is missing from the kernel of what install(..., expected) has put there, and what of ours
  /// is too much, one line each; empty: all is as it should be.
  virtual Result<std::vector<std::string>> differences(const RuleSet& expected) = 0;

  /// REQUIRES: `installed` is in force.
  virtual Result<FirewallCounters> counters(const RuleSet& installed) = 0;
};

/// `automatic` takes nftables, unless the iptables rules of others drop forwarded packets that are
/// not theirs (Docker's, ufw's and firewalld's policies): an accept of ours in nftables cannot
/// override that, one in iptables can. `other_bridges` are those of others, which such an accept is
/// not to open. `notes` receives, a line each, why, and what the user has to do where no back end
/// of ours gets packets past the rules of others; that was told already of the bridges of
/// `present`, and looking at all the rules of a host takes its time. Error: the back end is not
/// there, or `none` cannot do what `wanted` asks for.
Result<std::unique_ptr<Firewall>> make_firewall(BackendChoice choice, const RuleSet& present,
                                                const RuleSet& wanted,
                                                const std::vector<std::string>& other_bridges,
                                                std::vector<std::string>& notes);

}  // namespace fairlead
