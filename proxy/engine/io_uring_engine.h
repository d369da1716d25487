// The engine on io_uring: Linux 6.1 or newer.

#pragma once

#include <memory>

#include "proxy/engine/engine.h"

namespace fairlead {

/// Fails where the ring is refused; the error says the likely cause.
Result<std::unique_ptr<Engine>> make_io_uring_engine();

}  // namespace fairlead
