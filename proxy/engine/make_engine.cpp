#include "proxy/engine/io_uring_engine.h"

namespace fairlead {

Result<ChosenEngine> make_engine(EngineChoice) {
  auto engine = make_io_uring_engine();
  if (!engine) return std::unexpected(engine.error());
  return ChosenEngine{std::move(*engine), ""};
}

}  // namespace fairlead
