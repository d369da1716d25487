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

/// What a notification (MSG_NOTIFICATION) says, as far as a relay needs to know.
enum class SctpNotice : std::uint8_t {
  other,
  /// The association has ended in good order. The side that began the shutdown learns of it in no
  /// other way: neither poll(2) nor recvmsg(2) tell.
  shutdown_complete,
  /// The rest of a message that was delivered in part will not come.
  message_given_up,
};
SctpNotice read_sctp_notice(std::span<const std::byte> notification);

/// Has received messages tell their stream, asks for the notifications above, sends without delay,
/// and offers as many streams as there can be, since the relay cannot know how many the other side
/// will ask for. For sockets without an association; those that a listening socket accepts inherit
/// all of it.
void set_sctp_options(int fd);

}  // namespace fairlead
