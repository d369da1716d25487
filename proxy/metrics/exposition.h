// Counters in Prometheus' text format, version 0.0.4
// (prometheus.io/docs/instrumenting/exposition_formats).

#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "proxy/mapping/mapping.h"
#include "proxy/relay/counters.h"

namespace fairlead {

struct ProcessFacts {
  std::string_view engine;
  std::size_t loops = 1;
  std::size_t connections_max = 0;
  std::size_t sessions_max = 0;
  /// Since 1970.
  double started_at_seconds = 0;
  double cpu_seconds = 0;
};

/// The process's facts, and for each mapping what its protocol has. `counters` has as many elements
/// as `mappings`, in the same order.
std::string exposition(const ProcessFacts& process, std::span<const Mapping> mappings,
                       std::span<const Counters> counters);

}  // namespace fairlead
