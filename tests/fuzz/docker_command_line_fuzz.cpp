// Docker's command line, in the grammar of Go's flag package: read to the end or refused with one
// of the two exit codes that Go has for it.

#include "proxy/options/docker_command_line.h"
#include "tests/fuzz/fuzzed_bytes.h"

using namespace fairlead;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::vector<std::string> words = words_of(text_of(data, size));
  const std::vector<const char*> arguments = arguments_of(words);
  is_docker_command_line(arguments);
  const auto line = parse_docker_command_line("docker-proxy", arguments);
  if (!line) {
    demand(line.error().exit_code == 0 || line.error().exit_code == 2);
    demand(!line.error().stderr_text.empty());
    return 0;
  }
  if (const auto mapping = line->mapping()) {
    const auto again = Mapping::parse(mapping->to_string());
    demand(again && *again == *mapping);
  }
  return 0;
}
