// The configuration file: whatever is in it is taken or refused with the number of its line, and a
// proxy that a daemon started accepts all that one run by hand does.

#include "proxy/options/config_file.h"
#include "tests/fuzz/fuzzed_bytes.h"

using namespace fairlead;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(text_of(data, size));
  Options by_hand;
  const auto used = apply_config(by_hand, text, "f", FileMappings::used);
  Options of_daemon;
  const auto ignored = apply_config(of_daemon, text, "f", FileMappings::ignored);
  if (used) demand(ignored.has_value());
  if (!used) demand(used.error().message.starts_with("f:"));
  demand(of_daemon.mappings.empty());
  return 0;
}
