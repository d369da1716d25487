#include "proxy/relay/pipe_pool.h"

#include <utility>

namespace fairlead {

std::optional<Pipe> PipePool::take() {
  if (taken_ == kTakenMax) return std::nullopt;
  if (!kept_.empty()) {
    ++taken_;
    Pipe pipe = std::move(kept_.back());
    kept_.pop_back();
    return pipe;
  }
  Pipe pipe;
  const int room = engine_.open_pipe(pipe.read_end, pipe.write_end, static_cast<int>(kPipeBytes));
  if (room < static_cast<int>(kUsefulPipeBytes)) return std::nullopt;
  ++taken_;
  pipe.room_bytes = static_cast<std::size_t>(room);
  return pipe;
}

void PipePool::put_back(Pipe pipe) {
  --taken_;
  if (pipe.held_bytes == 0 && kept_.size() < kKept) kept_.push_back(std::move(pipe));
}

}  // namespace fairlead
