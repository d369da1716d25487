// What a proxy gives up once its ports are bound.
//
// A process that relays what strangers send has to be one that is worth nothing to them. So the
// proxy keeps only what relaying takes, for ever and for all its threads.

#pragma once

#include <optional>
#include <string>
#include <vector>

#include "proxy/dial/dialler.h"
#include "proxy/isolation/account.h"
#include "proxy/isolation/system_call_filter.h"
#include "proxy/mapping/error.h"

namespace fairlead {

struct Isolation {
  /// --user.
  std::optional<Account> account{};
  Need needs = Need::always;
  /// --container-netns, --source.
  DialSettings dial{};
  /// UNIX sockets whose paths the proxy removes at its end.
  std::vector<std::string> removable_files{};
  Refusal refusal = Refusal::kill;
};

/// The stages, in this order; see isolation.cpp for each. Fails when the account cannot be taken
/// on. Whatever else the kernel has not got is left out, with a warning in the log.
///
/// REQUIRES: the process has one thread; everything that is to be opened by name, bound to a port
/// or sent to a socket that has a name is open.
Result<void> isolate(const Isolation& isolation);

}  // namespace fairlead
