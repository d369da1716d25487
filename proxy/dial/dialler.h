// Where backend sockets come from.

#pragma once

#include <boost/intrusive/list.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "proxy/dial/container_netns.h"
#include "proxy/dial/network_namespace.h"
#include "proxy/engine/engine.h"
#include "proxy/mapping/endpoint.h"
#include "proxy/mapping/error.h"
#include "proxy/mapping/protocol.h"
#include "proxy/net/socket_address.h"
#include "proxy/relay/deadlines.h"

namespace fairlead {

/// --container-netns.
struct DialSettings {
  ContainerNetns netns{};
};

/// Makes the backend sockets of one loop, in the network namespace of each container where that is
/// asked for and can be done, otherwise in the host's: that is the plain dial, and the log says
/// why.
///
/// It is the only one to move the loop's thread between namespaces, and it leaves it in the one
/// that was needed last: whatever else the thread makes that belongs to a namespace must be made
/// before the first dial, or after go_home(). Not thread-safe; one for each thread.
class Dialler final : private DeadlineList::Owner {
 public:
  Dialler(Engine& engine, Deadlines& deadlines, const DialSettings& settings);
  Dialler(const Dialler&) = delete;
  Dialler& operator=(const Dialler&) = delete;
  ~Dialler();

  /// A non-blocking socket that is to be connected to `backend`, or -errno. SCTP is always dialled
  /// from the host.
  int open_socket(Protocol protocol, const SocketAddress& backend);

  /// Moves the thread back to the namespace it started in, and lets go of all others.
  void go_home();

 private:
  /// What was found out about the namespace of a container is believed so long. Then it is let go
  /// of, and found again when the next client comes: it may have been set up anew, and one that
  /// has ended is not kept alive by us.
  static constexpr TimeMs kBelievedMs = 3'000;
  /// After a failure.
  static constexpr TimeMs kRetryMs = 1'000;

  /// An address that is dialled.
  struct Container : Deadline {
    IpAddress address;
    std::optional<NetworkNamespace> netns;
    /// Where the namespace was last, which is where it is looked for first.
    std::string last_path;
    TimeMs retry_at = 0;
    /// The last line of the log about it.
    std::string told;
  };

  void on_deadline(Deadline& deadline) override;
  Container& container_at(const IpAddress& address);
  bool enter_namespace_of(Container& container);
  Result<NetworkNamespace> find(Container& container);
  Result<NetworkNamespace> open(const std::string& path, const IpAddress& address);
  Result<void> move_to(const NetworkNamespace& netns);
  void let_go(Container& container);
  void tell(Container& container, bool is_warning, const std::string& line);

  Engine& engine_;
  Deadlines& deadlines_;
  DialSettings settings_;
  /// The thread's own, from the first time that it leaves it.
  std::optional<NetworkNamespace> home_;
  /// Where the thread is, once it may have left home.
  std::optional<NamespaceId> here_;
  std::map<IpAddress, Container> containers_;
  DeadlineList believed_;
};

}  // namespace fairlead
