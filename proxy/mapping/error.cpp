#include "proxy/mapping/error.h"

#include <cctype>
#include <cstring>
#include <utility>

namespace fairlead {

std::string errno_text(int error_number) {
  const char* text = ::strerrordesc_np(error_number);
  if (text == nullptr) return "errno " + std::to_string(error_number);
  std::string lower(text);
  // "Address already in use" but "RPC struct is bad": only a capitalized word is lowered.
  if (lower.size() > 1 && std::islower(static_cast<unsigned char>(lower[1])) != 0) {
    lower[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(lower[0])));
  }
  return lower;
}

Error errno_error(std::string_view what, int error_number) {
  return Error{std::string(what) + ": " + errno_text(error_number)};
}

std::unexpected<Error> failed(std::string_view what, int error_number) {
  return std::unexpected(errno_error(what, error_number));
}

std::unexpected<Error> failed(std::string message) {
  return std::unexpected(Error{std::move(message)});
}

}  // namespace fairlead
