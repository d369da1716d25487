// What a privileged thread may do, and when: capabilities(7).

#pragma once

#include <vector>

#include "proxy/mapping/error.h"

namespace fairlead {

/// Numbers like CAP_NET_ADMIN.
using Capabilities = std::vector<unsigned>;

/// Gives up, for ever, all capabilities of the calling thread but these, as far as it has them; and
/// has these only at hand: none is in effect from here on but while a RaisedCapabilities lives.
/// Threads that it makes get the same.
Result<void> keep_capabilities(const Capabilities& kept);

/// Gives up, for ever, all capabilities of the calling thread but these. What it has of these stays
/// in effect. A program that it executes has no more than that if no_new_privs is set; otherwise
/// one of root's gets all that the bounding set has.
Result<void> limit_capabilities(const Capabilities& limit);

/// Puts into effect what keep_capabilities() has left to the calling thread, for as long as this
/// lives; afterwards nothing is. What the thread does outside, it does without privileges.
class RaisedCapabilities {
 public:
  RaisedCapabilities();
  RaisedCapabilities(const RaisedCapabilities&) = delete;
  RaisedCapabilities& operator=(const RaisedCapabilities&) = delete;
  ~RaisedCapabilities();
};

}  // namespace fairlead
