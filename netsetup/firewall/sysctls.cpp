// Theory of operation
//
// The two switches of forwarding, net.ipv4.ip_forward and net.ipv6.conf.all.forwarding, are no
// values of their own: writing one writes conf.IF.forwarding of every interface. So when a switch
// is recorded, the interfaces that forwarded before are recorded with it, as changed from 1 to 1;
// and while a switch is on, no conf.IF.forwarding is given back. When it goes off, the interfaces
// follow it first and then get their own values back.

#include "netsetup/firewall/sysctls.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <utility>

#include "proxy/net/file_descriptor.h"

namespace fairlead {
namespace {

constexpr std::string_view kSwitchV4 = "net/ipv4/ip_forward";
constexpr std::string_view kSwitchV6 = "net/ipv6/conf/all/forwarding";

/// The switch that writes this setting as well; empty for other settings.
std::string_view switch_over(std::string_view path) {
  if (!path.ends_with("/forwarding") || path == kSwitchV6) return {};
  if (path.starts_with("net/ipv4/conf/")) return kSwitchV4;
  if (path.starts_with("net/ipv6/conf/")) return kSwitchV6;
  return {};
}

std::string file_of(std::string_view path) { return fmt::format("/proc/sys/{}", path); }

/// Nothing: there is no such setting here.
Result<std::optional<std::string>> read_setting(std::string_view path) {
  const std::string file = file_of(path);
  const FileDescriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) {
    if (errno == ENOENT) return std::nullopt;
    return failed("open " + file, errno);
  }
  std::array<char, 256> buffer{};
  const ssize_t size = ::read(fd.get(), buffer.data(), buffer.size());
  if (size < 0) return failed("read " + file, errno);
  std::string value(buffer.data(), static_cast<std::size_t>(size));
  while (!value.empty() && value.back() == '\n') value.pop_back();
  return value;
}

Result<void> write_setting(std::string_view path, const std::string& value) {
  const std::string file = file_of(path);
  const FileDescriptor fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return failed("open " + file, errno);
  if (::write(fd.get(), value.data(), value.size()) < 0) {
    return failed(fmt::format("write {} to {}", value, file), errno);
  }
  return {};
}

Result<void> make_settings(const std::vector<SysctlSetting>& wanted) {
  for (const SysctlSetting& setting : wanted) {
    auto current = read_setting(setting.path);
    if (!current) return std::unexpected(std::move(current.error()));
    if (*current == setting.value) continue;
    if (auto written = write_setting(setting.path, setting.value); !written) return written;
  }
  return {};
}

template <typename Entries>
auto find_path(Entries& entries, std::string_view path) {
  return std::ranges::find_if(entries, [&](const auto& entry) { return entry.path == path; });
}

template <typename Entries>
bool has_path(const Entries& entries, std::string_view path) {
  return find_path(entries, path) != entries.end();
}

/// The interfaces that forward although their switch is off.
Result<void> record_forwarding_interfaces(std::string_view forwarding_switch,
                                          std::vector<SysctlRecord>& records) {
  const std::string family = forwarding_switch == kSwitchV4 ? "ipv4" : "ipv6";
  std::error_code error;
  const std::string directory = file_of("net/" + family + "/conf");
  // Not a range-for: its step throws where reading on fails.
  for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string interface = entry->path().filename().string();
    const std::string path = fmt::format("net/{}/conf/{}/forwarding", family, interface);
    if (interface == "all" || has_path(records, path)) continue;
    auto current = read_setting(path);
    if (!current) return std::unexpected(std::move(current.error()));
    if (*current == "1") records.push_back({path, "1", "1"});
  }
  if (error) return failed("read " + directory, error.value());
  return {};
}

Result<void> record_setting(const SysctlSetting& setting, std::vector<SysctlRecord>& records) {
  const auto known = find_path(records, setting.path);
  if (known != records.end()) {
    known->ours = setting.value;
    return {};
  }
  const auto current = read_setting(setting.path);
  if (!current) return std::unexpected(current.error());
  if (!current->has_value()) return failed("open " + file_of(setting.path), ENOENT);
  std::string before = current->value_or("");
  // What it would be if the switch were not on.
  const auto over = find_path(records, switch_over(setting.path));
  if (over != records.end()) before = over->before;
  if (before == setting.value) return {};
  records.push_back({setting.path, before, setting.value});
  if (setting.path != kSwitchV4 && setting.path != kSwitchV6) return {};
  return record_forwarding_interfaces(setting.path, records);
}

/// Settings in their order, each once.
class Plan {
 public:
  void add(std::string path, std::string_view value) {
    if (!has_path(settings_, path)) settings_.push_back({std::move(path), std::string(value)});
  }
  void add(std::string_view family, std::string_view interface, std::string_view name,
           std::string_view value) {
    add(fmt::format("net/{}/conf/{}/{}", family, interface, name), value);
  }
  std::vector<SysctlSetting> take() { return std::move(settings_); }

 private:
  std::vector<SysctlSetting> settings_;
};

/// Whether packets are forwarded for the network in that family.
bool forwards(const Network& network, Family family) {
  return !network.internal && network.subnet_index(family).has_value();
}

bool needs_switch(const Network& network, Family family, const SysctlFacts& facts) {
  if (!forwards(network, family)) return false;
  if (network.forwarding == Forwarding::all) return true;
  // Before that setting, IPv6 forwarded everywhere or nowhere.
  return family == Family::v6 && !facts.ipv6_forwarding_by_interface;
}

void plan_switches(const Networks& networks, const SysctlFacts& facts, Plan& plan) {
  const auto needed = [&](Family family) {
    return std::ranges::any_of(
        networks, [&](const Network& network) { return needs_switch(network, family, facts); });
  };
  if (needed(Family::v4)) plan.add(std::string(kSwitchV4), "1");
  if (!needed(Family::v6)) return;
  // Before the switch: at that moment the kernel forgets the default routes that it was advertised.
  for (const std::string& interface : facts.advertised) {
    plan.add("ipv6", interface, "accept_ra", "2");
  }
  plan.add(std::string(kSwitchV6), "1");
}

void plan_interfaces(const Network& network, const SysctlFacts& facts, Plan& plan) {
  std::vector<std::string> interfaces = facts.uplinks;
  interfaces.push_back(network.bridge);
  for (const std::string& interface : interfaces) {
    if (forwards(network, Family::v4)) plan.add("ipv4", interface, "forwarding", "1");
    if (forwards(network, Family::v6) && facts.ipv6_forwarding_by_interface) {
      plan.add("ipv6", interface, "force_forwarding", "1");
    }
  }
}

}  // namespace

Result<SysctlFacts> read_sysctl_facts(std::vector<std::string> uplinks,
                                      const std::vector<SysctlRecord>& records) {
  SysctlFacts facts{.uplinks = std::move(uplinks), .advertised = {}};
  const auto ipv6 = read_setting(kSwitchV6);
  if (!ipv6) return std::unexpected(ipv6.error());
  facts.ipv6 = ipv6->has_value();
  const auto by_interface = read_setting("net/ipv6/conf/all/force_forwarding");
  if (!by_interface) return std::unexpected(by_interface.error());
  facts.ipv6_forwarding_by_interface = by_interface->has_value();
  for (const std::string& interface : facts.uplinks) {
    const auto forwarding = read_setting(fmt::format("net/ipv6/conf/{}/forwarding", interface));
    if (!forwarding) return std::unexpected(forwarding.error());
    const auto accept_ra = read_setting(fmt::format("net/ipv6/conf/{}/accept_ra", interface));
    if (!accept_ra) return std::unexpected(accept_ra.error());
    // A host that was no router before takes advertisements where accept_ra is 1; we make it 2.
    const bool router = *forwarding == "1" && !has_path(records, kSwitchV6);
    if (*accept_ra == "2" || (*accept_ra == "1" && !router)) facts.advertised.push_back(interface);
  }
  return facts;
}

std::vector<SysctlSetting> plan_sysctls(const Networks& networks, const SysctlFacts& facts) {
  Plan plan;
  // The switches first, since they write the settings of interfaces.
  plan_switches(networks, facts, plan);
  for (const Network& network : networks) {
    if (network.forwarding == Forwarding::interface) plan_interfaces(network, facts, plan);
    if (network.mode == Mode::dnat && forwards(network, Family::v4)) {
      plan.add("ipv4", network.bridge, "route_localnet", "1");
    }
    // No container is to make itself the host's router.
    if (facts.ipv6 && !network.adopted) plan.add("ipv6", network.bridge, "accept_ra", "0");
  }
  return plan.take();
}

Result<std::vector<SysctlRecord>> record_sysctls(const std::vector<SysctlSetting>& wanted,
                                                 std::vector<SysctlRecord> records) {
  for (const SysctlSetting& setting : wanted) {
    if (auto recorded = record_setting(setting, records); !recorded) {
      return std::unexpected(std::move(recorded.error()));
    }
  }
  return records;
}

Result<std::vector<SysctlRecord>> apply_sysctls(const std::vector<SysctlSetting>& wanted,
                                                const std::vector<SysctlRecord>& records) {
  if (auto made = make_settings(wanted); !made) return std::unexpected(std::move(made.error()));
  std::vector<SysctlRecord> kept;
  std::vector<SysctlRecord> due;
  for (const SysctlRecord& record : records) {
    if (has_path(wanted, record.path) || has_path(wanted, switch_over(record.path))) {
      kept.push_back(record);
      continue;
    }
    auto current = read_setting(record.path);
    if (!current) return std::unexpected(std::move(current.error()));
    if (*current == record.ours) due.push_back(record);
  }
  // Judged before any is written: a switch changes what is seen of the others.
  for (const SysctlRecord& record : due) {
    if (auto written = write_setting(record.path, record.before); !written) {
      return std::unexpected(std::move(written.error()));
    }
  }
  if (auto made = make_settings(wanted); !made) return std::unexpected(std::move(made.error()));
  return kept;
}

}  // namespace fairlead
