// How the bytes of a TCP direction are moved: the one place that decides, and why.

#pragma once

#include <cstddef>
#include <cstdint>

#include "proxy/engine/engine.h"

namespace fairlead {

/// Which way bytes of a TCP connection are moved (`--relay`).
enum class RelayMode : std::uint8_t { automatic, copy, splice };

struct ReceivePlan {
  BufferSize size;
  Repeat repeat;

  bool operator==(const ReceivePlan&) const = default;
};

/// What one direction of one connection has shown of itself, in three bytes.
///
/// A direction starts with a standing receive into small buffers: for messages, one receive
/// request serves the whole connection, and its buffer is still in the cache when the send reads
/// it. Two full small buffers in a row mean bulk. Bulk is received into large buffers, one request
/// at a time: the next receive starts when the last one's bytes are sent, which is all the
/// back-pressure a bulk transfer needs, and costs one request per 256 KiB. Several receives in a
/// row that a small buffer would have held lead back to the standing receive.
///
/// Bulk that comes in large pieces is spliced: its pages move through a pipe, and nothing is
/// copied. Over a bridge, on two processors shared with client and server, splicing took 0.54 to
/// 0.6 of the processor time of copying and moved, in the same rounds, 1.09 (up) and 1.16 (down)
/// times as much over one connection, 1.11 over eight, 1.2 over 64. Where the caches keep up with
/// all of it, copying was once a sixth faster over one connection, for half as much time again;
/// where memory is slower, splicing gains. Pieces below 64 KiB are not worth the pipe.
///
/// What a socket may send at once is for the kernel to say, with one exception: see tcp_pacing.h.
class RelayPolicy {
 public:
  /// A receive brought so many bytes.
  void note_received(std::size_t size_bytes) {
    if (size_bytes >= kLargePieceBytes) {
      if (large_in_row_ < kLargeToSplice) ++large_in_row_;
    } else if (large_in_row_ < kLargeToSplice) {
      large_in_row_ = 0;
    }
    if (size_bytes >= kSmallBufferBytes) {
      small_in_row_ = 0;
      if (full_in_row_ < kFullToBulk) ++full_in_row_;
    } else if (full_in_row_ < kFullToBulk) {
      full_in_row_ = 0;
    } else if (++small_in_row_ == kSmallToMessages) {
      full_in_row_ = 0;
      small_in_row_ = 0;
      large_in_row_ = 0;
    }
  }

  bool is_bulk() const { return full_in_row_ == kFullToBulk; }

  /// `frugal`: stalled connections hold so much memory that this one may hold only a little.
  ReceivePlan receive_plan(bool frugal) const {
    if (frugal) return {BufferSize::small, Repeat::once};
    if (is_bulk()) return {BufferSize::large, Repeat::once};
    return {BufferSize::small, Repeat::until_stopped};
  }

  bool use_splice(RelayMode mode) const {
    if (mode != RelayMode::automatic) return mode == RelayMode::splice;
    return is_bulk() && large_in_row_ == kLargeToSplice;
  }

 private:
  static constexpr std::uint8_t kFullToBulk = 2;
  static constexpr std::uint8_t kSmallToMessages = 8;
  static constexpr std::size_t kLargePieceBytes = 64UL << 10;
  static constexpr std::uint8_t kLargeToSplice = 2;

  std::uint8_t full_in_row_ = 0;
  std::uint8_t small_in_row_ = 0;
  std::uint8_t large_in_row_ = 0;
};

/// Bytes that stalled connections of one loop may hold beyond the engine's buffers before all its
/// connections become frugal, until half of it is left. N connections whose readers have stopped so
/// hold at most the engine's buffers, this much, and one small buffer for each direction.
inline constexpr std::size_t kStalledBytesBeforeFrugal = 64UL << 20;

}  // namespace fairlead
