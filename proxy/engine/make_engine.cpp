#include <string>
#include <utility>

#include "proxy/engine/engine.h"
#include "proxy/engine/epoll_engine.h"
#include "proxy/engine/io_uring_engine.h"

namespace fairlead {

Result<ChosenEngine> make_engine(EngineChoice choice) {
  std::string fallback_reason;
  if (choice != EngineChoice::epoll) {
    auto engine = make_io_uring_engine();
    if (engine) return ChosenEngine{std::move(*engine), {}};
    if (choice == EngineChoice::io_uring) return std::unexpected(std::move(engine.error()));
    fallback_reason = std::move(engine.error().message);
  }
  auto engine = make_epoll_engine();
  if (!engine) return std::unexpected(std::move(engine.error()));
  return ChosenEngine{std::move(*engine), std::move(fallback_reason)};
}

}  // namespace fairlead
