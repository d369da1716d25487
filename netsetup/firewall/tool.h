// Running another program and waiting for it.

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/mapping/error.h"

namespace fairlead {

/// Where the program is: in PATH, or else in /usr/sbin or /sbin, which are not in the PATH of
/// everyone who may be root. Nothing: nowhere.
std::optional<std::string> find_tool(std::string_view name);

/// Runs `command` (the program's path and its arguments, no shell) with `input` as its standard
/// input, and returns its standard output. Error: it could not be run, or it ended with a status
/// that is not 0; then the text is the name of the program and what it has written to standard
/// error.
Result<std::string> run_tool(const std::vector<std::string>& command, std::string_view input);

}  // namespace fairlead
