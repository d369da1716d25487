// What libFuzzer hands to a target, in the forms the parsers take.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace fairlead {

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// Hands what follows the first byte to the parser that this one chooses. In the corpus it is the
/// digit of the parser, which is below 4.
inline int read_as_one_of(std::initializer_list<void (*)(std::string_view)> parsers,
                          const std::uint8_t* data, std::size_t size) {
  if (size > 0) parsers.begin()[data[0] % parsers.size()](text_of(data + 1, size - 1));
  return 0;
}

/// The words of a command line, one a line. They must outlive the result.
inline std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    // As a terminated string, which is what main() gets.
    words.emplace_back(std::string(text.substr(0, end)).c_str());
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return words;
}

inline std::vector<const char*> arguments_of(const std::vector<std::string>& words) {
  std::vector<const char*> arguments;
  arguments.reserve(words.size());
  for (const std::string& word : words) arguments.push_back(word.c_str());
  return arguments;
}

/// What must hold for every input.
inline void demand(bool holds) {
  if (!holds) std::abort();
}

}  // namespace fairlead
