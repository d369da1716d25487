#include "netsetup/command/edit.h"

#include <fmt/format.h>

#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>

#include "netsetup/command/report.h"
#include "netsetup/host/change.h"
#include "netsetup/host/kernel_host.h"
#include "netsetup/links/host_routes.h"
#include "netsetup/network/document.h"
#include "netsetup/network/network_check.h"
#include "netsetup/network/network_edit.h"
#include "netsetup/state/state_directory.h"
#include "netsetup/state/text_file.h"

namespace fairlead {
namespace {

void print(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

/// Each command on the desired state.
struct Editing {
  Networks& networks;
  Links& links;

  Result<std::vector<Subnet>> host_routes() const {
    const auto routes = fairlead::host_routes();
    if (!routes) return std::unexpected(routes.error());
    std::vector<Subnet> taken;
    for (const HostRoute& route : *routes) taken.push_back(route.destination);
    return taken;
  }

  static Result<void> find_namespace(Container& container) {
    const auto there = open_namespace(container.netns);
    if (!there) return std::unexpected(there.error());
    container.netns_inode = there->inode;
    return {};
  }

  Result<void> operator()(const CreateNetwork& command) const {
    Network wanted = command.network;
    if (wanted.adopted) {
      if (auto read = links.read_bridge(wanted); !read) return read;
    }
    const auto taken = host_routes();
    if (!taken) return std::unexpected(taken.error());
    return create_network(networks, std::move(wanted), *taken);
  }

  Result<void> operator()(const RemoveNetwork& command) const {
    return remove_network(networks, command.network);
  }

  Result<void> operator()(const Attach& command) const {
    Container wanted = command.container;
    if (auto found = find_namespace(wanted); !found) return found;
    return attach_container(networks, command.network, std::move(wanted));
  }

  Result<void> operator()(const Detach& command) const {
    return detach_container(networks, command.network, command.container);
  }

  Result<void> operator()(const Publish& command) const {
    return publish_ports(networks, command.network, command.container, command.ports);
  }

  Result<void> operator()(const Unpublish& command) const {
    return unpublish_ports(networks, command.network, command.container, command.ports);
  }

  Result<void> operator()(const Apply& command) const {
    const auto text = read_file(command.file == "-" ? "/dev/stdin" : command.file);
    if (!text) return std::unexpected(text.error());
    auto wanted = parse_networks(*text, command.file);
    if (!wanted) return std::unexpected(wanted.error());
    for (Network& network : *wanted) {
      if (network.adopted) {
        if (auto read = links.read_bridge(network); !read) return read;
      }
      for (Container& container : network.containers) {
        const auto path_of_it = namespace_path(container.netns);
        if (!path_of_it) return std::unexpected(path_of_it.error());
        container.netns = *path_of_it;
        if (auto found = find_namespace(container); !found) return found;
      }
    }
    const auto taken = host_routes();
    if (!taken) return std::unexpected(taken.error());
    return replace_networks(networks, std::move(*wanted), *taken);
  }

  Result<void> operator()(const Reload& /*command*/) const { return {}; }
};

/// What a command tells of its success.
struct Outcome {
  const Networks& networks;
  bool json;

  void operator()(const CreateNetwork& command) const {
    const Network* network = find_network(networks, command.network.name);
    if (network == nullptr) return;
    std::string subnets;
    for (const Subnet& subnet : network->subnets) subnets += subnet.to_string() + ", ";
    show(*network, fmt::format("{}: {}bridge {}, mode {}\n", network->name, subnets,
                               network->bridge, mode_name(network->mode)));
  }

  void operator()(const Attach& command) const {
    const Network* network = find_network(networks, command.network);
    if (network == nullptr) return;
    const Container* container = find_container(*network, command.container.name);
    if (container == nullptr) return;
    std::string addresses;
    for (const IpAddress& address : container->addresses) addresses += address.to_string() + ", ";
    show(*network, fmt::format("{}: {}{}, on the host {}\n", container->name, addresses,
                               container->ifname, container->host_ifname));
  }

  template <typename Other>
  void operator()(const Other& /*command*/) const {
    if (json) print(networks_text(networks));
  }

  void show(const Network& network, const std::string& text) const {
    print(json ? network_text(network) : text);
  }
};

Result<void> show_plan(KernelHost& host, const State& state, const Networks& wanted, Extent extent,
                       bool json) {
  const auto change = plan_change(host, state, wanted, extent);
  if (!change) return std::unexpected(change.error());
  print(json ? planned_json(*change) : planned_text(*change));
  return {};
}

}  // namespace

Result<void> run_edit(const NetCommandLine& line, const EditCommand& command) {
  StateDirectory directory(line.state_directory);
  if (!line.dry_run) {
    if (auto locked = directory.lock(line.text); !locked) return locked;
  }
  auto state = directory.load();
  if (!state) return std::unexpected(state.error());
  const auto loaded = directory.load_unfinished();
  if (!loaded) return std::unexpected(loaded.error());
  const std::optional<Unfinished>& unfinished = *loaded;
  Notes notes;
  const auto host =
      KernelHost::open({line.firewall, line.proxy_program}, state->backend, directory, notes);
  if (!host) return std::unexpected(host.error());
  if (unfinished) {
    if (line.dry_run) return failed("a run was cut short: `fairlead-net reload` takes it back");
    if (auto done = recover(**host, *state, *unfinished, notes); !done) return done;
  }

  Networks wanted = state->networks;
  if (auto edited = std::visit(Editing{wanted, (*host)->links()}, command); !edited) return edited;
  if (auto checked = check_networks(wanted); !checked) return checked;
  const Extent extent =
      std::holds_alternative<Reload>(command) ? Extent::everything : Extent::differences;
  if (line.dry_run) return show_plan(**host, *state, wanted, extent, line.json);
  if (auto changed = change(**host, *state, std::move(wanted), extent, notes); !changed) {
    return changed;
  }
  for (const std::string& note : notes) std::cerr << "fairlead-net: note: " << note << "\n";
  std::visit(Outcome{state->networks, line.json}, command);
  return {};
}

}  // namespace fairlead
