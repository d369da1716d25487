#include "proxy/relay/datagram_batch.h"

#include <netinet/udp.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <span>

// syscalls: mmap munmap madvise

namespace fairlead {
namespace {

/// Any datagram and anything the kernel merges fits: nothing is ever cut off.
constexpr std::size_t kBufferBytes = 64UL * 1024;
/// A little more than a buffer, or the beginnings of all buffers would compete for one set of the
/// first-level cache.
constexpr std::size_t kStrideBytes = kBufferBytes + 192;
constexpr std::size_t kAllBuffersBytes = kStrideBytes * DatagramBatch::kMessages;

}  // namespace

void set_datagram_buffers(Engine& engine, int fd, int size_bytes) {
  if (engine.set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, size_bytes) < 0) {
    engine.set_option(fd, SOL_SOCKET, SO_RCVBUF, size_bytes);
  }
  if (engine.set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, size_bytes) < 0) {
    engine.set_option(fd, SOL_SOCKET, SO_SNDBUF, size_bytes);
  }
}

void DatagramBatch::take_memory() {
  void* memory = ::mmap(nullptr, kAllBuffersBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  // A huge page would make 2 MiB real for the first small datagram.
  ::madvise(memory, kAllBuffersBytes, MADV_NOHUGEPAGE);
  buffers_ = static_cast<std::byte*>(memory);
  tables_ = std::make_unique<Tables>();
  prepare(kMessages);
}

void DatagramBatch::release_memory() {
  if (buffers_ == nullptr) return;
  ::munmap(buffers_, kAllBuffersBytes);
  buffers_ = nullptr;
  tables_.reset();
}

void DatagramBatch::prepare(std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    tables_->pieces[i] = {buffers_ + i * kStrideBytes, kBufferBytes};
    msghdr& header = tables_->headers[i].msg_hdr;
    header = {};
    header.msg_name = tables_->sources[i].get();
    header.msg_namelen = SocketAddress::capacity();
    header.msg_iov = &tables_->pieces[i];
    header.msg_iovlen = 1;
    header.msg_control = tables_->controls[i].bytes.data();
    header.msg_controllen = tables_->controls[i].bytes.size();
  }
}

int DatagramBatch::receive(Engine& engine, int fd) {
  if (buffers_ == nullptr) take_memory();
  prepare(used_);
  const int count = engine.receive_messages(fd, tables_->headers);
  used_ = static_cast<std::size_t>(std::max(count, 0));
  return count;
}

void DatagramBatch::drop_front(std::size_t index, std::size_t size_bytes) {
  iovec& piece = tables_->pieces[index];
  piece.iov_base = static_cast<std::byte*>(piece.iov_base) + size_bytes;
  tables_->headers[index].msg_len -= static_cast<unsigned>(size_bytes);
}

Message DatagramBatch::message(std::size_t index) const {
  const mmsghdr& received = tables_->headers[index];
  Message message{.data = static_cast<std::byte*>(tables_->pieces[index].iov_base),
                  .size = received.msg_len,
                  .segment_size = received.msg_len};
  auto* header = const_cast<msghdr*>(&received.msg_hdr);
  for (cmsghdr* control = CMSG_FIRSTHDR(header); control != nullptr;
       control = CMSG_NXTHDR(header, control)) {
    if (control->cmsg_level != SOL_UDP || control->cmsg_type != UDP_GRO) continue;
    int segment_size = 0;
    std::memcpy(&segment_size, CMSG_DATA(control), sizeof segment_size);
    if (segment_size > 0) message.segment_size = static_cast<std::uint32_t>(segment_size);
  }
  return message;
}

}  // namespace fairlead
