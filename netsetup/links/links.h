// Bridges, veth pairs and their addresses and routes, through rtnetlink.
//
// Every call brings its object to the desired state from whatever state it is in: what is right is
// left alone, so that calling twice changes nothing, and what an interrupted call has left is
// taken up. Errors name the step and the object. Each call has a netlink socket of its own: one on
// which a request has failed may still be answered, and libnl takes that for the next one's.

#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "netsetup/links/netlink.h"
#include "netsetup/links/network_namespace.h"
#include "netsetup/network/network.h"
#include "proxy/mapping/error.h"

namespace fairlead {

/// The links of the network namespace that the calling thread is in. Needs CAP_NET_ADMIN to change
/// something, and CAP_SYS_ADMIN to enter containers. Not thread-safe.
class Links {
 public:
  static Result<Links> open();
  /// `home` is the namespace that containers must not be in.
  Links(SocketSource open_socket, NamespaceFile home)
      : open_socket_(open_socket), home_(std::move(home)) {}

  Result<bool> exists(const std::string& interface) const;

  /// Whether the container's namespace is there, is not the host's, and has no interface of the
  /// name yet, and the host has none of its link's. `earlier` is the same container where it has
  /// been until now, or null.
  Result<void> check_room(const Network& network, const Container& container,
                          const Container* earlier) const;

  /// Made, with the gateways' addresses and MAC address, and up. An adopted one is only looked at.
  Result<void> make_bridge(const Network& network) const;
  /// That it is gone already is no error. An adopted one stays as it is.
  Result<void> remove_bridge(const Network& network) const;

  /// The pair is there, its far end made inside the container's namespace, with MAC address, MTU,
  /// addresses and default routes (but for an internal network, or where the namespace has one by
  /// another interface), everything is up, and loopback too.
  Result<void> attach(const Network& network, const Container& container) const;
  /// That it is gone already, as it is once the namespace is, is no error.
  Result<void> detach(const Container& container) const;

  /// The subnets and addresses that a bridge which is there already has, for adopting it: of each
  /// family the first one of global scope. Error: there is none such, or it is no bridge.
  Result<void> read_bridge(Network& network) const;

  /// What is wrong with the bridge and with the links of its containers, a line each.
  std::vector<std::string> problems(const Network& network) const;

 private:
  Result<NamespaceFile> open_container(const Container& container) const;
  std::string container_problem(const Network& network, const Container& container,
                                int bridge) const;

  SocketSource open_socket_;
  NamespaceFile home_;
};

}  // namespace fairlead
