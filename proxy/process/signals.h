// Signals, as events of the loop.

#pragma once

#include "proxy/engine/engine.h"
#include "proxy/mapping/error.h"
#include "proxy/net/file_descriptor.h"

namespace fairlead {

/// Blocks SIGINT, SIGTERM and SIGUSR1, so that they wait for a SignalReader, and ignores SIGPIPE.
/// Call at the start of main: a signal that comes before the loop runs is kept, not lost.
void hold_signals();

/// Reads the held signals. SIGINT and SIGTERM end the loop; SIGUSR1 asks for the counters.
class SignalReader final : public Handler {
 public:
  static Result<FileDescriptor> open();

  SignalReader(Engine& engine, FileDescriptor fd) : engine_(engine), fd_(std::move(fd)) {}

  /// Call once.
  void start();

  /// The signal that ends the loop, or 0.
  int stop_signal() const { return stop_signal_; }
  /// It came again, or is SIGINT: nothing more is to be waited for.
  bool is_urgent() const { return urgent_; }
  /// True once for each time counters were asked for.
  bool take_counters_request() { return std::exchange(counters_requested_, false); }

  void on_completion(Completion completion) override;

 private:
  Engine& engine_;
  FileDescriptor fd_;
  int stop_signal_ = 0;
  bool urgent_ = false;
  bool counters_requested_ = false;
};

}  // namespace fairlead
