// Ports, as `fairlead-net publish` takes them: one that is accepted is written as text that means
// the same.

#include "netsetup/network/published_port.h"
#include "tests/fuzz/fuzzed_bytes.h"

using namespace fairlead;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto port = PublishedPort::parse(text_of(data, size));
  if (!port) {
    demand(!port.error().message.empty());
    return 0;
  }
  demand(PublishedPort::parse(port->to_string()).value() == *port);
  demand(port->host_ports.size() == port->container_ports.size());
  demand(port->overlaps(*port));
  return 0;
}
