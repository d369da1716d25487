// Pipes for splicing.

#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "proxy/engine/engine.h"

namespace fairlead {

struct Pipe {
  FileDescriptor read_end;
  FileDescriptor write_end;
  /// Most bytes one splice can move through it.
  std::size_t room_bytes = 0;
  /// Bytes in it now.
  std::size_t held_bytes = 0;
};

/// Empty pipes kept for the next bulk transfer, since making one and growing it costs more than a
/// small transfer. A pipe counts against RLIMIT_NOFILE (2 descriptors) and, while it holds bytes,
/// against pipe-user-pages-soft of its user.
class PipePool {
 public:
  static constexpr std::size_t kPipeBytes = 1UL << 20;
  /// Smaller than this a pipe costs more than it saves: measured, the cross-over is at 32 to 64
  /// KiB.
  static constexpr std::size_t kUsefulPipeBytes = 64UL << 10;
  static constexpr std::size_t kKept = 16;
  /// Taken at a time. The pipes of connections whose readers have stopped stay full, and so a
  /// loop's hold this many MiB at most; whoever finds none copies.
  static constexpr std::size_t kTakenMax = 64;

  explicit PipePool(Engine& engine) : engine_(engine) {}

  /// An empty pipe; nothing when descriptors or pipe memory are short, or kTakenMax are taken. Each
  /// comes back by put_back(), or leaves with its connection by give_away().
  std::optional<Pipe> take();
  /// Keeps it if it is empty and there is room, else closes it.
  void put_back(Pipe pipe);
  /// A pipe goes to another loop's pool, or comes from there.
  void give_away() { --taken_; }
  void take_over() { ++taken_; }
  void clear() { kept_.clear(); }

 private:
  Engine& engine_;
  std::vector<Pipe> kept_;
  std::size_t taken_ = 0;
};

}  // namespace fairlead
