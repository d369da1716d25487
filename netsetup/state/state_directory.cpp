#include "netsetup/state/state_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <set>
#include <system_error>
#include <thread>

#include "netsetup/network/document.h"
#include "netsetup/network/json_reader.h"
#include "netsetup/state/text_file.h"
#include "proxy/process/socket_file.h"

namespace fairlead {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kFileMode = 0644;
constexpr std::string_view kNetworkSuffix = ".json";

Result<void> make_directories(const std::string& path) {
  std::error_code code;
  fs::create_directories(path, code);
  if (code) return failed("make directory " + path, code.value());
  return {};
}

Result<void> parse_host(std::string_view text, const std::string& where, State& state) {
  const auto json = parse_json(text, where);
  if (!json) return std::unexpected(json.error());
  JsonReader reader(*json, where);
  reader.read("firewall", state.backend, [](std::string_view name) -> Result<Backend> {
    if (const auto backend = parse_backend(name)) return *backend;
    return failed("\"" + std::string(name) + "\" is no firewall back end");
  });
  reader.read_objects("sysctls", [&](JsonReader& item) -> Result<void> {
    SysctlRecord record;
    item.read("path", record.path);
    item.read("before", record.before);
    item.read("ours", record.ours);
    state.sysctls.push_back(std::move(record));
    return item.finish();
  });
  return reader.finish();
}

std::string host_text(const State& state) {
  Json json = Json::object();
  if (state.backend) json["firewall"] = backend_name(*state.backend);
  Json sysctls = Json::array();
  for (const SysctlRecord& record : state.sysctls) {
    sysctls.push_back({{"path", record.path}, {"before", record.before}, {"ours", record.ours}});
  }
  json["sysctls"] = std::move(sysctls);
  return json.dump(2) + "\n";
}

}  // namespace

std::string StateDirectory::network_path(std::string_view name) const {
  return fmt::format("{}/networks/{}{}", path_, name, kNetworkSuffix);
}

std::string StateDirectory::log_path(const Network& network, const Container& container) const {
  // No name contains a colon.
  return fmt::format("{}/log/{}:{}.log", path_, network.name, container.name);
}

std::string StateDirectory::metrics_path(const ProxyProcess& proxy) const {
  return fmt::format("{}/{}.sock", metrics_directory(), proxy.pid);
}

std::string StateDirectory::handover_path(const Container& container) const {
  return fmt::format("{}/proxies/{}", path_, container.host_ifname);
}

Result<void> StateDirectory::lock(std::string_view command) {
  for (const char* directory : {"/networks", "/log", "/metrics", "/proxies"}) {
    if (auto made = make_directories(path_ + directory); !made) return made;
  }
  const std::string path = path_ + "/lock";
  FileDescriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kFileMode));
  if (!file) return failed("open " + path, errno);
  const auto end = std::chrono::steady_clock::now() + kLockPatience;
  while (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return failed("lock " + path, errno);
    if (std::chrono::steady_clock::now() >= end) {
      std::string holder = read_file(path).value_or("");
      std::erase(holder, '\n');
      return failed(fmt::format("{} is held by {}; waited {} s for it", path,
                                holder.empty() ? "another process" : holder,
                                kLockPatience.count() / 1000));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  const std::string holder = fmt::format("process {} (fairlead-net {})\n", ::getpid(), command);
  if (::ftruncate(file.get(), 0) != 0) return failed("write " + path, errno);
  if (auto written = write_all(file.get(), holder); !written) return written;
  lock_ = std::move(file);
  return {};
}

const std::string& StateDirectory::text_of(const Network& network) {
  const auto found = written_.find(network.name);
  if (found != written_.end() && found->second.network == network) return found->second.text;
  return written_.insert_or_assign(network.name, Written{network, network_text(network)})
      .first->second.text;
}

std::string StateDirectory::list_of(const Networks& networks) {
  std::string list = "[";
  for (const Network& network : networks) {
    if (list.size() > 1) list += ",";
    list += text_of(network);
  }
  return list + "]";
}

Result<State> StateDirectory::load() {
  State state;
  const std::string host = path_ + "/host.json";
  const auto host_file = read_file_if_any(host);
  if (!host_file) return std::unexpected(host_file.error());
  if (const std::optional<std::string>& text = *host_file; text) {
    if (auto parsed = parse_host(*text, host, state); !parsed) {
      return std::unexpected(parsed.error());
    }
  }

  std::error_code code;
  std::vector<std::string> paths;
  for (fs::directory_iterator entry(path_ + "/networks", code), end; !code && entry != end;
       entry.increment(code)) {
    if (entry->path().extension() == kNetworkSuffix) paths.push_back(entry->path().string());
  }
  if (code && code.value() != ENOENT) return failed("read " + path_ + "/networks", code.value());
  for (const std::string& path : paths) {
    auto file = read_file_if_any(path);
    if (!file) return std::unexpected(file.error());
    std::optional<std::string>& document = *file;
    // Removed since the directory was read.
    if (!document) continue;
    auto network = parse_network(*document, path);
    if (!network) return std::unexpected(network.error());
    if (network_path(network->name) != path) {
      return failed(path + ": names network " + network->name + ", which belongs elsewhere");
    }
    written_.insert_or_assign(network->name, Written{*network, std::move(*document)});
    state.networks.push_back(std::move(*network));
  }
  std::ranges::sort(state.networks, {}, &Network::name);
  return state;
}

Result<std::optional<Unfinished>> StateDirectory::load_unfinished() const {
  const std::string path = unfinished_path();
  const auto file = read_file_if_any(path);
  if (!file) return std::unexpected(file.error());
  const std::optional<std::string>& text = *file;
  if (!text) return std::nullopt;
  const auto json = parse_json(*text, path);
  if (!json) return std::unexpected(json.error());
  JsonReader reader(*json, path);
  Unfinished unfinished;
  read_networks(reader, "before", unfinished.before);
  read_networks(reader, "after", unfinished.after);
  if (auto finished = reader.finish(); !finished) return std::unexpected(finished.error());
  return unfinished;
}

Result<void> StateDirectory::save_host(const State& state) {
  const std::string path = path_ + "/host.json";
  if (!state.backend && state.sysctls.empty()) return remove_file(path);
  return replace_file(path, host_text(state));
}

Result<void> StateDirectory::remove_sockets_but_of(const Networks& networks) const {
  std::set<std::string> kept;
  for (const Network& network : networks) {
    for (const Container& container : network.containers) {
      if (!container.proxy) continue;
      const std::string handover = handover_path(container);
      kept.insert({metrics_path(*container.proxy), handover, SocketFile::displaced_path(handover)});
    }
  }
  std::vector<std::string> left;
  for (const std::string& directory : {metrics_directory(), path_ + "/proxies"}) {
    std::error_code code;
    for (fs::directory_iterator entry(directory, code), end; !code && entry != end;
         entry.increment(code)) {
      if (!kept.contains(entry->path().string())) left.push_back(entry->path().string());
    }
    if (code) return failed("read " + directory, code.value());
  }
  for (const std::string& path : left) {
    if (auto removed = remove_file(path); !removed) return removed;
  }
  return {};
}

Result<void> StateDirectory::save_networks(const Networks& from, const Networks& to) {
  for (const Network& network : to) {
    const Network* before = find_network(from, network.name);
    if (before != nullptr && *before == network) continue;
    auto written = replace_file(network_path(network.name), text_of(network));
    if (!written) return written;
  }
  for (const Network& network : from) {
    const Network* after = find_network(to, network.name);
    for (const Container& container : network.containers) {
      if (after != nullptr && find_container(*after, container.name) != nullptr) continue;
      if (auto removed = remove_file(log_path(network, container)); !removed) return removed;
    }
    if (after != nullptr) continue;
    if (auto removed = remove_file(network_path(network.name)); !removed) return removed;
  }
  return remove_sockets_but_of(to);
}

Result<void> StateDirectory::save_unfinished(const Unfinished& unfinished) {
  const std::string before = list_of(unfinished.before);
  return replace_file(unfinished_path(), fmt::format("{{\"before\": {},\n\"after\": {}}}\n", before,
                                                     list_of(unfinished.after)));
}

Result<void> StateDirectory::remove_unfinished() const { return remove_file(unfinished_path()); }

}  // namespace fairlead
