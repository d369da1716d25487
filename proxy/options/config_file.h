// The configuration file: options for proxies whose command line is not ours to write, above all
// those that a daemon starts.
//
// One `option = value` a line, with the long names of the command line; `#` begins a comment.
// `publish` may stand there any number of times; it is for proxies that are run by hand, and
// ignored in one that a daemon has started, which has its port from the daemon.

#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "proxy/mapping/error.h"
#include "proxy/options/options.h"

namespace fairlead {

inline constexpr const char* kDefaultConfigFile = "/etc/fairlead/proxy.conf";
/// Names a file in the place of the default one; unset or empty: nothing is named.
inline constexpr const char* kConfigVariable = "FAIRLEAD_PROXY_CONFIG";

/// Which mappings count in the file.
enum class FileMappings : std::uint8_t { used, ignored };

/// Which file to read: `named` (by --config), else the one the environment names, else the default.
struct ConfigSource {
  std::string path;
  /// `--config` or the environment variable; empty for the default file, which may be missing.
  std::string_view named_by;
};
ConfigSource config_source(const std::optional<std::string>& named, const char* from_environment);

/// Sets what the file says. The error names file, line, option, value and what is accepted.
Result<void> read_config_file(Options& options, const ConfigSource& source, FileMappings mappings);

/// What read_config_file does with the text of a file; `path` is for the errors.
Result<void> apply_config(Options& options, const std::string& text, const std::string& path,
                          FileMappings mappings);

/// The options of a file under those of a command line, which win. Mappings of the command line
/// replace those of the file; lists of addresses add to its. REQUIRES: the assignments have been
/// checked.
Result<Options> resolve_options(const ConfigSource& source, FileMappings mappings,
                                std::span<const Assignment> assignments);

}  // namespace fairlead
