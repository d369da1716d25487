// The values of --allow and --deny: a list of one allowance admits its own prefix, whole, and a
// list of one denial does not.

#include "proxy/relay/access_list.h"
#include "tests/fuzz/fuzzed_bytes.h"

using namespace fairlead;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  for (const bool allows : {true, false}) {
    const auto rules = parse_access_rules(allows, text_of(data, size));
    if (!rules) continue;
    demand(!rules->empty());
    for (const AccessRule& rule : *rules) {
      const Protocol protocol = rule.protocol.value_or(Protocol::tcp);
      const std::uint16_t port = rule.ports ? rule.ports->last : std::uint16_t{80};
      const AccessList list(*rules, protocol, port);
      demand(list.admits(rule.clients.address()) == allows);
      // That of ::/80 is an IPv4-mapped one, and so an address of the other family.
      const IpAddress last = rule.clients.last();
      if (last.family() == rule.clients.family()) demand(list.admits(last) == allows);
    }
  }
  return 0;
}
