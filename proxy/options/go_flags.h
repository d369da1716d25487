// A command line in the grammar of Go's `flag` package, which is docker-proxy's.
//
// The grammar, from golang/go src/flag/flag.go:
//   - one dash or two mean the same; `-name value` or `-name=value`;
//   - a boolean takes a value only after `=`: 1, 0, t, f, T, F, true, false, TRUE, FALSE, True,
//     False;
//   - an integer is 64 bits, decimal, 0x, 0o, 0b or octal after a leading 0, with `_` between
//     digits;
//   - parsing stops at `--`, at `-` and at the first word that is no flag; what follows is ignored;
//   - the last of several wins.

#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/mapping/error.h"

namespace fairlead {

/// How a program ends whose command line asked for help or was wrong: as Go's flag.ExitOnError, to
/// the byte.
struct FlagsExit {
  std::string stderr_text;
  /// 0 after -h or -help, 2 after an error.
  int exit_code = 2;

  bool operator==(const FlagsExit&) const = default;
};

/// Define the flags, then parse once. Names, usage texts and targets must outlive this.
class GoFlags {
 public:
  /// Returns why a value is refused.
  using Setter = std::function<Result<void>(std::string_view value)>;

  /// Each target holds its default, which the usage shows unless it is false, 0 or empty.
  void add_bool(std::string_view name, std::string_view usage, bool& target);
  void add_int(std::string_view name, std::string_view usage, std::int64_t& target);
  void add_string(std::string_view name, std::string_view usage, std::string& target);
  /// Any other type: what Go calls a TextVar.
  void add_value(std::string_view name, std::string_view usage, std::string_view default_text,
                 Setter setter);
  /// Like add_value, but not shown in the usage.
  void add_hidden(std::string_view name, Setter setter);

  /// `arguments` without the program's name, which is `program`.
  std::expected<void, FlagsExit> parse(std::string_view program,
                                       std::span<const char* const> arguments) const;

 private:
  struct Flag {
    std::string_view name;
    std::string_view usage;
    /// How the usage calls the value; empty for a boolean.
    std::string_view type;
    /// As the usage shows it; empty: not at all.
    std::string default_text;
    Setter set;
    bool shown = true;

    bool is_bool() const { return shown && type.empty(); }
  };

  const Flag* find(std::string_view name) const;
  std::string usage_text(std::string_view program) const;

  std::vector<Flag> flags_;
};

/// The name in `-name`, `--name`, `-name=value`; empty for anything else.
std::string_view flag_name(std::string_view argument);

/// strconv.ParseInt(text, 0, 64). The error is one of Go's two: `parse error` and `value out of
/// range`.
Result<std::int64_t> parse_go_int(std::string_view text);

/// strconv.Quote for the values that an error shows: quotes, backslashes, control characters and
/// bytes that are no UTF-8 are escaped.
std::string go_quoted(std::string_view text);

}  // namespace fairlead
