#include "proxy/relay/datagram_run.h"

namespace fairlead {

bool DatagramRun::add(const Message& message) {
  if (!empty()) {
    const bool ended_short = bytes_ != datagrams_ * segment_size_;
    const bool fits = message.segment_size == segment_size_ ||
                      (message.datagrams() == 1 && message.size < segment_size_);
    if (ended_short || !fits || message.size == 0 ||
        datagrams_ + message.datagrams() > kDatagramsMax ||
        bytes_ + message.size > kDatagramBytesMax) {
      return false;
    }
  } else {
    segment_size_ = message.segment_size;
  }
  pieces_[pieces_count_++] = {message.data, message.size};
  datagrams_ += message.datagrams();
  bytes_ += message.size;
  return true;
}

void DatagramRun::clear() {
  pieces_count_ = 0;
  segment_size_ = 0;
  datagrams_ = 0;
  bytes_ = 0;
}

}  // namespace fairlead
