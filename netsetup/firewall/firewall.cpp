#include "netsetup/firewall/firewall.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "netsetup/firewall/foreign_filters.h"
#include "netsetup/firewall/iptables.h"
#include "netsetup/firewall/nft_session.h"
#include "netsetup/firewall/nftables.h"

namespace fairlead {
namespace {

/// Leaves the rules to the user.
class NoFirewall final : public Firewall {
 public:
  Backend backend() const override { return Backend::none; }

  Result<void> install(const RuleSet* from, const RuleSet& to) override {
    if (auto possible = check(to); !possible) return possible;
    return from == nullptr ? remove() : Result<void>();
  }

  Result<void> remove() override {
    if (auto removed = remove_nftables(); !removed) return removed;
    return remove_iptables();
  }

  std::string text(const RuleSet* /*from*/, const RuleSet& /*to*/) const override { return {}; }

  Result<std::vector<std::string>> differences(const RuleSet& /*expected*/) override {
    return std::vector<std::string>{};
  }

  Result<FirewallCounters> counters(const RuleSet& /*installed*/) override {
    return FirewallCounters{};
  }

  static Result<void> check(const RuleSet& rules) {
    if (rules.translations.empty()) return {};
    const Translation& first = rules.translations.front();
    return failed(
        fmt::format("--firewall none: port {}/{} is published by translation of addresses; "
                    "accepted: networks of --mode proxy",
                    first.host_ports.to_string(), protocol_name(first.protocol)));
  }
};

/// Whether a rule of the iptables back end can overrule the filter.
bool iptables_overrules(const ForeignFilter& filter) {
  return filter.kind == (iptables_is_legacy() ? ForeignFilter::Kind::iptables_legacy
                                              : ForeignFilter::Kind::iptables_nft);
}

/// Which back end works here and gets packets past the filters of others, as far as one can.
Result<std::unique_ptr<Firewall>> choose(const std::vector<ForeignFilter>& filters,
                                         const std::vector<std::string>& other_bridges,
                                         NftSession& session, std::vector<std::string>& notes) {
  std::string reason;
  const auto overruled = std::ranges::find_if(filters, iptables_overrules);
  if (overruled != filters.end()) {
    reason = overruled->place + " drops forwarded packets that no rule accepts there";
  } else if (auto tried = try_out_nftables(session); !tried) {
    reason = tried.error().message;
  }
  if (reason.empty()) return make_nftables_firewall();
  auto iptables = make_iptables_firewall(other_bridges);
  if (!iptables) return failed(fmt::format("{}; {}", reason, iptables.error().message));
  notes.push_back("iptables is used instead of nftables: " + reason);
  return iptables;
}

/// What the user has to do about a filter that the back end does not get past.
std::string advice(const ForeignFilter& filter, Backend backend, const RuleSet& wanted) {
  std::string bridges;
  for (const std::string& bridge : wanted.bridges) {
    bridges += (bridges.empty() ? "" : ", ") + bridge;
  }
  std::string remedy = "have it accept what comes in and goes out by " + bridges;
  if (backend == Backend::nftables && iptables_overrules(filter)) {
    remedy = "use --firewall iptables";
  } else if (filter.place.starts_with("table inet firewalld,")) {
    remedy =
        "put these into zone trusted (firewall-cmd --zone=trusted --add-interface=...): " + bridges;
  }
  return fmt::format("{} drops forwarded packets that no rule accepts there, whatever {} does: {}",
                     filter.place, backend_name(backend), remedy);
}

}  // namespace

Result<std::unique_ptr<Firewall>> make_firewall(BackendChoice choice, const RuleSet& present,
                                                const RuleSet& wanted,
                                                const std::vector<std::string>& other_bridges,
                                                std::vector<std::string>& notes) {
  if (choice == BackendChoice::none) {
    if (auto possible = NoFirewall::check(wanted); !possible) {
      return std::unexpected(std::move(possible.error()));
    }
    return std::make_unique<NoFirewall>();
  }
  if (choice != BackendChoice::automatic && present.bridges == wanted.bridges) {
    return choice == BackendChoice::nftables ? make_nftables_firewall()
                                             : make_iptables_firewall(other_bridges);
  }
  auto session = NftSession::open();
  if (!session) {
    if (choice == BackendChoice::nftables) return std::unexpected(std::move(session.error()));
    return make_iptables_firewall(other_bridges);
  }
  const auto filters = foreign_filters(*session, wanted);
  if (!filters) return std::unexpected(filters.error());
  auto firewall = choice == BackendChoice::nftables ? make_nftables_firewall()
                  : choice == BackendChoice::iptables
                      ? make_iptables_firewall(other_bridges)
                      : choose(*filters, other_bridges, *session, notes);
  if (!firewall) return firewall;
  const Backend backend = (*firewall)->backend();
  for (const ForeignFilter& filter : *filters) {
    if (backend == Backend::iptables && iptables_overrules(filter)) continue;
    notes.push_back(advice(filter, backend, wanted));
  }
  return firewall;
}

}  // namespace fairlead
