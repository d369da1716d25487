// The command line of fairlead-net: every list of words is taken or refused with a reason.

#include "netsetup/command/command_line.h"
#include "tests/fuzz/fuzzed_bytes.h"

using namespace fairlead;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto words = words_of(text_of(data, size));
  const auto line = parse_net_command_line(arguments_of(words));
  if (!line) demand(!line.error().message.empty());
  return 0;
}
