#include "proxy/relay/backlog.h"

#include <algorithm>
#include <utility>

namespace fairlead {

void Backlog::append(Lease lease) {
  const std::span<std::byte> bytes = lease.bytes();
  size_bytes_ += bytes.size();
  pieces_.push_back({std::move(lease), nullptr, bytes});
}

void Backlog::append_copy(std::string_view bytes) {
  auto copy = std::make_unique_for_overwrite<std::byte[]>(bytes.size());
  const std::span<std::byte> copied(copy.get(), bytes.size());
  std::ranges::copy(std::as_bytes(std::span(bytes)), copied.begin());
  size_bytes_ += bytes.size();
  copied_bytes_ += bytes.size();
  pieces_.push_back({Lease(), std::move(copy), copied});
}

std::span<iovec> Backlog::front(std::span<iovec> space) const {
  const std::size_t count = std::min(space.size(), pieces_.size() - first_);
  for (std::size_t i = 0; i < count; ++i) {
    const std::span<std::byte> left = pieces_[first_ + i].left;
    space[i] = {left.data(), left.size()};
  }
  return space.first(count);
}

void Backlog::remove_front(std::size_t count) {
  size_bytes_ -= count;
  while (count > 0) {
    Piece& piece = pieces_[first_];
    const std::size_t sent = std::min(count, piece.left.size());
    piece.left = piece.left.subspan(sent);
    count -= sent;
    if (piece.left.empty()) {
      piece.lease = {};
      piece.copy.reset();
      ++first_;
    }
  }
}

void Backlog::clear() {
  // Keeps its capacity: the next direction fills it again at once.
  pieces_.clear();
  first_ = 0;
  size_bytes_ = 0;
  copied_bytes_ = 0;
}

void Backlog::copy_out() {
  if (first_ + 1 == pieces_.size() && pieces_[first_].copy != nullptr) return;
  auto copy = std::make_unique_for_overwrite<std::byte[]>(size_bytes_);
  std::byte* end = copy.get();
  for (std::size_t i = first_; i < pieces_.size(); ++i) {
    end = std::ranges::copy(pieces_[i].left, end).out;
  }
  const std::span<std::byte> bytes(copy.get(), size_bytes_);
  pieces_.clear();
  pieces_.shrink_to_fit();
  first_ = 0;
  pieces_.push_back({Lease(), std::move(copy), bytes});
  copied_bytes_ = size_bytes_;
}

}  // namespace fairlead
