// What the firewall must do, in terms that every back end can carry out. A value; rule_plan.h makes
// it from the desired state, nftables_text.h and iptables_text.h write it down.
//
// The order of judgement is the same in each back end. A packet that is forwarded from or to one of
// the bridges meets: the user's own chain; established connections pass; `open` pairs pass;
// `internal` bridges pass nothing more; towards a bridge passes only what was translated to a
// published port; from a bridge outwards passes. All other traffic of the host is not judged.

#pragma once

#include <compare>
#include <optional>
#include <string>
#include <vector>

#include "proxy/mapping/port_range.h"
#include "proxy/mapping/protocol.h"
#include "proxy/mapping/subnet.h"

namespace fairlead {

struct InterfacePair {
  std::string from;
  std::string to;

  auto operator<=>(const InterfacePair&) const = default;
};

struct InterfacePrefix {
  std::string interface;
  Subnet prefix;

  auto operator<=>(const InterfacePrefix&) const = default;
};

/// Packets to local addresses of the host whose destination the kernel translates.
struct Translation {
  Protocol protocol = Protocol::tcp;
  /// Nothing: every local address of the container address's family.
  std::optional<IpAddress> host_ip;
  PortRange host_ports;
  IpAddress container_ip;
  PortRange container_ports;
  /// The proxy serves clients of this bridge and of the host's loopback addresses, so theirs are
  /// left alone; empty: translated for them as for everyone.
  std::string proxied_bridge;

  auto operator<=>(const Translation&) const = default;
};

/// A port published on an address of 127.0.0.0/8.
struct LoopbackPort {
  Protocol protocol = Protocol::tcp;
  IpAddress host_ip;
  PortRange host_ports;

  auto operator<=>(const LoopbackPort&) const = default;
};

/// Every list is sorted and free of duplicates, so that equal sets compare equal.
struct RuleSet {
  /// The bridges whose forwarded traffic is judged.
  std::vector<std::string> bridges;
  /// Those of them with no way in or out.
  std::vector<std::string> internal;
  /// New connections pass from one to the other whatever their port: a bridge to itself where icc
  /// is on, a bridge to one that allows it.
  std::vector<InterfacePair> open;
  /// Where packets to and from a prefix belong: the interfaces they may come in by when they carry
  /// a container's address as destination, and are not masqueraded on.
  std::vector<InterfacePrefix> home;
  /// Packets that arrive addressed to these are dropped unless they are at home there: a container
  /// is reached by its published ports alone, whoever routes to it directly.
  std::vector<Subnet> guarded;
  /// Sources that are masqueraded wherever they are not at home.
  std::vector<Subnet> masqueraded;
  /// Bridges, with their own prefixes, on which the kernel sends translated packets back out where
  /// they came from, and serves the host's loopback: the source becomes the bridge's, so that
  /// replies come back here to be translated. Packets from such a bridge to 127.0.0.0/8 are
  /// dropped, since route_localnet would let them reach what the host serves itself alone
  /// (CVE-2020-8558).
  std::vector<InterfacePrefix> hairpin;
  std::vector<Translation> translations;
  /// Dropped when they arrive by any interface but `lo`.
  std::vector<LoopbackPort> loopback_ports;

  bool empty() const { return bridges.empty(); }
  bool operator==(const RuleSet&) const = default;
};

}  // namespace fairlead
