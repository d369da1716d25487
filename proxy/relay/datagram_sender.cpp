#include "proxy/relay/datagram_sender.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace fairlead {
namespace {

/// udp_send_skb() in the kernel: EMSGSIZE (EINVAL before 6.14) for segments over the MTU, EINVAL
/// for too many of them, EIO for a way without checksum offload or through IPsec.
bool refuses_segments(int error) { return error == EMSGSIZE || error == EINVAL || error == EIO; }

/// No room, or a firewall's refusal. Everything else that a send on a connected socket fails with
/// may be the echo of an earlier datagram: the kernel reports an ICMP error once, in place of doing
/// what it was asked.
bool is_final(int error) {
  return error == EAGAIN || error == ENOBUFS || error == ENOMEM || error == EPERM;
}

/// EINVAL for an address that is not this host's (any longer); the others by way of routing.
bool refuses_source(int error) {
  return error == EINVAL || error == EADDRNOTAVAIL || error == ENETUNREACH;
}

}  // namespace

DatagramSender::DatagramSender(Engine& engine, int fd, DatagramPath& path, std::string_view prefix)
    : engine_(engine), fd_(fd), path_(path), connected_(true), prefix_(prefix), run_(prefix) {}

DatagramSender::DatagramSender(Engine& engine, int fd, DatagramPath& path, const UdpFlow& flow,
                               int family)
    : engine_(engine),
      fd_(fd),
      path_(path),
      connected_(false),
      destination_(flow.client_address(family)) {
  const std::span<std::byte> room = std::span(control_).subspan(kSegmentControlBytes);
  if (!path.source_refused) source_control_bytes_ = write_source_control(room, flow, family);
}

void DatagramSender::send(const Message& message) {
  if (prefix_.empty() || message.datagrams() == 1) {
    add(message);
    return;
  }
  for (std::uint32_t sent = 0; sent < message.size; sent += message.segment_size) {
    const std::uint32_t size = std::min(message.segment_size, message.size - sent);
    add({.data = message.data + sent, .size = size, .segment_size = size});
  }
}

void DatagramSender::add(const Message& message) {
  if (run_.add(message)) return;
  send_run();
  run_.add(message);
}

const SendTotals& DatagramSender::finish() {
  if (!run_.empty()) send_run();
  return totals_;
}

void DatagramSender::send_run() {
  const std::size_t segment_size = run_.datagrams() > 1 ? run_.segment_size() : 0;
  int error = EMSGSIZE;
  if (segment_size <= path_.segment_size_max) {
    error = attempt(run_.pieces(), segment_size);
  }
  if (segment_size > 0 && refuses_segments(error)) {
    const std::size_t accepted = error == EIO ? 0 : segment_size - 1;
    path_.segment_size_max =
        static_cast<std::uint16_t>(std::min<std::size_t>(path_.segment_size_max, accepted));
    send_one_by_one();
  } else {
    count(error, run_.datagrams(), run_.payload_bytes());
  }
  run_.clear();
}

void DatagramSender::send_one_by_one() {
  if (!prefix_.empty()) {
    const std::span<const iovec> pieces = run_.pieces();
    for (std::size_t i = 0; i < pieces.size(); i += 2) {
      count(attempt(pieces.subspan(i, 2), 0), 1, pieces[i + 1].iov_len);
    }
    return;
  }
  for (const iovec& piece : run_.pieces()) {
    auto* data = static_cast<std::byte*>(piece.iov_base);
    for (std::size_t left = piece.iov_len; left > 0;) {
      const std::size_t size = std::min(left, run_.segment_size());
      const iovec datagram{data, size};
      count(attempt({&datagram, 1}, 0), 1, size);
      data += size;
      left -= size;
    }
  }
}

/// Returns 0 or the errno.
int DatagramSender::attempt(std::span<const iovec> pieces, std::size_t segment_size) {
  bool with_source = source_control_bytes_ > 0;
  ssize_t result = 0;
  for (int attempts = 0; attempts < kAttempts; ++attempts) {
    result = send_once(pieces, segment_size, with_source);
    if (result >= 0) break;
    const int error = static_cast<int>(-result);
    if (is_final(error)) return error;
    if (connected_) {
      if (segment_size > 0 && refuses_segments(error)) return error;
      continue;
    }
    if (!with_source || !refuses_source(error)) return error;
    with_source = false;
  }
  if (result < 0) return static_cast<int>(-result);
  if (source_control_bytes_ > 0 && !with_source) {
    source_control_bytes_ = 0;
    path_.source_refused = true;
  }
  return 0;
}

ssize_t DatagramSender::send_once(std::span<const iovec> pieces, std::size_t segment_size,
                                  bool with_source) {
  if (connected_ && segment_size == 0) return engine_.send(fd_, pieces);

  msghdr message{};
  if (!connected_) {
    message.msg_name = destination_.get();
    message.msg_namelen = destination_.size();
  }
  message.msg_iov = const_cast<iovec*>(pieces.data());
  message.msg_iovlen = pieces.size();
  std::span<std::byte> control(control_);
  control = control.first(kSegmentControlBytes + (with_source ? source_control_bytes_ : 0));
  if (segment_size > 0) {
    const cmsghdr header{.cmsg_len = CMSG_LEN(sizeof(std::uint16_t)),
                         .cmsg_level = SOL_UDP,
                         .cmsg_type = UDP_SEGMENT};
    const auto size = static_cast<std::uint16_t>(segment_size);
    std::memcpy(control.data(), &header, sizeof header);
    std::memcpy(control.data() + CMSG_LEN(0), &size, sizeof size);
  } else {
    control = control.subspan(kSegmentControlBytes);
  }
  if (!control.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
  }
  return engine_.send_message(fd_, message, 0);
}

void DatagramSender::count(int error, std::size_t datagrams, std::size_t bytes) {
  if (error == 0) {
    totals_.datagrams += datagrams;
    totals_.bytes += bytes;
  } else {
    totals_.dropped += datagrams;
    totals_.error = error;
  }
}

}  // namespace fairlead
