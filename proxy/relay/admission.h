// Whether a client of a published TCP or SCTP port is served.

#pragma once

#include "proxy/mapping/endpoint.h"
#include "proxy/relay/access_list.h"
#include "proxy/relay/client.h"
#include "proxy/relay/counters.h"
#include "proxy/relay/loop.h"

namespace fairlead {

/// True: the access list admits it and it has not yet as many connections as one may have; its
/// place is taken. False: it was reset and closed, and that is counted and logged.
bool admit(Loop& loop, Client& client, const AccessList& access, const Endpoint& host);

/// Counts and logs a refusal of --allow and --deny.
void note_denied(Loop& loop, Counters& counters, const Endpoint& client, const Endpoint& host);

}  // namespace fairlead
