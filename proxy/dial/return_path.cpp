#include "proxy/dial/return_path.h"

#include <fcntl.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <span>
#include <string>

#include "proxy/dial/netlink.h"
#include "proxy/net/file_descriptor.h"

// syscalls[container_netns]: openat read pwrite64 socket ioctl

namespace fairlead {
namespace {

/// Before the rules of the main table (32766) and most that others make. What is not marked is not
/// concerned.
constexpr std::uint32_t kRulePriority = 100;

/// /proc/sys/net shows the namespace of the thread that opens a file there.
Result<void> switch_on(const std::string& name) {
  const std::string path = "/proc/sys/net/" + name;
  const FileDescriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!file) return failed("open " + path, errno);
  char now = 0;
  if (::read(file.get(), &now, 1) == 1 && now == '1') return {};
  if (::pwrite(file.get(), "1", 1, 0) != 1) return failed("write 1 to " + path, errno);
  return {};
}

NetlinkMessage new_message(int type) {
  return NetlinkMessage(::nlmsg_alloc_simple(type, NLM_F_CREATE | NLM_F_EXCL));
}

/// ip rule add from SERVICE fwmark MARK lookup MARK priority 100
NetlinkMessage return_rule(int family, std::span<const std::uint8_t> service) {
  NetlinkMessage message = new_message(RTM_NEWRULE);
  fib_rule_hdr header{};
  header.family = static_cast<std::uint8_t>(family);
  header.action = FR_ACT_TO_TBL;
  header.src_len = static_cast<std::uint8_t>(service.size() * 8);
  ::nlmsg_append(message.get(), &header, sizeof header, NLMSG_ALIGNTO);
  ::nla_put_u32(message.get(), FRA_PRIORITY, kRulePriority);
  ::nla_put(message.get(), FRA_SRC, static_cast<int>(service.size()), service.data());
  ::nla_put_u32(message.get(), FRA_FWMARK, kReturnMark);
  ::nla_put_u32(message.get(), FRA_TABLE, kReturnMark);
  return message;
}

/// ip route add local default dev lo table MARK
NetlinkMessage return_route(int family) {
  NetlinkMessage message = new_message(RTM_NEWROUTE);
  rtmsg header{};
  header.rtm_family = static_cast<std::uint8_t>(family);
  header.rtm_protocol = RTPROT_STATIC;
  header.rtm_scope = RT_SCOPE_HOST;
  header.rtm_type = RTN_LOCAL;
  ::nlmsg_append(message.get(), &header, sizeof header, NLMSG_ALIGNTO);
  ::nla_put_u32(message.get(), RTA_TABLE, kReturnMark);
  ::nla_put_u32(message.get(), RTA_OIF, ::if_nametoindex("lo"));
  return message;
}

}  // namespace

Result<void> set_up_return_path(const IpAddress& service) {
  const bool v4 = service.is_v4();
  // tcp_fwmark_accept is for both.
  for (const char* name :
       {"ipv4/tcp_fwmark_accept", v4 ? "ipv4/fwmark_reflect" : "ipv6/fwmark_reflect"}) {
    if (auto switched = switch_on(name); !switched) return switched;
  }
  auto socket = NetlinkSocket::open(NETLINK_ROUTE);
  if (!socket) return std::unexpected(socket.error());
  const int address_family = v4 ? AF_INET : AF_INET6;
  // The route first: a mark that leads to an empty table would lead on to the default route.
  if (auto made = socket->create(*return_route(address_family), "add a local route"); !made) {
    return made;
  }
  return socket->create(*return_rule(address_family, service.bytes()), "add a routing rule");
}

}  // namespace fairlead
