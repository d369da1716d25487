// The command line of a proxy run by hand: what the first reading accepts can be applied.

#include "proxy/options/command_line.h"
#include "proxy/options/config_file.h"
#include "tests/fuzz/fuzzed_bytes.h"

using namespace fairlead;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::vector<std::string> words = words_of(text_of(data, size));
  const auto line = parse_command_line(arguments_of(words));
  if (!line) {
    demand(!line.error().message.empty());
    return 0;
  }
  const ConfigSource nothing{"/dev/null", {}};
  demand(resolve_options(nothing, FileMappings::used, line->assignments).has_value());
  return 0;
}
