// The host that this process runs on.

#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "netsetup/host/change.h"
#include "netsetup/host/host.h"
#include "netsetup/links/links.h"
#include "netsetup/state/state_directory.h"

namespace fairlead {

struct HostSettings {
  /// Which firewall back end to use; nothing: the one in use, else `automatic`.
  std::optional<BackendChoice> firewall;
  /// Path of fairlead-proxy; nothing: find_proxy_program().
  std::optional<std::string> proxy_program;
};

class KernelHost final : public Host {
 public:
  /// `backend` is the one in use. The directory and the notes must outlive this.
  static Result<std::unique_ptr<KernelHost>> open(HostSettings settings,
                                                  std::optional<Backend> backend,
                                                  StateDirectory& directory, Notes& notes);

  Links& links() { return links_; }
  /// Null before choose_backend().
  Firewall* firewall() { return firewall_.get(); }
  /// What start_proxy() would run, and where it would have its sockets.
  Result<std::string> proxy_program();
  const StateDirectory& directory() const { return directory_; }

  Result<void> check(const Networks& from, const Networks& to) override;
  Result<void> change_link(const LinkChange& change) override;
  bool has_namespace(const Container& container) override;
  Result<std::vector<SysctlSetting>> wanted_sysctls(
      const Networks& networks, const std::vector<SysctlRecord>& records) override;
  Result<std::vector<SysctlRecord>> record_sysctls(
      const std::vector<SysctlSetting>& wanted, const std::vector<SysctlRecord>& records) override;
  Result<std::vector<SysctlRecord>> apply_sysctls(
      const std::vector<SysctlSetting>& wanted, const std::vector<SysctlRecord>& records) override;
  Result<Backend> choose_backend(const RuleSet& present, const RuleSet& wanted) override;
  Result<void> install_rules(const RuleSet* from, const RuleSet& to) override;
  Result<void> remove_rules() override;
  Result<void> forget_udp(std::span<const PublishedPort> ports) override;
  Result<ProxyProcess> start_proxy(const Network& network, const Container& container,
                                   std::span<const Mapping> mappings,
                                   const Predecessor& predecessor) override;
  Result<void> stop_proxy(const ProxyProcess& process) override;
  bool is_running(const ProxyProcess& process) override;
  bool serves(const ProxyProcess& process, std::size_t mappings) override;
  Result<void> stop_other_proxies(std::span<const ProxyProcess> known) override;
  Result<void> save_unfinished(const Unfinished& unfinished) override;
  Result<void> remove_unfinished() override;
  Result<void> save_host(const State& state) override;
  Result<void> save_networks(const Networks& from, const Networks& to) override;

 private:
  KernelHost(HostSettings settings, std::optional<Backend> backend, StateDirectory& directory,
             Notes& notes, Links links)
      : settings_(std::move(settings)),
        backend_(backend),
        directory_(directory),
        notes_(notes),
        links_(std::move(links)) {}

  Result<void> check_bridge(const Networks& from, const Network& network);
  Result<void> check_routes(const Networks& from, const Network& network);

  HostSettings settings_;
  std::optional<Backend> backend_;
  StateDirectory& directory_;
  Notes& notes_;
  Links links_;
  std::unique_ptr<Firewall> firewall_;
};

}  // namespace fairlead
