// An io_uring instance.

#pragma once

#include <liburing.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "proxy/engine/engine.h"

namespace fairlead {

/// Owns a ring made for one thread (IORING_SETUP_SINGLE_ISSUER, Linux 6.0) that runs completion
/// work only when asked for it (IORING_SETUP_DEFER_TASKRUN, Linux 6.1). Only the thread that calls
/// set_up() may use it.
class Ring {
 public:
  struct Event {
    std::uint64_t name;
    std::int32_t result;
    std::uint32_t flags;
  };

  Ring() = default;
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring();

  /// Fails where the kernel, a sysctl, a seccomp filter or a limit refuses the ring; the error says
  /// which is likely. The Ring is then of no use.
  Result<void> set_up();

  /// A cleared entry to fill in; submitted by the next enter().
  io_uring_sqe& next_entry();

  /// Turns what was filled in and not yet submitted into operations that do nothing.
  void abandon_prepared();

  /// Submits what was filled in and, with `wait`, waits for a completion until `timeout_ms` has
  /// passed (nothing: for ever; ignored without `wait`). Returns early on a signal. The system call
  /// is left out when there is nothing to submit and completions are there already.
  void enter(bool wait, std::optional<TimeMs> timeout_ms);

  /// In the ring, or with the kernel until there is room.
  bool has_events() {
    return ::io_uring_cq_ready(&ring_) > 0 || ::io_uring_cq_has_overflow(&ring_);
  }

  /// enter() would not have to wait: completions are there, or the kernel's work for them is to be
  /// run. No system call.
  bool has_work() {
    return has_events() || (io_uring_smp_load_acquire(ring_.sq.kflags) & IORING_SQ_TASKRUN) != 0;
  }

  /// Takes completions out of the ring, as many as fit.
  std::span<Event> take_events(std::span<Event> space);

  /// Waiting in enter() counts as waiting for a disk (Linux 6.1.39 to 6.14).
  bool waiting_is_iowait() const { return no_iowait_flag_ == 0; }

  /// Waits for completions outside the ring, up to `timeout_ms`, where that would be counted so.
  void park(std::optional<TimeMs> timeout_ms);

  io_uring& raw() { return ring_; }

 private:
  unsigned prepared_entries();

  io_uring ring_{};
  bool ready_ = false;
  unsigned no_iowait_flag_ = 0;
  FileDescriptor parked_wakeup_;
};

}  // namespace fairlead
