// What travels with an SCTP message, and the options of the sockets it travels through (RFC 6458).

#pragma once

// clang-format off: linux/sctp.h does not include what it needs.
#include <stdint.h>
#include <sys/socket.h>
#include <linux/sctp.h>
// clang-format on

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace fairlead {

/// What a relay has to keep of a message beside its bytes.
struct SctpMessageInfo {
  std::uint16_t stream = 0;
  /// Payload protocol identifier, in whatever byte order the applications have agreed on.
  std::uint32_t payload_protocol = 0;
  bool unordered = false;

  bool operator==(const SctpMessageInfo&) const = default;
};

/// Room for the control data of a received message.
inline constexpr std::size_t kSctpReceiveControlBytes =
    CMSG_SPACE(sizeof(sctp_rcvinfo)) + CMSG_SPACE(sizeof(sctp_sndrcvinfo));
/// Size of the control data of a message to send.
inline constexpr std::size_t kSctpSendControlBytes = CMSG_SPACE(sizeof(sctp_sndinfo));

/// Of a message received with SCTP_RECVRCVINFO set; nothing when it tells nothing.
std::optional<SctpMessageInfo> read_sctp_info(const msghdr& message);

/// REQUIRES: aligned as cmsghdr.
void write_sctp_info(std::span<std::byte, kSctpSendControlBytes> control,
                     const SctpMessageInfo& info);

/// Has received messages tell their stream, sends without delay, and offers as many streams as
/// there can be, since the relay cannot know how many the other side will ask for. For sockets
/// without an association; those that a listening socket accepts inherit all of it.
void set_sctp_options(int fd);

}  // namespace fairlead
