#include "proxy/options/go_flags.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <optional>
#include <utility>

namespace fairlead {
namespace {

std::optional<bool> parse_go_bool(std::string_view text) {
  static constexpr std::array<std::string_view, 6> kTrue = {"1", "t", "T", "true", "TRUE", "True"};
  static constexpr std::array<std::string_view, 6> kFalse = {"0",     "f",     "F",
                                                             "false", "FALSE", "False"};
  if (std::ranges::find(kTrue, text) != kTrue.end()) return true;
  if (std::ranges::find(kFalse, text) != kFalse.end()) return false;
  return std::nullopt;
}

/// 36 for what is no digit in any base.
unsigned digit_value(char c) {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'a' && c <= 'z') return static_cast<unsigned>(c - 'a') + 10;
  if (c >= 'A' && c <= 'Z') return static_cast<unsigned>(c - 'A') + 10;
  return 36;
}

/// Each `_` stands alone between two characters; the base prefix counts as a digit.
bool underscores_separate(std::string_view text) {
  return !text.starts_with('_') && !text.ends_with('_') && text.find("__") == text.npos;
}

std::unexpected<Error> syntax_error() { return failed("parse error"); }
std::unexpected<Error> range_error() { return failed("value out of range"); }

/// strconv.ParseUint(text, 0, 64).
Result<std::uint64_t> parse_go_uint(std::string_view text) {
  if (text.empty()) return syntax_error();
  unsigned base = 10;
  std::string_view digits = text;
  if (text[0] == '0') {
    const char letter = text.size() >= 3 ? static_cast<char>(text[1] | 0x20) : '\0';
    base = letter == 'b' ? 2 : letter == 'x' ? 16 : 8;
    digits.remove_prefix(letter == 'b' || letter == 'o' || letter == 'x' ? 2 : 1);
  }
  std::uint64_t value = 0;
  for (const char c : digits) {
    if (c == '_') continue;
    const unsigned digit = digit_value(c);
    if (digit >= base) return syntax_error();
    // As in Go, a number too large is that even where a wrong character follows.
    if (__builtin_mul_overflow(value, base, &value) ||
        __builtin_add_overflow(value, digit, &value)) {
      return range_error();
    }
  }
  if (!underscores_separate(text)) return syntax_error();
  return value;
}

/// Length of the UTF-8 character at the start of `text`; 0 when there is none.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::size_t length = byte(0) < 0x80   ? 1
                             : byte(0) < 0xc2 ? 0
                             : byte(0) < 0xe0 ? 2
                             : byte(0) < 0xf0 ? 3
                             : byte(0) < 0xf5 ? 4
                                              : 0;
  if (length == 0 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, surrogates and what lies beyond U+10FFFF.
  if (byte(0) == 0xe0 && byte(1) < 0xa0) return 0;
  if (byte(0) == 0xed && byte(1) > 0x9f) return 0;
  if (byte(0) == 0xf0 && byte(1) < 0x90) return 0;
  if (byte(0) == 0xf4 && byte(1) > 0x8f) return 0;
  return length;
}

/// The code point of the UTF-8 character that `text` is.
char32_t code_point(std::string_view text) {
  if (text.size() == 1) return static_cast<unsigned char>(text[0]);
  // The first byte gives what its length marker leaves, each other six bits.
  char32_t point = static_cast<unsigned char>(text[0]) & (0x7fU >> text.size());
  for (const char c : text.substr(1))
    point = (point << 6) | (static_cast<unsigned char>(c) & 0x3fU);
  return point;
}

/// Go escapes what unicode.IsPrint does not hold for. Here: the controls, spaces, marks of
/// direction, private and unassigned planes that text is likely to have; not every gap of the
/// tables.
bool is_printable(char32_t point) {
  static constexpr std::pair<char32_t, char32_t> kNotPrintable[] = {
      {0x00, 0x1f},       {0x7f, 0xa0},       {0xad, 0xad},     {0x600, 0x605},   {0x61c, 0x61c},
      {0x1680, 0x1680},   {0x180e, 0x180e},   {0x2000, 0x200f}, {0x2028, 0x202f}, {0x205f, 0x206f},
      {0x3000, 0x3000},   {0xe000, 0xf8ff},   {0xfeff, 0xfeff}, {0xfff0, 0xfffb}, {0xfffe, 0xffff},
      {0xe0000, 0xe00ff}, {0xe01f0, 0x10ffff}};
  return std::ranges::none_of(kNotPrintable, [point](const auto& range) {
    return point >= range.first && point <= range.second;
  });
}

/// `\x7f`, `\u00a0`, `\U000e0001`.
void append_escape(std::string& out, char letter, unsigned digits, char32_t value) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  out += '\\';
  out += letter;
  while (digits-- > 0) out += kDigits[(value >> (4 * digits)) & 0xf];
}

}  // namespace

std::string_view flag_name(std::string_view argument) {
  if (argument.size() < 2 || argument[0] != '-') return {};
  argument.remove_prefix(argument[1] == '-' ? 2 : 1);
  if (argument.starts_with('-') || argument.starts_with('=')) return {};
  return argument.substr(0, argument.find('='));
}

Result<std::int64_t> parse_go_int(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const auto magnitude = parse_go_uint(text);
  if (!magnitude) return std::unexpected(magnitude.error());
  constexpr std::uint64_t kLimit = std::uint64_t{1} << 63;
  if (*magnitude > kLimit || (*magnitude == kLimit && !negative)) return range_error();
  if (*magnitude == kLimit) return std::numeric_limits<std::int64_t>::min();
  const auto value = static_cast<std::int64_t>(*magnitude);
  return negative ? -value : value;
}

std::string go_quoted(std::string_view text) {
  static constexpr std::string_view kEscaped = "\a\b\f\n\r\t\v\\\"";
  static constexpr std::string_view kLetters = "abfnrtv\\\"";
  std::string out = "\"";
  while (!text.empty()) {
    const auto byte = static_cast<unsigned char>(text[0]);
    const std::size_t length = utf8_length(text);
    if (const std::size_t i = kEscaped.find(text[0]); i != kEscaped.npos) {
      out += '\\';
      out += kLetters[i];
    } else if (length == 0 || byte < 0x20 || byte == 0x7f) {
      append_escape(out, 'x', 2, byte);
    } else if (const char32_t point = code_point(text.substr(0, length)); is_printable(point)) {
      out += text.substr(0, length);
    } else if (point < 0x10000) {
      append_escape(out, 'u', 4, point);
    } else {
      append_escape(out, 'U', 8, point);
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return out + "\"";
}

void GoFlags::add_bool(std::string_view name, std::string_view usage, bool& target) {
  flags_.push_back(
      {name, usage, "", target ? "true" : "", [&target](std::string_view value) -> Result<void> {
         const auto parsed = parse_go_bool(value);
         if (!parsed) return syntax_error();
         target = *parsed;
         return {};
       }});
}

void GoFlags::add_int(std::string_view name, std::string_view usage, std::int64_t& target) {
  flags_.push_back({name, usage, "int", target == 0 ? "" : std::to_string(target),
                    [&target](std::string_view value) -> Result<void> {
                      const auto parsed = parse_go_int(value);
                      if (!parsed) return std::unexpected(parsed.error());
                      target = *parsed;
                      return {};
                    }});
}

void GoFlags::add_string(std::string_view name, std::string_view usage, std::string& target) {
  flags_.push_back({name, usage, "string", target.empty() ? "" : go_quoted(target),
                    [&target](std::string_view value) -> Result<void> {
                      target = value;
                      return {};
                    }});
}

void GoFlags::add_value(std::string_view name, std::string_view usage,
                        std::string_view default_text, Setter setter) {
  flags_.push_back({name, usage, "value", std::string(default_text), std::move(setter)});
}

void GoFlags::add_hidden(std::string_view name, Setter setter) {
  flags_.push_back({name, {}, {}, {}, std::move(setter), false});
}

const GoFlags::Flag* GoFlags::find(std::string_view name) const {
  const auto flag = std::ranges::find(flags_, name, &Flag::name);
  return flag == flags_.end() ? nullptr : &*flag;
}

std::expected<void, FlagsExit> GoFlags::parse(std::string_view program,
                                              std::span<const char* const> arguments) const {
  const auto refuse = [&](const std::string& message) {
    return std::unexpected(FlagsExit{message + "\n" + usage_text(program), 2});
  };

  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view argument = arguments[i];
    if (argument.size() < 2 || argument[0] != '-' || argument == "--") break;
    const std::string_view name = flag_name(argument);
    if (name.empty()) return refuse("bad flag syntax: " + std::string(argument));
    const std::string dashed = "-" + std::string(name);

    const Flag* flag = find(name);
    if (flag == nullptr) {
      if (name == "help" || name == "h") return std::unexpected(FlagsExit{usage_text(program), 0});
      return refuse("flag provided but not defined: " + dashed);
    }

    const std::size_t equals = argument.find('=');
    std::string_view value;
    if (equals != argument.npos) {
      value = argument.substr(equals + 1);
    } else if (flag->is_bool()) {
      value = "true";
    } else if (i + 1 < arguments.size()) {
      value = arguments[++i];
    } else {
      return refuse("flag needs an argument: " + dashed);
    }

    if (const auto set = flag->set(value); !set) {
      const std::string kind = flag->is_bool() ? "boolean " : "";
      const std::string target = flag->is_bool() ? dashed : "flag " + dashed;
      return refuse("invalid " + kind + "value " + go_quoted(value) + " for " + target + ": " +
                    set.error().message);
    }
  }
  return {};
}

std::string GoFlags::usage_text(std::string_view program) const {
  std::vector<const Flag*> shown;
  for (const Flag& flag : flags_) {
    if (flag.shown) shown.push_back(&flag);
  }
  std::ranges::sort(shown, {}, [](const Flag* flag) { return flag->name; });

  std::string text = "Usage of " + std::string(program) + ":\n";
  for (const Flag* flag : shown) {
    std::string line = "  -" + std::string(flag->name);
    if (!flag->type.empty()) line += " " + std::string(flag->type);
    // A boolean of one letter has its usage on the same line.
    line += line.size() <= 4 ? "\t" : "\n    \t";
    line += flag->usage;
    if (!flag->default_text.empty()) line += " (default " + flag->default_text + ")";
    text += line + "\n";
  }
  return text;
}

}  // namespace fairlead
