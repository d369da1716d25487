// Mappings, as `-p` takes them: a mapping that is accepted is written as text that means the same.

#include "proxy/mapping/mapping.h"
#include "tests/fuzz/fuzzed_bytes.h"

using namespace fairlead;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto mapping = Mapping::parse(text_of(data, size));
  if (!mapping) {
    demand(!mapping.error().message.empty());
    return 0;
  }
  const auto again = Mapping::parse(mapping->to_string());
  demand(again && *again == *mapping);
  demand(mapping->host_ports.size() == mapping->container_ports.size());
  demand(check_mappings({&*mapping, 1}).has_value() || mapping->container_ip.is_loopback() ||
         mapping->host_ip == mapping->container_ip);
  return 0;
}
