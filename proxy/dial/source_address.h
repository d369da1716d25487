// What a service sees as its peer's address: the value of --source, and how a socket gets it.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/engine/engine.h"
#include "proxy/mapping/endpoint.h"

namespace fairlead {

/// For a backend socket in the container's network namespace.
enum class Source : std::uint8_t {
  /// The address that the service would see without entering the namespace: of a bridge network,
  /// the gateway's.
  gateway,
  /// The client's own.
  client,
  /// The container's own, which the kernel takes by itself.
  container,
};

/// Why a service in a container of this family cannot be shown a client's address; empty: it can.
std::string_view obstacle_to_keeping(const IpAddress& client, Family container);

enum class Bound : std::uint8_t {
  yes,
  /// The address is one of the container's own: a client must not be taken for the container
  /// itself. The socket is bound to it and of no further use.
  own_address,
  /// `error` says which call failed.
  failed,
};

struct BindOutcome {
  Bound bound = Bound::yes;
  std::string error{};
};

/// Binds an unconnected socket, made in the container's namespace, to an address that is not there,
/// and marks what it sends with kReturnMark, so that answers find back to it (see return_path.h).
///
/// The port is kept where it is free and not below 1024: a client must not be able to hold a port
/// that a service of the container may want. Otherwise (and for 0) it is any free one. For TCP a
/// service can still bind the port that a client has.
///
/// Needs CAP_NET_ADMIN in the user namespace that owns the container's.
BindOutcome bind_foreign(Engine& engine, int fd, bool is_stream, const Endpoint& source);

}  // namespace fairlead
