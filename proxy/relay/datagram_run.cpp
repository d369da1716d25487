#include "proxy/relay/datagram_run.h"

namespace fairlead {

bool DatagramRun::add(const Message& message) {
  const std::size_t size = message.size + prefix_.size();
  const std::size_t segment_size = message.segment_size + prefix_.size();
  if (!empty()) {
    const bool ended_short = bytes_ != datagrams_ * segment_size_;
    const bool fits =
        segment_size == segment_size_ || (message.datagrams() == 1 && size < segment_size_);
    if (ended_short || !fits || message.size == 0 ||
        datagrams_ + message.datagrams() > kDatagramsMax || bytes_ + size > kDatagramBytesMax) {
      return false;
    }
  } else {
    segment_size_ = segment_size;
  }
  if (!prefix_.empty()) {
    pieces_[pieces_count_++] = {const_cast<char*>(prefix_.data()), prefix_.size()};
  }
  pieces_[pieces_count_++] = {message.data, message.size};
  datagrams_ += message.datagrams();
  bytes_ += size;
  return true;
}

void DatagramRun::clear() {
  pieces_count_ = 0;
  segment_size_ = 0;
  datagrams_ = 0;
  bytes_ = 0;
}

}  // namespace fairlead
