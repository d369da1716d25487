// Whole files, read and written at once.

#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "proxy/mapping/error.h"

namespace fairlead {

Result<std::string> read_file(const std::string& path);
/// Nothing: there is no such file.
Result<std::optional<std::string>> read_file_if_any(const std::string& path);

/// Writes beside the file and renames, so that nobody ever reads half of it. No fsync(2): what the
/// files here tell of does not outlive the kernel either. An error leaves the file as it was, and
/// nothing beside it.
Result<void> replace_file(const std::string& path, std::string_view text);

/// That there is none is no error.
Result<void> remove_file(const std::string& path);

/// To a descriptor, all of it.
Result<void> write_all(int fd, std::string_view text);

}  // namespace fairlead
