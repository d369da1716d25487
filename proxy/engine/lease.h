// Received bytes on loan.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace fairlead {

/// Takes a lent buffer back; an engine's buffer pool.
class Lender {
 public:
  virtual void take_back(std::uint16_t buffer_id) = 0;

 protected:
  ~Lender() = default;
};

/// A piece of an engine's receive buffer, filled by one receive. The buffer goes back to the engine
/// when the lease dies, so holding leases is what limits how much a connection can receive.
/// Move-only; belongs to the loop's thread; must die before its engine.
class Lease {
 public:
  Lease() = default;
  Lease(Lender& lender, std::uint16_t buffer_id, std::span<std::byte> bytes)
      : lender_(&lender),
        data_(bytes.data()),
        size_(static_cast<std::uint32_t>(bytes.size())),
        buffer_id_(buffer_id) {}
  Lease(Lease&& other) noexcept
      : lender_(std::exchange(other.lender_, nullptr)),
        data_(other.data_),
        size_(std::exchange(other.size_, 0)),
        buffer_id_(other.buffer_id_) {}
  Lease& operator=(Lease&& other) noexcept {
    if (this != &other) {
      give_back();
      lender_ = std::exchange(other.lender_, nullptr);
      data_ = other.data_;
      size_ = std::exchange(other.size_, 0);
      buffer_id_ = other.buffer_id_;
    }
    return *this;
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  ~Lease() { give_back(); }

  std::span<std::byte> bytes() const { return {data_, size_}; }
  std::size_t size() const { return size_; }

 private:
  void give_back() {
    if (lender_ != nullptr) lender_->take_back(buffer_id_);
    lender_ = nullptr;
  }

  Lender* lender_ = nullptr;
  std::byte* data_ = nullptr;
  std::uint32_t size_ = 0;
  std::uint16_t buffer_id_ = 0;
};

}  // namespace fairlead
