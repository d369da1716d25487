#include "proxy/engine/provided_buffers.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

// syscalls: mmap munmap madvise

namespace fairlead {
namespace {

std::byte* map_memory(std::size_t size_bytes) {
  void* memory = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<std::byte*>(memory);
}

}  // namespace

ProvidedBuffers::~ProvidedBuffers() {
  if (shared_ == nullptr) return;
  ::io_uring_unregister_buf_ring(&ring_, group_);
  ::munmap(shared_, count_ * sizeof(io_uring_buf));
  ::munmap(memory_.data(), memory_.size());
}

Result<void> ProvidedBuffers::provide() {
  if (shared_ != nullptr) return {};
  const std::size_t ring_bytes = count_ * sizeof(io_uring_buf);
  std::byte* ring_memory = map_memory(ring_bytes);
  if (ring_memory == nullptr) return failed("map a buffer ring", errno);
  std::byte* buffers = map_memory(count_ * size_bytes_);
  if (buffers == nullptr) {
    const int error_number = errno;
    ::munmap(ring_memory, ring_bytes);
    return failed("map receive buffers", error_number);
  }

  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<std::uintptr_t>(ring_memory);
  registration.ring_entries = count_;
  registration.bgid = group_;
  if (const int result = ::io_uring_register_buf_ring(&ring_, &registration, 0); result < 0) {
    ::munmap(buffers, count_ * size_bytes_);
    ::munmap(ring_memory, ring_bytes);
    return failed("register a buffer ring", -result);
  }
  shared_ = reinterpret_cast<io_uring_buf_ring*>(ring_memory);
  ::io_uring_buf_ring_init(shared_);
  memory_ = {buffers, count_ * size_bytes_};
  spare_.reserve(count_);
  for (int index = count_ - 1; index >= 0; --index) {
    spare_.push_back(static_cast<std::uint16_t>(first_id_ + index));
  }
  fill_ring();
  return {};
}

Lease ProvidedBuffers::lend(std::uint16_t buffer_id, std::size_t size) {
  --in_ring_;
  ++lent_;
  // Refilled at once, so that a burst of receives never waits for the relay.
  fill_ring();
  return Lease(*this, buffer_id, memory_of(buffer_id).first(size));
}

void ProvidedBuffers::take_back(std::uint16_t buffer_id) {
  --lent_;
  if (in_ring_ < in_ring_wanted_) {
    put_in_ring(buffer_id);
  } else {
    spare_.push_back(buffer_id);
  }
}

void ProvidedBuffers::keep_more_if_exhausted() {
  if (shared_ == nullptr || !exhausted()) return;
  in_ring_wanted_ = std::min<std::uint16_t>(count_, in_ring_wanted_ * 2);
  fill_ring();
}

void ProvidedBuffers::fill_ring() {
  while (in_ring_ < in_ring_wanted_ && !spare_.empty()) {
    const std::uint16_t buffer_id = spare_.back();
    spare_.pop_back();
    put_in_ring(buffer_id);
  }
}

void ProvidedBuffers::release_memory() {
  if (shared_ == nullptr || lent_ != 0) return;
  ::madvise(memory_.data(), memory_.size(), MADV_DONTNEED);
}

void ProvidedBuffers::put_in_ring(std::uint16_t buffer_id) {
  ::io_uring_buf_ring_add(shared_, memory_of(buffer_id).data(), static_cast<unsigned>(size_bytes_),
                          buffer_id, ::io_uring_buf_ring_mask(count_), 0);
  ::io_uring_buf_ring_advance(shared_, 1);
  ++in_ring_;
}

}  // namespace fairlead
