// Receive buffers that the engine picks from.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "proxy/engine/lease.h"

namespace fairlead {

/// Buffers of one size, handed out last in, first out: the one that came back last is still in the
/// cache. Their memory is mapped at the first use and charged page by page when touched.
class BufferPool final : public Lender {
 public:
  BufferPool(std::uint16_t count, std::size_t size_bytes)
      : size_bytes_(size_bytes), count_(count) {}
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;
  /// REQUIRES: no lease alive.
  ~BufferPool();

  bool exhausted() const { return lent_ == count_; }
  /// More than half are lent.
  bool scarce() const { return lent_ > count_ / 2; }

  /// The buffer that lend() would hand out, to receive into first: a receive that finds nothing
  /// costs no lending. Empty when memory cannot be mapped. REQUIRES: not exhausted.
  std::span<std::byte> next();
  /// Lends the first `size_bytes` of next(). REQUIRES: next() was called and is not empty.
  Lease lend(std::size_t size_bytes);
  void take_back(std::uint16_t buffer_id) override;

  /// Gives the memory back to the system, if none is lent. It stays mapped and comes back, zeroed,
  /// when touched.
  void release_memory();

 private:
  bool map();

  std::size_t size_bytes_;
  std::uint16_t count_;
  std::uint16_t lent_ = 0;
  std::span<std::byte> memory_;
  /// Ids of those not lent; the last is the hottest.
  std::vector<std::uint16_t> free_;
};

}  // namespace fairlead
