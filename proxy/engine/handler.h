// Who is told of a finished operation.

#pragma once

#include <cstdint>

#include "proxy/engine/lease.h"

namespace fairlead {

/// Names one of the operations that a handler has in flight. An operation is known by its handler
/// and its tag, so a handler has at most one of each tag in flight.
using Tag = std::uint8_t;

/// Tags are below this: they travel in the low bits of the handler's address.
inline constexpr Tag kTagLimit = 8;

struct Completion {
  Tag tag = 0;
  /// Not negative: success, what the operation returns. Negative: -errno; -ECANCELED after
  /// cancel().
  int result = 0;
  /// The operation goes on and will complete again. When false it is over, and the handler may be
  /// destroyed as far as this operation is concerned.
  bool more = false;
  /// Receive only: the bytes, `result` of them; empty at the end of the stream (`result` 0) and on
  /// errors.
  Lease lease{};
};

/// Must outlive its operations: it may be destroyed only when each has completed with
/// `more == false`. All calls come from Engine::turn(), on the loop's thread.
class alignas(kTagLimit) Handler {
 public:
  Handler() = default;
  Handler(const Handler&) = delete;
  Handler& operator=(const Handler&) = delete;

  virtual void on_completion(Completion completion) = 0;

  /// After Engine::defer() or defer_long(): once, when the completions of a turn have all been
  /// delivered.
  virtual void on_deferred() {}

 protected:
  ~Handler() = default;

  /// on_deferred() is still to be called.
  bool is_deferred() const { return deferred_; }

 private:
  friend class Engine;
  Handler* next_deferred_ = nullptr;
  bool deferred_ = false;
};

}  // namespace fairlead
