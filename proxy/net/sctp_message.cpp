#include "proxy/net/sctp_message.h"

#include <netinet/in.h>

#include <cstring>

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

void set_sctp_options(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_SCTP, SCTP_RECVRCVINFO, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_SCTP, SCTP_NODELAY, &on, sizeof on);
  const sctp_initmsg streams{.sinit_num_ostreams = 0xffff,
                             .sinit_max_instreams = 0xffff,
                             .sinit_max_attempts = 0,
                             .sinit_max_init_timeo = 0};
  ::setsockopt(fd, IPPROTO_SCTP, SCTP_INITMSG, &streams, sizeof streams);
  // A message that was delivered in part and then given up by its sender must not be continued
  // with the next one.
  const sctp_event given_up{.se_assoc_id = 0, .se_type = SCTP_PARTIAL_DELIVERY_EVENT, .se_on = 1};
  ::setsockopt(fd, IPPROTO_SCTP, SCTP_EVENT, &given_up, sizeof given_up);
}

}  // namespace fairlead
