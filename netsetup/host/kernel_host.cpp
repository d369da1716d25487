#include "netsetup/host/kernel_host.h"

#include <fmt/format.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "netsetup/firewall/conntrack.h"
#include "netsetup/links/host_routes.h"
#include "netsetup/proxies/port_probe.h"
#include "netsetup/proxies/proxy_counters.h"
#include "netsetup/proxies/proxy_process.h"

namespace fairlead {
namespace {

/// Asked first: what the kernel would say of a link or a rule is only that it may not be.
Result<void> check_capability() {
  __user_cap_header_struct header{};
  header.version = _LINUX_CAPABILITY_VERSION_3;
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> data{};
  if (::syscall(SYS_capget, &header, data.data()) != 0) return failed("capget", errno);
  if ((data[0].effective & (1U << CAP_NET_ADMIN)) != 0) return {};
  return failed(
      "not permitted: fairlead-net changes networks as root (CAP_NET_ADMIN, and "
      "CAP_SYS_ADMIN to enter containers)");
}

BackendChoice choice_of(Backend backend) {
  switch (backend) {
    case Backend::nftables:
      return BackendChoice::nftables;
    case Backend::iptables:
      return BackendChoice::iptables;
    case Backend::none:
      return BackendChoice::none;
  }
  return BackendChoice::automatic;
}

bool has_subnet(const Networks& networks, const Subnet& subnet) {
  return std::ranges::any_of(networks, [&](const Network& network) {
    return std::ranges::find(network.subnets, subnet) != network.subnets.end();
  });
}

bool has_bridge(const Networks& networks, const std::string& name) {
  return std::ranges::any_of(networks,
                             [&](const Network& network) { return network.bridge == name; });
}

}  // namespace

Result<std::unique_ptr<KernelHost>> KernelHost::open(HostSettings settings,
                                                     std::optional<Backend> backend,
                                                     StateDirectory& directory, Notes& notes) {
  auto links = Links::open();
  if (!links) return std::unexpected(links.error());
  return std::unique_ptr<KernelHost>(
      new KernelHost(std::move(settings), backend, directory, notes, std::move(*links)));
}

Result<std::string> KernelHost::proxy_program() {
  if (settings_.proxy_program) return *settings_.proxy_program;
  return find_proxy_program();
}

Result<void> KernelHost::check_bridge(const Networks& from, const Network& network) {
  if (network.adopted || has_bridge(from, network.bridge)) return {};
  const auto there = links_.exists(network.bridge);
  if (!there) return std::unexpected(there.error());
  if (!*there) return {};
  return failed(
      fmt::format("network {}: interface {} is there already: choose another name with "
                  "--bridge, or --adopt {}",
                  network.name, network.bridge, network.bridge));
}

Result<void> KernelHost::check_routes(const Networks& from, const Network& network) {
  const auto is_new = [&](const Subnet& subnet) { return !has_subnet(from, subnet); };
  if (std::ranges::none_of(network.subnets, is_new)) return {};
  const auto routes = host_routes();
  if (!routes) return std::unexpected(routes.error());
  for (const Subnet& subnet : network.subnets) {
    if (!is_new(subnet)) continue;
    for (const HostRoute& route : *routes) {
      // Routes of networks that are there already are for check_networks() to judge.
      if (!route.destination.overlaps(subnet) || route.interface == network.bridge ||
          has_bridge(from, route.interface)) {
        continue;
      }
      return failed(fmt::format("network {}: subnet {} overlaps the host's route to {}{}",
                                network.name, subnet.to_string(), route.destination.to_string(),
                                route.interface.empty() ? "" : " by " + route.interface));
    }
  }
  return {};
}

Result<void> KernelHost::check(const Networks& from, const Networks& to) {
  if (auto checked = check_capability(); !checked) return checked;
  for (const Network& network : to) {
    if (auto checked = check_bridge(from, network); !checked) return checked;
    if (auto checked = check_routes(from, network); !checked) return checked;
    const Network* before = find_network(from, network.name);
    for (const Container& container : network.containers) {
      const Container* earlier =
          before != nullptr ? find_container(*before, container.name) : nullptr;
      if (earlier != nullptr && earlier->netns_inode == container.netns_inode &&
          earlier->ifname == container.ifname) {
        continue;
      }
      if (auto checked = links_.check_room(network, container, earlier); !checked) return checked;
    }
  }
  return probe_new_ports(from, to);
}

Result<void> KernelHost::change_link(const LinkChange& change) {
  switch (change.action) {
    case LinkChange::Action::make_bridge:
      return links_.make_bridge(*change.network);
    case LinkChange::Action::attach:
      return links_.attach(*change.network, *change.container);
    case LinkChange::Action::detach:
      return links_.detach(*change.container);
    case LinkChange::Action::remove_bridge:
      return links_.remove_bridge(*change.network);
  }
  return {};
}

bool KernelHost::has_namespace(const Container& container) {
  const auto there = open_namespace(container.netns);
  return there && there->inode == container.netns_inode;
}

Result<std::vector<SysctlSetting>> KernelHost::wanted_sysctls(
    const Networks& networks, const std::vector<SysctlRecord>& records) {
  auto leading_out = uplinks();
  if (!leading_out) return std::unexpected(leading_out.error());
  const auto facts = read_sysctl_facts(std::move(*leading_out), records);
  if (!facts) return std::unexpected(facts.error());
  return plan_sysctls(networks, *facts);
}

Result<std::vector<SysctlRecord>> KernelHost::record_sysctls(
    const std::vector<SysctlSetting>& wanted, const std::vector<SysctlRecord>& records) {
  return fairlead::record_sysctls(wanted, records);
}

Result<std::vector<SysctlRecord>> KernelHost::apply_sysctls(
    const std::vector<SysctlSetting>& wanted, const std::vector<SysctlRecord>& records) {
  return fairlead::apply_sysctls(wanted, records);
}

Result<Backend> KernelHost::choose_backend(const RuleSet& present, const RuleSet& wanted) {
  if (firewall_) return firewall_->backend();
  const BackendChoice in_use = backend_ ? choice_of(*backend_) : BackendChoice::automatic;
  // A bridge that is about to be removed is there until its rules are gone.
  std::vector<std::string> own = wanted.bridges;
  own.insert(own.end(), present.bridges.begin(), present.bridges.end());
  const auto others = other_bridges(own);
  if (!others) return std::unexpected(others.error());
  auto made = make_firewall(settings_.firewall.value_or(in_use), present, wanted, *others, notes_);
  if (!made) return std::unexpected(made.error());
  firewall_ = std::move(*made);
  return firewall_->backend();
}

Result<void> KernelHost::install_rules(const RuleSet* from, const RuleSet& to) {
  return firewall_->install(from, to);
}

Result<void> KernelHost::remove_rules() { return firewall_->remove(); }

Result<void> KernelHost::forget_udp(std::span<const PublishedPort> ports) {
  if (firewall_->backend() == Backend::none) return {};
  return fairlead::forget_udp(ports);
}

Result<ProxyProcess> KernelHost::start_proxy(const Network& network, const Container& container,
                                             std::span<const Mapping> mappings,
                                             const Predecessor& predecessor) {
  const auto program = proxy_program();
  if (!program) return std::unexpected(program.error());
  const ProxyLaunch launch{.program = *program,
                           .state_directory = directory_.path(),
                           .log = directory_.log_path(network, container),
                           .metrics_directory = directory_.metrics_directory(),
                           .handover = directory_.handover_path(container)};
  // One that an earlier version has started hands nothing over.
  std::error_code code;
  if (predecessor.process && !std::filesystem::is_socket(launch.handover, code)) {
    if (auto stopped = stop_proxy(*predecessor.process); !stopped) {
      return std::unexpected(stopped.error());
    }
  }
  auto started = fairlead::start_proxy(launch, mappings, predecessor.mappings);
  if (started) return started;
  return failed(fmt::format("network {}: container {}: fairlead-proxy: {}", network.name,
                            container.name, started.error().message));
}

Result<void> KernelHost::stop_proxy(const ProxyProcess& process) {
  return fairlead::stop_proxy(process);
}

bool KernelHost::is_running(const ProxyProcess& process) { return fairlead::is_running(process); }

bool KernelHost::serves(const ProxyProcess& process, std::size_t mappings) {
  return is_running(process) && !has_handed_over({directory_.metrics_path(process), mappings});
}

Result<void> KernelHost::stop_other_proxies(std::span<const ProxyProcess> known) {
  const auto found = find_proxies(directory_.path());
  if (!found) return std::unexpected(found.error());
  for (const ProxyProcess& process : *found) {
    if (std::ranges::find(known, process) != known.end()) continue;
    if (auto stopped = fairlead::stop_proxy(process); !stopped) return stopped;
  }
  return {};
}

Result<void> KernelHost::save_unfinished(const Unfinished& unfinished) {
  return directory_.save_unfinished(unfinished);
}

Result<void> KernelHost::remove_unfinished() { return directory_.remove_unfinished(); }

Result<void> KernelHost::save_host(const State& state) { return directory_.save_host(state); }

Result<void> KernelHost::save_networks(const Networks& from, const Networks& to) {
  return directory_.save_networks(from, to);
}

}  // namespace fairlead
