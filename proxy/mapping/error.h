// Errors as values, shared by fairlead-proxy and fairlead-net.

#pragma once

#include <expected>
#include <string>
#include <string_view>

namespace fairlead {

/// What went wrong, in one line a person can act on: the step, the object and the reason, as in
/// `bind 0.0.0.0:8080: address already in use`. No trailing newline.
struct Error {
  std::string message;

  bool operator==(const Error&) const = default;
};

template <typename T>
using Result = std::expected<T, Error>;

/// The kernel's text for an errno, in lower case as it stands in the middle of a line.
/// Thread-safe.
std::string errno_text(int error_number);

/// `<what>: <errno text>`; `what` names the system call and its object.
Error errno_error(std::string_view what, int error_number);

/// The same, as the failed alternative of any Result.
std::unexpected<Error> failed(std::string_view what, int error_number);
std::unexpected<Error> failed(std::string message);

}  // namespace fairlead
