// The command line of a proxy that is run by hand.

#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "proxy/mapping/error.h"
#include "proxy/options/options.h"

namespace fairlead {

struct CommandLine {
  bool help = false;
  bool version = false;
  /// In order, all checked.
  std::vector<Assignment> assignments;
  /// Of the last --config.
  std::optional<std::string> config_file;
};

/// `arguments` without the program's name. Long options are never abbreviated, so that a new option
/// cannot change what a script means. The error names option, value and what is accepted.
Result<CommandLine> parse_command_line(std::span<const char* const> arguments);

/// What --help prints.
std::string help_text();

}  // namespace fairlead
