// The state as files:
//
//   networks/NETWORK.json       one for each network: network/document.h
//   host.json                   firewall back end and changed kernel settings
//   unfinished.json             the change that is under way; there when a run was killed in it
//   log/NETWORK:CONTAINER.log   what the proxy of a container says
//   metrics/PID.sock            where a proxy serves what it has counted
//   proxies/LINK                where the proxy of the container with that link on the host hands
//                               over to the next
//   lock                        held by the one writer there may be; says who that is
//
// Every file is written beside its place and renamed, so that whoever reads, or comes after a
// kill -9, finds the old one or the new one.

#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "netsetup/state/state.h"
#include "proxy/mapping/error.h"
#include "proxy/net/file_descriptor.h"

namespace fairlead {

inline constexpr const char* kDefaultStateDirectory = "/run/fairlead";
/// Longest path of one, in bytes: a proxy has a socket within it, and those have a limit (unix(7)).
inline constexpr std::size_t kStateDirectoryMax = 79;
/// How long a writer waits for another one.
inline constexpr std::chrono::milliseconds kLockPatience{5000};

class StateDirectory {
 public:
  explicit StateDirectory(std::string path) : path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  /// Where the proxy of a container writes its log.
  std::string log_path(const Network& network, const Container& container) const;
  /// Is there while a change is under way, and where one was cut short.
  std::string unfinished_path() const { return path_ + "/unfinished.json"; }
  /// Where the proxies serve their metrics, and where that one does.
  std::string metrics_directory() const { return path_ + "/metrics"; }
  std::string metrics_path(const ProxyProcess& proxy) const;
  /// Where the proxy of a container hands over to the next.
  std::string handover_path(const Container& container) const;

  /// Makes the directory where it is missing, and becomes its one writer until the end of this
  /// process. `command` is what others are told. Error: another one still is after kLockPatience,
  /// and who.
  Result<void> lock(std::string_view command);

  /// What was saved; nothing at all where there is no directory. Error: a file cannot be read or is
  /// not what this program writes, and stays as it is.
  Result<State> load();
  Result<std::optional<Unfinished>> load_unfinished() const;

  /// The following need the lock.
  Result<void> save_host(const State& state);
  /// Writes the networks of `to` that differ from those of `from`, and removes what is too much:
  /// logs of containers as well, and sockets that proxies have left behind.
  Result<void> save_networks(const Networks& from, const Networks& to);
  Result<void> save_unfinished(const Unfinished& unfinished);
  Result<void> remove_unfinished() const;

 private:
  /// A network as it was last read or written down.
  struct Written {
    Network network;
    std::string text;
  };

  std::string network_path(std::string_view name) const;
  /// Of proxies that were killed, or may not remove them as the user they are.
  Result<void> remove_sockets_but_of(const Networks& networks) const;
  /// As network_text(). Ten thousand ports take 2 ms to write down, so it is done once.
  const std::string& text_of(const Network& network);
  /// A JSON array of networks.
  std::string list_of(const Networks& networks);

  std::string path_;
  std::map<std::string, Written> written_;
  FileDescriptor lock_;
};

}  // namespace fairlead
