#include "proxy/net/sctp_message.h"

#include <netinet/in.h>

#include <algorithm>
#include <cstring>

// syscalls: setsockopt

namespace fairlead {

std::optional<SctpMessageInfo> read_sctp_info(const msghdr& message) {
  auto* headers = const_cast<msghdr*>(&message);
  for (cmsghdr* control = CMSG_FIRSTHDR(headers); control != nullptr;
       control = CMSG_NXTHDR(headers, control)) {
    if (control->cmsg_level != IPPROTO_SCTP || control->cmsg_type != SCTP_RCVINFO) continue;
    sctp_rcvinfo info{};
    std::memcpy(&info, CMSG_DATA(control), sizeof info);
    return SctpMessageInfo{.stream = info.rcv_sid,
                           .payload_protocol = info.rcv_ppid,
                           .unordered = (info.rcv_flags & SCTP_UNORDERED) != 0};
  }
  return std::nullopt;
}

void write_sctp_info(std::span<std::byte, kSctpSendControlBytes> control,
                     const SctpMessageInfo& info) {
  std::memset(control.data(), 0, control.size());
  const cmsghdr header{.cmsg_len = CMSG_LEN(sizeof(sctp_sndinfo)),
                       .cmsg_level = IPPROTO_SCTP,
                       .cmsg_type = SCTP_SNDINFO};
  std::memcpy(control.data(), &header, sizeof header);
  sctp_sndinfo sent{};
  sent.snd_sid = info.stream;
  sent.snd_ppid = info.payload_protocol;
  sent.snd_flags = info.unordered ? SCTP_UNORDERED : 0;
  std::memcpy(control.data() + CMSG_LEN(0), &sent, sizeof sent);
}

SctpNotice read_sctp_notice(std::span<const std::byte> notification) {
  sctp_assoc_change notice{};
  std::memcpy(&notice, notification.data(), std::min(sizeof notice, notification.size()));
  if (notice.sac_type == SCTP_PARTIAL_DELIVERY_EVENT) return SctpNotice::message_given_up;
  if (notice.sac_type == SCTP_ASSOC_CHANGE && notice.sac_state == SCTP_SHUTDOWN_COMP) {
    return SctpNotice::shutdown_complete;
  }
  return SctpNotice::other;
}

void set_sctp_options(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_SCTP, SCTP_RECVRCVINFO, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_SCTP, SCTP_NODELAY, &on, sizeof on);
  const sctp_initmsg streams{.sinit_num_ostreams = 0xffff,
                             .sinit_max_instreams = 0xffff,
                             .sinit_max_attempts = 0,
                             .sinit_max_init_timeo = 0};
  ::setsockopt(fd, IPPROTO_SCTP, SCTP_INITMSG, &streams, sizeof streams);
  for (const std::uint16_t type :
       {std::uint16_t{SCTP_ASSOC_CHANGE}, std::uint16_t{SCTP_PARTIAL_DELIVERY_EVENT}}) {
    const sctp_event event{.se_assoc_id = 0, .se_type = type, .se_on = 1};
    ::setsockopt(fd, IPPROTO_SCTP, SCTP_EVENT, &event, sizeof event);
  }
}

}  // namespace fairlead
