#include "netsetup/network/json_reader.h"

namespace fairlead {

Result<Json> parse_json(std::string_view text, std::string_view where) {
  try {
    return Json::parse(text);
  } catch (const Json::exception& error) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: ...", or out_of_range for
    // a number that is too large for a double.
    const std::string_view reason(error.what());
    const std::size_t bracket = reason.find("] ");
    return failed(fmt::format(
        "{}: {}", where, bracket == std::string_view::npos ? reason : reason.substr(bracket + 2)));
  }
}

JsonReader::JsonReader(const Json& value, std::string where)
    : value_(value), where_(std::move(where)) {
  if (!value_.is_object()) error_ = Error{where_ + ": an object in braces is wanted"};
}

void JsonReader::read(std::string_view name, bool& flag) {
  const Json* field = find(name);
  if (field == nullptr) return;
  if (field->is_boolean()) {
    flag = field->get<bool>();
  } else {
    fail(name, "true or false is wanted");
  }
}

void JsonReader::read(std::string_view name, std::string& text) {
  read(name, text, [](std::string_view value) { return Result<std::string>(value); });
}

Result<void> JsonReader::finish() {
  if (error_) return std::unexpected(*error_);
  for (const auto& item : value_.items()) {
    if (!asked_.contains(item.key())) return failed(path(item.key()) + ": there is no such field");
  }
  return {};
}

const Json* JsonReader::find(std::string_view name) {
  asked_.emplace(name);
  if (error_) return nullptr;
  const auto found = value_.find(name);
  return found == value_.end() ? nullptr : &*found;
}

void JsonReader::fail(std::string_view place, std::string_view reason) {
  if (!error_) error_ = Error{fmt::format("{}: {}", path(place), reason)};
}

std::string JsonReader::path(std::string_view place) const {
  // Nested places are `file: networks[0].containers[1]`.
  const bool nested = where_.contains(": ");
  return where_ + (nested ? "." : ": ") + std::string(place);
}

}  // namespace fairlead
