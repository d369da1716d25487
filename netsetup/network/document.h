// Networks as JSON: what the state keeps, `inspect --json` prints and `apply` reads.
//
//   {"networks": [{"name": "web", "subnets": ["10.210.0.0/24"], "mode": "both", "containers": [
//     {"name": "c1", "netns": "/run/netns/c1", "ports": ["8080:80/tcp"]}]}]}
//
// The fields are those of Network and Container in network.h, by the same names; addresses, subnets
// and ports are text as on the command line, and `netns` also takes pid:N and name:NAME. Fields
// that are left out have the defaults of network.h. A field that is not known, one of the wrong
// type and a value that cannot be read are errors that name the place, as `desired.json:
// networks[0].containers[1].ports[0]: ...`.

#pragma once

#include <string>
#include <string_view>

#include "netsetup/network/json_reader.h"
#include "netsetup/network/network.h"
#include "proxy/mapping/error.h"

namespace fairlead {

/// One network, indented, with a newline at the end.
std::string network_text(const Network& network);
/// `{"networks": [...]}`
std::string networks_text(const Networks& networks);

/// `where` begins errors: the name of the file.
Result<Network> parse_network(std::string_view text, std::string_view where);
/// Sorted by name.
Result<Networks> parse_networks(std::string_view text, std::string_view where);
/// A field that is a list of networks; sorted by name.
void read_networks(JsonReader& reader, std::string_view field, Networks& networks);

}  // namespace fairlead
