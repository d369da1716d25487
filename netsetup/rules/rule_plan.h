// The decisions: what the firewall and the proxies have to do for a desired state. Pure functions
// of values.

#pragma once

#include <vector>

#include "netsetup/network/network.h"
#include "netsetup/rules/rule_set.h"
#include "proxy/mapping/mapping.h"

namespace fairlead {

/// REQUIRES: check_networks(networks) passed.
RuleSet plan(const Networks& networks);

/// What the container's fairlead-proxy has to serve; empty where the mode gives it nothing. A port
/// published on all addresses leads IPv4 clients to the container's IPv4 address and IPv6 clients
/// to its IPv6 address where it has both, and both to the one it has otherwise.
std::vector<Mapping> plan_proxy(const Network& network, const Container& container);
/// The same for one of its ports.
std::vector<Mapping> plan_proxy(const Network& network, const Container& container,
                                const PublishedPort& port);

}  // namespace fairlead
