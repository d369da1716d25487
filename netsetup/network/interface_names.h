// Names of networks, containers and interfaces.

#pragma once

#include <string>
#include <string_view>

#include "proxy/mapping/error.h"

namespace fairlead {

/// IFNAMSIZ without its terminator.
constexpr std::size_t kInterfaceNameLimit = 15;

/// Names of networks and containers: 1 to 64 of letters, digits, `_`, `.` and `-`, beginning with
/// a letter or digit (they become file names). `what` begins the error, as "network".
Result<void> check_name(std::string_view what, std::string_view name);

/// What the kernel takes as an interface name, less what would upset shells and rule languages:
/// 1 to 15 of letters, digits, `_`, `.`, `-`; not beginning with `-`, not `.`, `..`, `lo`, `all` or
/// `default`.
Result<void> check_interface_name(std::string_view name);

/// `fl-NAME`, or `fl-` and twelve hex digits where that would be too long.
std::string bridge_name(std::string_view network);

/// `flv` and twelve hex digits: the same for one container of one network each time, so that an
/// attach that was cut short finds its own link again.
std::string host_link_name(std::string_view network, std::string_view container);

}  // namespace fairlead
