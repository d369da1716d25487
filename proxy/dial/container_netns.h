// Which network namespace backend sockets are made in: the value of --container-netns.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/mapping/error.h"

namespace fairlead {

/// A value. One path serves all mappings of a process; `automatic` looks for the namespace of each
/// container by its address.
struct ContainerNetns {
  enum class Kind : std::uint8_t { host, automatic, path };

  Kind kind = Kind::host;
  /// Of the namespace's file, for Kind::path. It need not be there yet: it is opened when a client
  /// comes, and again when it has become another namespace.
  std::string path{};

  /// `auto`, an absolute path, `pid:N` (/proc/N/ns/net) or `name:NAME` (/run/netns/NAME, as `ip
  /// netns` has it). The error says what is accepted.
  static Result<ContainerNetns> parse(std::string_view text);

  bool operator==(const ContainerNetns&) const = default;
};

}  // namespace fairlead
