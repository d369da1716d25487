#include "netsetup/proxies/listening_sockets.h"

#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

#include "netsetup/links/netlink.h"
#include "proxy/net/protocol_numbers.h"

namespace fairlead {
namespace {

// States of include/net/tcp_states.h, which all of these protocols use.
constexpr std::uint32_t kClose = 1U << 7;
constexpr std::uint32_t kListen = 1U << 10;

std::optional<IpAddress> bound_address(const inet_diag_msg& socket, bool v6_only) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(socket.id.idiag_src);
  if (socket.idiag_family == AF_INET) return IpAddress::from_bytes(Family::v4, {bytes, 4});
  in6_addr v6;
  std::memcpy(&v6, bytes, sizeof(v6));
  if (IN6_IS_ADDR_V4MAPPED(&v6)) return IpAddress::from_bytes(Family::v4, {bytes + 12, 4});
  const IpAddress address = IpAddress::from_bytes(Family::v6, {bytes, 16});
  if (address.is_unspecified() && !v6_only) return std::nullopt;
  return address;
}

/// nl_socket_modify_cb's.
int take(nl_msg* message, void* sockets) {
  const auto socket = read_socket(*nlmsg_hdr(message));
  if (!socket) return NL_SKIP;
  static_cast<std::vector<LocalSocket>*>(sockets)->push_back(*socket);
  return NL_OK;
}

Result<std::vector<LocalSocket>> list_sockets(Protocol protocol, std::uint32_t states) {
  std::vector<LocalSocket> sockets;
  const auto netlink = open_netlink(NETLINK_SOCK_DIAG);
  if (!netlink) return std::unexpected(netlink.error());
  nl_socket_modify_cb(netlink->get(), NL_CB_VALID, NL_CB_CUSTOM, take, &sockets);
  for (const int family : {AF_INET, AF_INET6}) {
    inet_diag_req_v2 request{};
    request.sdiag_family = static_cast<std::uint8_t>(family);
    request.sdiag_protocol = static_cast<std::uint8_t>(protocol_number(protocol));
    request.idiag_states = states;
    int code =
        nl_send_simple(netlink->get(), SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &request, sizeof(request));
    if (code >= 0) code = nl_recvmsgs_default(netlink->get());
    // Who opens or closes a socket meanwhile may be in the list or not.
    if (code >= 0 || code == -NLE_DUMP_INTR || code == -NLE_OBJ_NOTFOUND) continue;
    return netlink_failed("list sockets", code);
  }
  return sockets;
}

}  // namespace

std::optional<LocalSocket> read_socket(nlmsghdr& answer) {
  std::array<nlattr*, INET_DIAG_MAX + 1> attributes{};
  std::array<nla_policy, INET_DIAG_MAX + 1> policy{};
  policy[INET_DIAG_SKV6ONLY].type = NLA_U8;
  if (nlmsg_parse(&answer, sizeof(inet_diag_msg), attributes.data(), INET_DIAG_MAX, policy.data()) <
      0) {
    return std::nullopt;
  }
  inet_diag_msg socket{};
  std::memcpy(&socket, nlmsg_data(&answer), sizeof(socket));
  const nlattr* v6_only = attributes[INET_DIAG_SKV6ONLY];
  return LocalSocket{bound_address(socket, v6_only != nullptr && nla_get_u8(v6_only) != 0),
                     ntohs(socket.id.idiag_sport)};
}

Result<std::vector<LocalSocket>> listening_sockets(Protocol protocol) {
  return list_sockets(protocol, protocol == Protocol::udp ? kClose : kListen);
}

}  // namespace fairlead
