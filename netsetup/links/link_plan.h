// Which links have to be made, changed and removed to get from one desired state to another. Pure.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "netsetup/network/network.h"

namespace fairlead {

struct LinkChange {
  enum class Action : std::uint8_t { make_bridge, attach, detach, remove_bridge };

  Action action = Action::make_bridge;
  /// They live as long as the networks they were planned from.
  const Network* network = nullptr;
  /// Null for a bridge.
  const Container* container = nullptr;

  /// `attach web/c1: eth0 of /run/netns/c1, 10.1.0.2/24, MAC ..., by flv... on fl-web`
  std::string to_string() const;
};

struct LinkPlan {
  /// In order: what is in the way goes, then bridges are made, then containers attached.
  std::vector<LinkChange> first;
  /// What nothing needs any more, once nothing leads to it: containers, then bridges.
  std::vector<LinkChange> last;
};

/// `everything`: also what should be there already; it may not be.
enum class Extent : std::uint8_t { differences, everything };

LinkPlan plan_links(const Networks& from, const Networks& to, Extent extent);

}  // namespace fairlead
