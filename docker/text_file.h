// A small text file that belongs to somebody else, read and replaced as a whole.

#pragma once

#include <optional>
#include <string>

#include "proxy/mapping/error.h"

namespace fairlead {

/// Nothing when there is no such file. At most 1 MiB.
Result<std::optional<std::string>> read_text_file(const std::string& path);

/// Whoever reads the file meanwhile sees the old text or the new one. A file that is there keeps
/// its owner and mode, and a symbolic link goes on to lead to it; a new one belongs to whoever runs
/// this, with mode 0644, in a directory that exists.
Result<void> replace_text_file(const std::string& path, const std::string& text);

/// No error when there is no such file.
Result<void> remove_text_file(const std::string& path);

}  // namespace fairlead
