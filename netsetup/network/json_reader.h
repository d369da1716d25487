// Reading JSON objects strictly: every field is asked for by name, and what was not asked for is an
// error, so that neither a misspelt field nor one of a later version is passed over in silence.

#pragma once

#include <fmt/format.h>

#include <concepts>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/mapping/error.h"

namespace fairlead {

/// Fields keep the order they are written in.
using Json = nlohmann::ordered_json;

/// Error: `<where>: <what is wrong and at which byte>`.
Result<Json> parse_json(std::string_view text, std::string_view where);

/// One object. The first error is kept, and everything after it does nothing; finish() hands it
/// out. Variables of fields that are not there stay as they are. The value must outlive this.
class JsonReader {
 public:
  JsonReader(const Json& value, std::string where);

  void read(std::string_view name, bool& flag);
  void read(std::string_view name, std::string& text);
  /// 0 to the largest of the type.
  template <std::integral T>
  void read(std::string_view name, T& number) {
    const Json* field = find(name);
    if (field == nullptr) return;
    if (!field->is_number_unsigned() || !std::in_range<T>(field->get<std::uint64_t>())) {
      fail(name, fmt::format("a whole number up to {} is wanted", std::numeric_limits<T>::max()));
      return;
    }
    number = field->get<T>();
  }

  /// Text that `parse` (string_view -> Result<T>) takes.
  template <typename T, typename Parse>
  void read(std::string_view name, T& value, const Parse& parse) {
    const Json* field = find(name);
    if (field != nullptr) take(*field, name, value, parse);
  }

  /// A list of such texts.
  template <typename T, typename Parse>
  void read_list(std::string_view name, std::vector<T>& values, const Parse& parse) {
    for_each(name, [&](const Json& item, const std::string& place) {
      T value{};
      take(item, place, value, parse);
      values.push_back(std::move(value));
    });
  }

  /// `use` gets a JsonReader for each object of a list, and returns its finish().
  template <typename Use>
  void read_objects(std::string_view name, const Use& use) {
    for_each(name, [&](const Json& item, const std::string& place) {
      JsonReader reader(item, path(place));
      if (auto used = use(reader); !used) error_ = used.error();
    });
  }

  /// The same for a field that is an object itself.
  template <typename Use>
  void read_object(std::string_view name, const Use& use) {
    const Json* field = find(name);
    if (field == nullptr) return;
    JsonReader reader(*field, path(name));
    if (auto used = use(reader); !used) error_ = used.error();
  }

  /// The first error there was, also for a field that nobody has asked for.
  Result<void> finish();

 private:
  /// Null: not there, or there was an error before.
  const Json* find(std::string_view name);
  void fail(std::string_view place, std::string_view reason);
  std::string path(std::string_view place) const;

  template <typename T, typename Parse>
  void take(const Json& item, std::string_view place, T& value, const Parse& parse) {
    if (!item.is_string()) {
      fail(place, "text in quotes is wanted");
      return;
    }
    auto parsed = parse(std::string_view(item.get_ref<const std::string&>()));
    if (parsed) {
      value = std::move(*parsed);
    } else {
      fail(place, parsed.error().message);
    }
  }

  template <typename Use>
  void for_each(std::string_view name, const Use& use) {
    const Json* field = find(name);
    if (field == nullptr) return;
    if (!field->is_array()) {
      fail(name, "a list is wanted");
      return;
    }
    for (std::size_t i = 0; i < field->size() && !error_; ++i) {
      use((*field)[i], fmt::format("{}[{}]", name, i));
    }
  }

  const Json& value_;
  std::string where_;
  std::set<std::string, std::less<>> asked_;
  std::optional<Error> error_;
};

}  // namespace fairlead
