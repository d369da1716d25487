// The iptables back end: chains FAIRLEAD and FAIRLEAD-*, by iptables-restore and ip6tables-restore,
// of whichever kind (nf_tables or legacy) the system calls by these names.

#pragma once

#include <memory>
#include <string>
#include <vector>

#include "netsetup/firewall/firewall.h"

namespace fairlead {

/// `other_bridges` as for iptables_tables(). Error: there is no iptables-restore.
Result<std::unique_ptr<Firewall>> make_iptables_firewall(std::vector<std::string> other_bridges);

/// Whether `iptables` is the kind with tables of its own in the kernel, beside nf_tables.
bool iptables_is_legacy();

/// Removes our chains and hooks, if there are any and there is a program to ask. For the other back
/// ends, which do not live beside them.
Result<void> remove_iptables();

}  // namespace fairlead
