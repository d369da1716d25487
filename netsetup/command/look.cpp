#include "netsetup/command/look.h"

#include <cstdio>
#include <memory>
#include <optional>
#include <string_view>
#include <type_traits>

#include "netsetup/command/report.h"
#include "netsetup/command/watch.h"
#include "netsetup/host/kernel_host.h"
#include "netsetup/network/document.h"
#include "netsetup/rules/rule_plan.h"
#include "netsetup/state/state_directory.h"

namespace fairlead {
namespace {

void print(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

struct Looking {
  const NetCommandLine& line;
  const State& state;
  bool unfinished;
  const StateDirectory& directory;
  KernelHost& host;

  std::vector<std::string> problems() const { return find_problems(host, state, unfinished); }

  std::optional<FirewallCounters> counters() const {
    const RuleSet rules = plan(state.networks);
    if (state.networks.empty() || !host.choose_backend(rules, rules)) return std::nullopt;
    auto counters = host.firewall()->counters(rules);
    if (!counters) return std::nullopt;
    return std::move(*counters);
  }

  PortActivities activities(const std::optional<FirewallCounters>& counters) const {
    return port_activities(state.networks, counters, ask_proxies(state.networks, directory));
  }

  Result<int> operator()(const ListNetworks& /*command*/) const {
    print(line.json ? networks_text(state.networks) : list_networks(state.networks));
    return 0;
  }

  Result<int> operator()(const InspectNetwork& command) const {
    const Network* network = find_network(state.networks, command.network);
    if (network == nullptr) return failed("there is no network " + command.network);
    print(line.json ? network_text(*network)
                    : inspect_network(*network, host.links().problems(*network)));
    return 0;
  }

  Result<int> operator()(const ShowStatus& /*command*/) const {
    const std::optional<FirewallCounters> counted = counters();
    const PortActivities done = activities(counted);
    print(line.json ? status_json(state.networks, counted, done, problems())
                    : status_text(state.networks, counted, done, problems()));
    return 0;
  }

  Result<int> operator()(const Check& /*command*/) const {
    const std::vector<std::string> found = problems();
    if (line.json) {
      print(problems_json(found));
    } else {
      for (const std::string& problem : found) print(problem + "\n");
    }
    return found.empty() ? 0 : 1;
  }
};

/// What `use` makes of the state and the host as they are now.
template <typename Use>
std::invoke_result_t<Use, const Looking&> look(const NetCommandLine& line, const Use& use) {
  StateDirectory directory(line.state_directory);
  const auto state = directory.load();
  if (!state) return std::unexpected(state.error());
  const auto unfinished = directory.load_unfinished();
  if (!unfinished) return std::unexpected(unfinished.error());
  Notes notes;
  const auto host =
      KernelHost::open({line.firewall, line.proxy_program}, state->backend, directory, notes);
  if (!host) return std::unexpected(host.error());
  return use(Looking{line, *state, unfinished->has_value(), directory, **host});
}

}  // namespace

Result<int> run_look(const NetCommandLine& line, const LookCommand& command) {
  if (const auto* status = std::get_if<ShowStatus>(&command); status && status->watch_interval) {
    return run_watch(*status->watch_interval, [&line] {
      return look(line, [](const Looking& now) -> Result<PortActivities> {
        return now.activities(now.counters());
      });
    });
  }
  return look(line, [&command](const Looking& now) { return std::visit(now, command); });
}

}  // namespace fairlead
