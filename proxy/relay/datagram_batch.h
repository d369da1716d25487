// Datagrams received together, and the memory they lie in.

#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "proxy/engine/engine.h"
#include "proxy/net/socket_address.h"

namespace fairlead {

/// The longest payload that UDP over IPv4 carries, and that a run may have in all.
inline constexpr std::size_t kDatagramBytesMax = 65'507;

/// Gives a UDP socket room for bursts in both directions: `size_bytes`, or what net.core.rmem_max
/// and wmem_max allow to those without CAP_NET_ADMIN.
void set_datagram_buffers(Engine& engine, int fd, int size_bytes);

/// What one receive yields: a datagram, or several of one sender that the kernel merged (UDP_GRO)
/// or never split.
struct Message {
  std::byte* data = nullptr;
  std::uint32_t size = 0;
  /// The datagrams' size; the last one may be shorter. Equal to `size` when there is one only.
  std::uint32_t segment_size = 0;

  std::uint32_t datagrams() const {
    return size <= segment_size ? 1 : (size + segment_size - 1) / segment_size;
  }
};

/// Up to kMessages messages of one socket, received by one system call. One batch serves all UDP
/// sockets of a loop in turn: what it holds is sent on before the next receive, so that its memory
/// stays in the cache and its size does not depend on the number of sockets.
///
/// The memory, 4 MiB of addresses, is mapped at the first receive. Only the pages that datagrams
/// touch are real: one for each message, where datagrams have up to 4 KiB.
class DatagramBatch {
 public:
  /// As many as a segmented send takes, so that a flood of one client goes out in one send.
  static constexpr std::size_t kMessages = 64;

  DatagramBatch() = default;
  DatagramBatch(const DatagramBatch&) = delete;
  DatagramBatch& operator=(const DatagramBatch&) = delete;
  ~DatagramBatch() { release_memory(); }

  /// Receives what the socket holds now, up to kMessages. Returns the number of messages, valid
  /// until the next call, or -errno.
  int receive(Engine& engine, int fd);

  Message message(std::size_t index) const;
  /// Takes the first bytes off a message. REQUIRES: it is one datagram, of at least that size.
  void drop_front(std::size_t index, std::size_t size_bytes);
  /// REQUIRES: the socket is not connected.
  const SocketAddress& source(std::size_t index) const { return tables_->sources[index]; }
  const msghdr& header(std::size_t index) const { return tables_->headers[index].msg_hdr; }

  /// Gives the memory back to the system, until the next receive.
  void release_memory();

 private:
  /// UDP_GRO's and one of the PKTINFOs, and room for what a passed socket may have asked for.
  struct alignas(cmsghdr) Control {
    std::array<std::byte, 128> bytes;
  };
  struct Tables {
    std::array<mmsghdr, kMessages> headers{};
    std::array<iovec, kMessages> pieces{};
    std::array<SocketAddress, kMessages> sources{};
    std::array<Control, kMessages> controls{};
  };

  void take_memory();
  void prepare(std::size_t count);

  std::unique_ptr<Tables> tables_;
  std::byte* buffers_ = nullptr;
  /// Headers that the last receive wrote to.
  std::size_t used_ = 0;
};

}  // namespace fairlead
