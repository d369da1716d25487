// Mappings, ports, prefixes and access rules, as options take them: one that is accepted is written
// as text that means the same, and holds what it says. The first byte chooses.

#include "netsetup/network/published_port.h"
#include "proxy/mapping/mapping.h"
#include "proxy/mapping/subnet.h"
#include "proxy/relay/access_list.h"
#include "tests/fuzz/fuzzed_bytes.h"

using namespace fairlead;

namespace {

void read_mapping(std::string_view text) {
  const auto mapping = Mapping::parse(text);
  if (!mapping) {
    demand(!mapping.error().message.empty());
    return;
  }
  const auto again = Mapping::parse(mapping->to_string());
  demand(again && *again == *mapping);
  demand(mapping->host_ports.size() == mapping->container_ports.size());
  demand(check_mappings({&*mapping, 1}).has_value() || mapping->container_ip.is_loopback() ||
         mapping->host_ip == mapping->container_ip);
}

void read_published_port(std::string_view text) {
  const auto port = PublishedPort::parse(text);
  if (!port) {
    demand(!port.error().message.empty());
    return;
  }
  demand(PublishedPort::parse(port->to_string()).value() == *port);
  demand(port->host_ports.size() == port->container_ports.size());
  demand(port->overlaps(*port));
}

void read_subnet(std::string_view text) {
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
}

/// A list of one allowance admits its own prefix, whole, and a list of one denial does not.
void read_access_rules(std::string_view text) {
  for (const bool allows : {true, false}) {
    const auto rules = parse_access_rules(allows, text);
    if (!rules) continue;
    demand(!rules->empty());
    for (const AccessRule& rule : *rules) {
      const Protocol protocol = rule.protocol.value_or(Protocol::tcp);
      const std::uint16_t port = rule.ports ? rule.ports->last : std::uint16_t{80};
      const AccessList list(*rules, protocol, port);
      demand(list.admits(rule.clients.address()) == allows);
      // As above.
      const IpAddress last = rule.clients.last();
      if (last.family() == rule.clients.family()) demand(list.admits(last) == allows);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return read_as_one_of({read_mapping, read_published_port, read_subnet, read_access_rules}, data,
                        size);
}
