// What Boost.Program_options must not be given to tell of in an error.

#pragma once

#include <string_view>

namespace fairlead {

/// Boost puts the word that an error is about in the place of %original_token% and its like until
/// there is none left in the text: for ever, when the word contains one itself. A value that
/// belongs to an option gets into no error of Boost's, nor does what is no option.
constexpr bool is_like_a_placeholder(std::string_view word) {
  return word.starts_with('-') && word.contains('%');
}

}  // namespace fairlead
