// Prefixes, as --subnet and --allow take them: one that is accepted is written as text that means
// the same, and its first and last address are within it.

#include "proxy/mapping/subnet.h"
#include "tests/fuzz/fuzzed_bytes.h"

using namespace fairlead;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = text_of(data, size);
  if (const auto subnet = Subnet::parse(text)) {
    demand(Subnet::parse(subnet->to_string()).value() == *subnet);
    demand(subnet->contains(subnet->address()));
    // That of ::/80 is an IPv4-mapped one, and so an address of the other family.
    if (const IpAddress last = subnet->last(); last.family() == subnet->family()) {
      demand(subnet->contains(last));
      const auto above = next_address(last);
      demand(!above || !subnet->contains(*above));
    }
  } else {
    demand(!subnet.error().message.empty());
  }
  if (const auto list = Subnet::parse_list(text)) {
    demand(!list->empty());
    for (const Subnet& subnet : *list) {
      demand(Subnet::parse(subnet.to_string()).value() == subnet);
    }
  }
  return 0;
}
