#include "docker/proxy_setting.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "docker/daemon_text.h"
#include "docker/running_daemon.h"
#include "docker/text_file.h"

namespace fairlead {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kPathKey = "userland-proxy-path";
constexpr const char* kSwitchKey = "userland-proxy";

/// What enable() found.
struct Before {
  /// The value it wrote: whatever else stands there later is somebody else's.
  std::string written;
  /// The value that stood there, as JSON; nothing when there was none.
  std::optional<std::string> value;
  /// The file, and the directory, were made by enable().
  bool no_file = false;
  bool no_directory = false;
};

std::string record_path(const std::string& config) { return config + ".fairlead"; }

Result<std::optional<Before>> read_record(const std::string& config) {
  const std::string path = record_path(config);
  const auto text = read_text_file(path);
  if (!text) return std::unexpected(text.error());
  const std::optional<std::string>& contents = *text;
  if (!contents) return std::nullopt;
  try {
    const Json json = Json::parse(*contents);
    Before before;
    before.written = json.at("written").get<std::string>();
    if (json.contains("value")) before.value = json.at("value").get<std::string>();
    before.no_file = json.at("no-file").get<bool>();
    before.no_directory = json.at("no-directory").get<bool>();
    return before;
  } catch (const Json::exception&) {
    return failed(path + ": not as fairlead-docker wrote it; remove it to go on without");
  }
}

Result<void> write_record(const std::string& config, const Before& before) {
  Json json;
  json["written"] = before.written;
  if (before.value) json["value"] = *before.value;
  json["no-file"] = before.no_file;
  json["no-directory"] = before.no_directory;
  return replace_text_file(record_path(config), json.dump(2) + "\n");
}

/// What was there before is there again.
Result<void> forget(const std::string& config, const Before& before) {
  if (const auto removed = remove_text_file(record_path(config)); !removed) return removed;
  // Fails when something else has come to be in it.
  if (before.no_directory) ::rmdir(std::filesystem::path(config).parent_path().c_str());
  return {};
}

/// Nothing when there is no such file.
Result<std::optional<DaemonText>> read_config(const std::string& config) {
  auto text = read_text_file(config);
  if (!text) return std::unexpected(text.error());
  std::optional<std::string>& contents = *text;
  if (!contents) return std::nullopt;
  auto parsed = DaemonText::parse(std::move(*contents));
  if (!parsed) return failed(config + ":" + parsed.error().message);
  return std::move(*parsed);
}

Result<std::optional<std::string>> string_member(const std::string& config, const DaemonText& text,
                                                 const char* key) {
  const auto value = text.find(key);
  if (!value) return std::nullopt;
  const Json json = Json::parse(*value);
  if (!json.is_string()) return failed(config + ": \"" + key + "\": accepted: a string");
  return json.get<std::string>();
}

/// The path that the file names, if any.
Result<std::optional<std::string>> named_proxy(const std::string& config,
                                               const std::optional<DaemonText>& text) {
  if (!text) return std::nullopt;
  return string_member(config, *text, kPathKey);
}

Result<std::optional<RunningDaemon>> running_daemon(const std::string& config,
                                                    const std::optional<DaemonText>& text) {
  std::string pid_file = kDefaultPidFile;
  if (text) {
    const auto named = string_member(config, *text, "pidfile");
    if (!named) return std::unexpected(named.error());
    pid_file = named->value_or(pid_file);
  }
  return find_running_daemon(pid_file);
}

Result<void> check_proxy(const std::string& proxy) {
  if (!proxy.starts_with('/')) return failed("--proxy " + proxy + ": accepted: an absolute path");
  struct stat facts{};
  if (::stat(proxy.c_str(), &facts) < 0) return failed("the proxy " + proxy, errno);
  if (!S_ISREG(facts.st_mode) || ::access(proxy.c_str(), X_OK) < 0) {
    return failed("the proxy " + proxy + " is no executable file");
  }
  return {};
}

/// Whether a daemon with this file starts, and starts proxies.
Result<void> check_daemon(const std::string& config, const std::optional<DaemonText>& text,
                          const std::optional<RunningDaemon>& daemon) {
  if (text && text->find(kSwitchKey) == "false") {
    return failed(config + ": \"" + kSwitchKey +
                  "\" is false, so Docker starts no proxy at all; remove that line first");
  }
  if (!daemon) return {};
  for (const char* key : {kPathKey, kSwitchKey}) {
    if (const auto value = daemon->option(key); value && (key == kPathKey || value == "false")) {
      return failed("dockerd (pid " + std::to_string(daemon->pid) + ") has --" + key + " " +
                    *value +
                    " on its command line, which the file must not contradict; take it out there "
                    "first");
    }
  }
  return {};
}

/// When the file became what it is, by the clock that dates files. Where it is not there, its
/// directory tells when it went, unless what changed the directory last is still in it: a daemon
/// that starts for the first time leaves its key there.
std::optional<std::chrono::nanoseconds> last_change(const std::string& config) {
  const auto since_epoch = [](const timespec& time) {
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
  };
  struct stat facts{};
  if (::stat(config.c_str(), &facts) == 0) return since_epoch(facts.st_mtim);
  const std::filesystem::path directory = std::filesystem::path(config).parent_path();
  if (::stat(directory.c_str(), &facts) < 0) return std::nullopt;
  const auto changed = since_epoch(facts.st_mtim);
  std::error_code code;
  // Not a range-for: its step throws where reading on fails.
  for (std::filesystem::directory_iterator entry(directory, code), end; !code && entry != end;
       entry.increment(code)) {
    if (::lstat(entry->path().c_str(), &facts) == 0 && since_epoch(facts.st_ctim) >= changed) {
      return std::nullopt;
    }
  }
  return changed;
}

/// Whether the file has changed since the daemon has read it.
bool is_older_than_file(const RunningDaemon& daemon, const std::string& config) {
  const auto changed = last_change(config);
  return changed && daemon.started.time_since_epoch() < *changed;
}

std::string daemon_text(const std::optional<RunningDaemon>& daemon, const std::string& config) {
  if (!daemon) return "no dockerd runs here; the next one reads it when it starts\n";
  std::string text = "dockerd (pid " + std::to_string(daemon->pid) + ") ";
  text += is_older_than_file(*daemon, config)
              ? "has not read it yet, and a reload does not: systemctl restart docker\n"
              : "has started with it\n";
  for (const auto& [program, count] : daemon->proxies) {
    text += "  " + std::to_string(count) + " of its proxies run " + program + "\n";
  }
  return text;
}

std::string setting_text(const std::string& config, const std::optional<std::string>& named) {
  return config + ": " +
         (named ? std::string(kPathKey) + " is " + *named : "Docker's own proxy is used") + "\n";
}

Result<void> write_setting(const std::string& config, const std::optional<DaemonText>& text,
                           const std::optional<std::string>& named, const std::string& proxy) {
  const auto record = read_record(config);
  if (!record) return std::unexpected(record.error());
  const std::optional<Before>& earlier = *record;
  const std::filesystem::path directory = std::filesystem::path(config).parent_path();
  Before before;
  if (earlier && named == earlier->written) {
    before = *earlier;
  } else {
    before.no_file = !text;
    before.no_directory = ::mkdir(directory.c_str(), 0755) == 0;
    if (text) before.value = text->find(kPathKey);
  }
  before.written = proxy;
  if (const auto kept = write_record(config, before); !kept) return kept;

  const std::string value = Json(proxy).dump();
  std::string changed = std::string("{\n  \"") + kPathKey + "\": " + value + "\n}\n";
  if (text) {
    DaemonText edited = *text;
    edited.set(kPathKey, value);
    changed = edited.text();
  }
  const auto written = replace_text_file(config, changed);
  if (!written && !earlier) (void)forget(config, before);
  return written;
}

/// REQUIRES: the file names the proxy that enable() wrote, or ours.
Result<void> take_back(const std::string& config, DaemonText text,
                       const std::optional<Before>& before) {
  if (before && before->value) {
    text.set(kPathKey, *before->value);
  } else {
    text.remove(kPathKey);
  }
  if (before && before->no_file && text.empty()) return remove_text_file(config);
  return replace_text_file(config, text.text());
}

}  // namespace

Result<std::string> ProxySetting::enable() const {
  if (const auto checked = check_proxy(proxy); !checked) return std::unexpected(checked.error());
  const auto text = read_config(config);
  if (!text) return std::unexpected(text.error());
  const auto named = named_proxy(config, *text);
  if (!named) return std::unexpected(named.error());
  const auto daemon = running_daemon(config, *text);
  if (!daemon) return std::unexpected(daemon.error());
  if (const auto checked = check_daemon(config, *text, *daemon); !checked) {
    return std::unexpected(checked.error());
  }
  if (*named != proxy) {
    if (const auto written = write_setting(config, *text, *named, proxy); !written) {
      return std::unexpected(written.error());
    }
  }
  return setting_text(config, proxy) + daemon_text(*daemon, config);
}

Result<std::string> ProxySetting::disable() const {
  const auto read = read_config(config);
  if (!read) return std::unexpected(read.error());
  const std::optional<DaemonText>& text = *read;
  const auto named = named_proxy(config, text);
  if (!named) return std::unexpected(named.error());
  const auto record = read_record(config);
  if (!record) return std::unexpected(record.error());
  const std::optional<Before>& before = *record;

  const bool ours = *named == proxy || (before && *named == before->written);
  if (text && ours) {
    if (const auto taken = take_back(config, *text, before); !taken) {
      return std::unexpected(taken.error());
    }
  }
  if (before) {
    if (const auto done = forget(config, *before); !done) return std::unexpected(done.error());
  }
  return status();
}

Result<std::string> ProxySetting::status() const {
  const auto text = read_config(config);
  if (!text) return std::unexpected(text.error());
  const auto named = named_proxy(config, *text);
  if (!named) return std::unexpected(named.error());
  const auto daemon = running_daemon(config, *text);
  if (!daemon) return std::unexpected(daemon.error());
  return setting_text(config, *named) + daemon_text(*daemon, config);
}

}  // namespace fairlead
