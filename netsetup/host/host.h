// Everything outside of this process that a change of the desired state touches: links, kernel
// settings, firewall, proxies and the files of the state. One interface, so that tests can let each
// step of a change fail once.

#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "netsetup/firewall/firewall.h"
#include "netsetup/firewall/sysctls.h"
#include "netsetup/links/link_plan.h"
#include "netsetup/network/network.h"
#include "netsetup/rules/rule_set.h"
#include "netsetup/state/state.h"
#include "proxy/mapping/error.h"
#include "proxy/mapping/mapping.h"

namespace fairlead {

/// What a container's new proxy takes the place of.
struct Predecessor {
  /// Nothing: there is none, or nobody knows which process it is.
  std::optional<ProxyProcess> process;
  /// What it may listen on.
  std::vector<Mapping> mappings;
};

/// Every call is idempotent, and leaves nothing half-done that the opposite call would not remove.
class Host {
 public:
  virtual ~Host() = default;

  /// Whether the host has room for what `to` has and `from` has not: interface names and
  /// namespaces, routes, ports that something else listens on. Changes nothing.
  virtual Result<void> check(const Networks& from, const Networks& to) = 0;

  virtual Result<void> change_link(const LinkChange& change) = 0;
  /// Whether the namespace that was attached is still there.
  virtual bool has_namespace(const Container& container) = 0;

  virtual Result<std::vector<SysctlSetting>> wanted_sysctls(
      const Networks& networks, const std::vector<SysctlRecord>& records) = 0;
  virtual Result<std::vector<SysctlRecord>> record_sysctls(
      const std::vector<SysctlSetting>& wanted, const std::vector<SysctlRecord>& records) = 0;
  virtual Result<std::vector<SysctlRecord>> apply_sysctls(
      const std::vector<SysctlSetting>& wanted, const std::vector<SysctlRecord>& records) = 0;

  /// The back end that install_rules() is going to use; `present` as for make_firewall(). Changes
  /// nothing. Error: the one asked for is not there, or cannot do what is wanted.
  virtual Result<Backend> choose_backend(const RuleSet& present, const RuleSet& wanted) = 0;
  /// As Firewall::install() and Firewall::remove(). REQUIRES: a back end was chosen.
  virtual Result<void> install_rules(const RuleSet* from, const RuleSet& to) = 0;
  virtual Result<void> remove_rules() = 0;
  virtual Result<void> forget_udp(std::span<const PublishedPort> ports) = 0;

  /// Returns once it serves all of them. It takes over the sockets that the predecessor has of
  /// them, which then listens no more and ends with its last connection; if it cannot start, the
  /// predecessor goes on.
  virtual Result<ProxyProcess> start_proxy(const Network& network, const Container& container,
                                           std::span<const Mapping> mappings,
                                           const Predecessor& predecessor) = 0;
  /// That it has ended already is no error. Returns once it has.
  virtual Result<void> stop_proxy(const ProxyProcess& process) = 0;
  virtual bool is_running(const ProxyProcess& process) = 0;
  /// Whether it runs and has not handed over. `mappings` is how many it has.
  virtual bool serves(const ProxyProcess& process, std::size_t mappings) = 0;
  /// Stops every proxy that was started for this state directory, but these: one whose start was
  /// cut short is in no record.
  virtual Result<void> stop_other_proxies(std::span<const ProxyProcess> known) = 0;

  /// See StateDirectory.
  virtual Result<void> save_unfinished(const Unfinished& unfinished) = 0;
  virtual Result<void> remove_unfinished() = 0;
  virtual Result<void> save_host(const State& state) = 0;
  virtual Result<void> save_networks(const Networks& from, const Networks& to) = 0;
};

}  // namespace fairlead
