// Where backend sockets come from.

#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "proxy/dial/container_netns.h"
#include "proxy/dial/network_namespace.h"
#include "proxy/dial/source_address.h"
#include "proxy/engine/engine.h"
#include "proxy/log/log.h"
#include "proxy/mapping/endpoint.h"
#include "proxy/mapping/error.h"
#include "proxy/mapping/protocol.h"
#include "proxy/net/socket_address.h"
#include "proxy/relay/deadlines.h"

namespace fairlead {

/// --container-netns and --source.
struct DialSettings {
  ContainerNetns netns{};
  Source source = Source::gateway;
  /// The namespace to come back to; nothing when none is left. Kept from the start: a thread that
  /// is started later begins in whatever namespace the thread that starts it is in then.
  std::shared_ptr<const NetworkNamespace> host{};
};

/// Sets `host` to the namespace of the calling thread if these settings need one. To be called
/// before the first dial.
Result<void> keep_host_namespace(DialSettings& settings);

/// Makes the backend sockets of one loop, in the network namespace of each container where that is
/// asked for and can be done, otherwise in the host's: that is the plain dial, and the log says
/// why.
///
/// It is the only one to move the loop's thread between namespaces, and it leaves it in the one
/// that was needed last: whatever else the thread makes that belongs to a namespace must be made
/// before the first dial. Not thread-safe; one for each thread.
class Dialler final : private DeadlineList::Owner {
 public:
  Dialler(Engine& engine, Deadlines& deadlines, const DialSettings& settings);
  Dialler(const Dialler&) = delete;
  Dialler& operator=(const Dialler&) = delete;
  ~Dialler();

  /// A non-blocking socket for a client, to be connected to `backend`, or -errno. SCTP is
  /// dialled from the host unless the source is the container.
  int open_socket(Protocol protocol, const SocketAddress& backend, const Endpoint& client);

  /// Whether open_socket() looks at the client.
  bool needs_client() const {
    return settings_.netns.kind != ContainerNetns::Kind::host && settings_.source == Source::client;
  }

  /// Whether the next dial of `backend` would be made in another namespace than this socket is in:
  /// the container has been started again. To be asked when the backend cannot be reached.
  bool is_outdated(int fd, const SocketAddress& backend);

  /// Moves the thread back to the host's namespace, and lets go of all others.
  void go_home();

 private:
  /// What was found out about the namespace of a container is believed so long. Then it is let go
  /// of, and found again when the next client comes: it may have been set up anew, and one that
  /// has ended is not kept alive by us.
  static constexpr TimeMs kBelievedMs = 3'000;
  /// After a failure.
  static constexpr TimeMs kRetryMs = 1'000;

  /// What the log tells of a container: each outcome when it is another than before.
  enum class Matter : std::uint8_t { netns, source, datagrams, sctp };

  /// An address that is dialled.
  struct Container : Deadline {
    IpAddress address;
    std::optional<NetworkNamespace> netns;
    /// What the service sees without the namespace: IpAddress::any() when the host has no way
    /// to the container.
    IpAddress gateway;
    /// Where the namespace was last, which is where it is looked for first.
    std::string last_path;
    TimeMs retry_at = 0;
    /// Whether answers to datagrams are led back; nothing while no datagram has been dialled.
    std::optional<bool> datagrams_return;
    /// The last line of the log about each matter.
    std::array<std::string, 4> told;
  };

  void on_deadline(Deadline& deadline) override;
  Container& container_at(const IpAddress& address);
  bool may_be_inside(Protocol protocol, Container& container) const;
  bool enter_namespace_of(Container& container);
  std::optional<int> open_inside(Protocol protocol, const SocketAddress& backend,
                                 const Endpoint& client, Container& container);
  std::optional<int> open_bound(Protocol protocol, const SocketAddress& backend,
                                const Endpoint& source, Container& container);
  Result<NetworkNamespace> find(Container& container);
  Result<NetworkNamespace> look_for(const Container& container);
  Result<NetworkNamespace> open(const std::string& path, const IpAddress& address);
  bool datagrams_return(Container& container);
  Result<void> move_to(const NetworkNamespace& netns);
  Result<void> go_to_host();
  void let_go(Container& container);
  std::string source_text(const Container& container) const;
  static void tell(Container& container, Matter matter, LogLevel level, const std::string& line);

  Engine& engine_;
  Deadlines& deadlines_;
  DialSettings settings_;
  /// Where the thread is, once it may have moved.
  std::optional<NamespaceId> here_;
  std::map<IpAddress, Container> containers_;
  /// Why clients could not keep their addresses, as far as it was told.
  std::set<std::string_view> told_obstacles_;
  DeadlineList believed_;
};

}  // namespace fairlead
