// What was built.

#pragma once

#include <string_view>

namespace fairlead {

/// `0.1.0`.
extern const std::string_view kVersion;
/// Abbreviated, with `-dirty` where the tree had changes; `unknown` when not built from a checkout.
extern const std::string_view kCommit;
/// Of the liburing that was linked.
extern const std::string_view kLiburingVersion;

}  // namespace fairlead
