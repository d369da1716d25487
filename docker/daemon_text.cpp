#include "docker/daemon_text.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace fairlead {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kSpace = " \t\r\n";

std::string place(std::string_view text, std::size_t position) {
  const std::string_view before = text.substr(0, position);
  const auto line = 1 + std::ranges::count(before, '\n');
  const std::size_t line_begin = before.rfind('\n') + 1;  // npos + 1 is 0.
  return std::to_string(line) + ":" + std::to_string(position - line_begin + 1);
}

Error syntax_error(std::string_view text, const Json::parse_error& error) {
  // The library counts the byte that it could not take, from 1.
  const std::size_t position = std::min(error.byte == 0 ? 0 : error.byte - 1, text.size());
  const std::size_t begin = text.find_last_not_of("/#*", position);
  const std::string_view near = text.substr(begin == text.npos ? 0 : begin, 3);
  const bool comment =
      near.find('#') != near.npos || near.find("//") != near.npos || near.find("/*") != near.npos;
  return Error{place(text, position) +
               (comment ? ": a comment, which JSON has not; Docker refuses it, too"
                        : ": no JSON; Docker refuses it, too")};
}

// The text below is known to be valid JSON, so none of these runs over its end.

std::size_t skip_string(std::string_view text, std::size_t quote) {
  std::size_t end = quote + 1;
  while (text[end] != '"') end += text[end] == '\\' ? 2U : 1U;
  return end + 1;
}

std::size_t skip_value(std::string_view text, std::size_t begin) {
  std::size_t depth = 0;
  std::size_t end = begin;
  do {
    const char c = text[end];
    if (c == '"') {
      end = skip_string(text, end);
    } else if (c == '{' || c == '[') {
      ++depth;
      ++end;
    } else if (c == '}' || c == ']') {
      --depth;
      ++end;
    } else if (depth > 0) {
      ++end;
    } else {
      end = text.find_first_of(" \t\r\n,}", end);
      break;
    }
  } while (depth > 0);
  return end;
}

}  // namespace

DaemonText::DaemonText(std::string text) : text_(std::move(text)) { find_members(); }

Result<DaemonText> DaemonText::parse(std::string text) {
  if (text.find_first_not_of(kSpace) == text.npos) {
    return failed("1:1: the file is empty; remove it, or write {} into it");
  }
  std::vector<std::string> keys;
  std::optional<std::string> twice;
  const auto note_key = [&](int depth, Json::parse_event_t event, const Json& parsed) {
    if (depth == 1 && event == Json::parse_event_t::key) {
      auto key = parsed.get<std::string>();
      if (std::ranges::find(keys, key) != keys.end()) twice = key;
      keys.push_back(std::move(key));
    }
    return true;
  };
  try {
    if (!Json::parse(text, note_key).is_object()) return failed("1:1: accepted: an object, {...}");
  } catch (const Json::parse_error& error) {
    return std::unexpected(syntax_error(text, error));
  } catch (const Json::out_of_range&) {
    return failed("1:1: a number is too large; Docker refuses it, too");
  }
  if (twice) return failed("1:1: \"" + *twice + "\" stands there twice");
  return DaemonText(std::move(text));
}

void DaemonText::find_members() {
  members_.clear();
  object_begin_ = text_.find('{') + 1;
  std::size_t position = text_.find_first_not_of(kSpace, object_begin_);
  while (text_[position] != '}') {
    Member member;
    member.begin = position;
    const std::size_t key_end = skip_string(text_, position);
    member.key = Json::parse(text_.substr(position, key_end - position)).get<std::string>();
    const std::size_t colon = text_.find(':', key_end);
    member.value_begin = text_.find_first_not_of(kSpace, colon + 1);
    member.end = skip_value(text_, member.value_begin);
    members_.push_back(std::move(member));
    position = text_.find_first_not_of(kSpace, members_.back().end);
    if (text_[position] == ',') position = text_.find_first_not_of(kSpace, position + 1);
  }
}

std::vector<DaemonText::Member>::const_iterator DaemonText::find_member(
    std::string_view key) const {
  return std::ranges::find(members_, key, &Member::key);
}

std::optional<std::string> DaemonText::find(std::string_view key) const {
  const auto member = find_member(key);
  if (member == members_.end()) return std::nullopt;
  return text_.substr(member->value_begin, member->end - member->value_begin);
}

void DaemonText::set(std::string_view key, std::string_view value) {
  if (const auto member = find_member(key); member != members_.end()) {
    text_.replace(member->value_begin, member->end - member->value_begin, value);
  } else {
    const std::string added = Json(key).dump() + ": " + std::string(value);
    if (members_.empty()) {
      text_.insert(object_begin_, added);
    } else {
      const std::size_t last = members_.back().begin;
      const std::size_t space = text_.find_last_not_of(kSpace, last - 1) + 1;
      text_.insert(members_.back().end, "," + text_.substr(space, last - space) + added);
    }
  }
  find_members();
}

void DaemonText::remove(std::string_view key) {
  const auto member = find_member(key);
  if (member == members_.end()) return;
  std::size_t begin = member->begin;
  std::size_t end = member->end;
  if (member != members_.begin()) {
    begin = std::prev(member)->end;
  } else if (members_.size() > 1) {
    end = std::next(member)->begin;
  }
  text_.erase(begin, end - begin);
  find_members();
}

}  // namespace fairlead
