// Receive buffers that the kernel picks from.

#pragma once

#include <liburing.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "proxy/engine/lease.h"
#include "proxy/mapping/error.h"

namespace fairlead {

/// A provided-buffer ring (IORING_REGISTER_PBUF_RING, Linux 5.19) and its buffers, of one size. A
/// buffer is in one of three places: in the ring, where the kernel takes it for a receive; lent, as
/// a Lease; or spare. Only a few are kept in the ring, since it is a queue: the fewer take turns in
/// it, the hotter they stay in the cache. The rest are spare, last in, first out.
class ProvidedBuffers final : public Lender {
 public:
  /// `count` is a power of two, at most 32,768; ids run from `first_id`.
  ProvidedBuffers(io_uring& ring, std::uint16_t group, std::uint16_t first_id, std::uint16_t count,
                  std::size_t size_bytes)
      : ring_(ring), group_(group), first_id_(first_id), count_(count), size_bytes_(size_bytes) {}
  ProvidedBuffers(const ProvidedBuffers&) = delete;
  ProvidedBuffers& operator=(const ProvidedBuffers&) = delete;
  ~ProvidedBuffers();

  /// Maps the memory and registers the ring, at the first call. Memory is charged when a receive
  /// touches it. Fails when memory or RLIMIT_MEMLOCK is short.
  Result<void> provide();

  std::uint16_t group() const { return group_; }
  /// Buffers the kernel can take, as far as seen by completions.
  std::size_t in_ring() const { return in_ring_; }
  bool exhausted() const { return in_ring_ == 0; }
  bool scarce() const { return lent_ > count_ / 2; }

  /// A completion says that the kernel took `buffer_id` and filled its first `size` bytes.
  Lease lend(std::uint16_t buffer_id, std::size_t size);
  void take_back(std::uint16_t buffer_id) override;

  /// A receive found a ring empty: if it was this one, more take turns in it from now on.
  void keep_more_if_exhausted();

  /// Gives the memory back to the system, if none is lent. It stays mapped and comes back, zeroed,
  /// when touched.
  void release_memory();

 private:
  static constexpr std::uint16_t kInRingAtFirst = 8;

  void put_in_ring(std::uint16_t buffer_id);
  void fill_ring();
  std::span<std::byte> memory_of(std::uint16_t buffer_id) const {
    return memory_.subspan((buffer_id - first_id_) * size_bytes_, size_bytes_);
  }

  io_uring& ring_;
  std::uint16_t group_;
  std::uint16_t first_id_;
  std::uint16_t count_;
  std::size_t size_bytes_;
  io_uring_buf_ring* shared_ = nullptr;
  std::span<std::byte> memory_;
  std::vector<std::uint16_t> spare_;
  std::uint16_t in_ring_ = 0;
  std::uint16_t in_ring_wanted_ = kInRingAtFirst;
  std::uint16_t lent_ = 0;
};

}  // namespace fairlead
