// What a proxy is told to do.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/engine/engine.h"
#include "proxy/isolation/account.h"
#include "proxy/log/log.h"
#include "proxy/mapping/error.h"
#include "proxy/mapping/mapping.h"
#include "proxy/metrics/metrics_address.h"
#include "proxy/relay/loop.h"

namespace fairlead {

/// Every value has been checked.
struct Options {
  std::vector<Mapping> mappings;
  EngineChoice engine = EngineChoice::automatic;
  /// connections_max and sessions_max are 0 when no option sets them: see default_limits() in
  /// process/resource_limits.h.
  /// Loops, each on its own thread; 0: as many as there are processors to run on.
  std::size_t workers = 0;
  RelaySettings relay;
  /// How long connections may go on after SIGTERM or a handover; 0: not at all.
  TimeMs drain_ms = 0;
  /// After a handover, in the place of drain_ms.
  std::optional<TimeMs> handover_drain_ms;
  /// Where a new proxy takes over; empty: nowhere.
  std::string handover_path;
  /// Where counters are served; nothing: nowhere.
  std::optional<MetricsAddress> metrics;
  /// The user to serve as; nothing: the one that started the process.
  std::optional<Account> account;
  LogLevel log_level = LogLevel::info;
  LogFormat log_format = LogFormat::text;
};

/// One option as it was given on a command line, by its long name.
struct Assignment {
  std::string name;
  std::string value;

  bool operator==(const Assignment&) const = default;
};

/// An option that has a value: the same name on both command lines and in the configuration file.
struct OptionDefinition {
  std::string_view name;
  /// Short name, or 0.
  char letter;
  std::string_view group;
  /// How the help calls the value.
  std::string_view value_name;
  std::string_view help;
  /// The error says what is accepted; who calls knows where the value came from.
  Result<void> (*set)(Options& options, std::string_view value);
};

/// All of them but --config, in the order of the help.
std::span<const OptionDefinition> option_definitions();
/// Nothing when there is no such option.
const OptionDefinition* find_option(std::string_view name);

/// Refuses a mapping whose protocol has no PROXY header of the version asked for; names it.
Result<void> check_proxy_protocol(ProxyProtocol version, std::span<const Mapping> mappings);

inline constexpr std::string_view kPublishOption = "publish";

}  // namespace fairlead
