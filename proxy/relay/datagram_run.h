// Datagrams of one flow that can leave in one system call.

#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "proxy/relay/datagram_batch.h"

namespace fairlead {

/// Consecutive datagrams of equal size, of which the last may be shorter, as UDP_SEGMENT sends
/// them: a gather list over the batch's memory, nothing is copied. At most kDatagramsMax datagrams
/// and kDatagramBytesMax bytes. An empty datagram is a run of its own.
///
/// With a prefix, which must outlive the run, each datagram is two pieces: the prefix and its own
/// bytes. It counts as part of the datagram.
class DatagramRun {
 public:
  /// UDP_MAX_SEGMENTS until Linux 6.8, which doubled it.
  static constexpr std::size_t kDatagramsMax = 64;

  explicit DatagramRun(std::string_view prefix = {}) : prefix_(prefix) {}

  /// Appends the message's datagrams. False, and nothing appended, when they cannot join. An empty
  /// run takes any message. REQUIRES: with a prefix, the message is one datagram.
  bool add(const Message& message);
  void clear();

  bool empty() const { return pieces_count_ == 0; }
  std::span<const iovec> pieces() const { return {pieces_.data(), pieces_count_}; }
  std::size_t segment_size() const { return segment_size_; }
  std::size_t datagrams() const { return datagrams_; }
  /// Without the prefixes.
  std::size_t payload_bytes() const { return bytes_ - datagrams_ * prefix_.size(); }

 private:
  std::string_view prefix_;
  /// Not initialized: only the first pieces_count_ mean anything, and runs are made often.
  std::array<iovec, 2 * DatagramBatch::kMessages> pieces_;
  std::size_t pieces_count_ = 0;
  std::size_t segment_size_ = 0;
  std::size_t datagrams_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace fairlead
