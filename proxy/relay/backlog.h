// Bytes that were received and are still to be sent.

#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "proxy/engine/lease.h"

namespace fairlead {

/// In order. Holds the leases the bytes came in, or, when buffers are scarce, a copy.
class Backlog {
 public:
  Backlog() = default;
  Backlog(Backlog&&) = default;
  Backlog& operator=(Backlog&&) = default;

  void append(Lease lease);
  /// Bytes of the relay's own, which are copied.
  void append_copy(std::string_view bytes);
  bool empty() const { return size_bytes_ == 0; }
  std::size_t size_bytes() const { return size_bytes_; }

  /// The first bytes, as pieces to send from; as many as fit in `space`.
  std::span<iovec> front(std::span<iovec> space) const;

  /// The first `count` bytes were sent. Leases that held them go back.
  void remove_front(std::size_t count);

  /// Forgets everything; leases go back.
  void clear();

  /// Moves all bytes into one piece of memory of just their size, so that the leases go back.
  void copy_out();
  /// Memory of copies that is still held.
  std::size_t copied_bytes() const { return copied_bytes_; }

 private:
  struct Piece {
    Lease lease;
    std::unique_ptr<std::byte[]> copy;
    std::span<std::byte> left;
  };

  std::vector<Piece> pieces_;
  /// Pieces before this one are sent.
  std::size_t first_ = 0;
  std::size_t size_bytes_ = 0;
  std::size_t copied_bytes_ = 0;
};

}  // namespace fairlead
