// The engine on epoll: any Linux, where io_uring is refused.

#pragma once

#include <memory>

#include "proxy/engine/engine.h"

namespace fairlead {

/// Fails where no descriptor is free. receive() is for stream sockets only.
Result<std::unique_ptr<Engine>> make_epoll_engine();

}  // namespace fairlead
