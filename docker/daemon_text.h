// The text of a daemon.json, in which one member changes and every other byte stays as it is.
//
// What dockerd takes is JSON without comments (Go's encoding/json), an object whose keys are its
// long options: https://docs.docker.com/reference/cli/dockerd/#daemon-configuration-file

#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/mapping/error.h"

namespace fairlead {

class DaemonText {
 public:
  /// The error begins with line and column, and tells comments from other mistakes.
  static Result<DaemonText> parse(std::string text);

  const std::string& text() const { return text_; }
  /// Whether the object has no member.
  bool empty() const { return members_.empty(); }

  /// The value as it is written, a string with its quotes; nothing when there is no such member.
  std::optional<std::string> find(std::string_view key) const;

  /// `value` is JSON. A new member becomes the last, on a line of its own if the others are;
  /// removing it is the exact opposite.
  void set(std::string_view key, std::string_view value);
  void remove(std::string_view key);

 private:
  /// Places in the text.
  struct Member {
    std::string key;
    std::size_t begin = 0;
    std::size_t value_begin = 0;
    std::size_t end = 0;
  };

  explicit DaemonText(std::string text);
  void find_members();
  std::vector<Member>::const_iterator find_member(std::string_view key) const;

  std::string text_;
  /// Behind the brace that opens the object.
  std::size_t object_begin_ = 0;
  std::vector<Member> members_;
};

}  // namespace fairlead
