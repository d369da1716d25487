#include "proxy/engine/buffer_pool.h"

#include <sys/mman.h>

#include <cassert>

// syscalls: mmap munmap madvise

namespace fairlead {

BufferPool::~BufferPool() {
  assert(lent_ == 0);
  if (!memory_.empty()) ::munmap(memory_.data(), memory_.size());
}

bool BufferPool::map() {
  const std::size_t total_bytes = count_ * size_bytes_;
  void* memory = ::mmap(nullptr, total_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return false;
  // One touched buffer must not cost a huge page of 2 MiB.
  ::madvise(memory, total_bytes, MADV_NOHUGEPAGE);
  memory_ = {static_cast<std::byte*>(memory), total_bytes};
  free_.reserve(count_);
  for (std::uint16_t id = count_; id > 0; --id) {
    free_.push_back(static_cast<std::uint16_t>(id - 1));
  }
  return true;
}

std::span<std::byte> BufferPool::next() {
  assert(!exhausted());
  if (memory_.empty() && !map()) return {};
  return memory_.subspan(free_.back() * size_bytes_, size_bytes_);
}

Lease BufferPool::lend(std::size_t size_bytes) {
  const std::span<std::byte> bytes = next().first(size_bytes);
  const std::uint16_t id = free_.back();
  free_.pop_back();
  ++lent_;
  return Lease(*this, id, bytes);
}

void BufferPool::take_back(std::uint16_t buffer_id) {
  --lent_;
  free_.push_back(buffer_id);
}

void BufferPool::release_memory() {
  if (lent_ != 0 || memory_.empty()) return;
  ::madvise(memory_.data(), memory_.size(), MADV_DONTNEED);
}

}  // namespace fairlead
