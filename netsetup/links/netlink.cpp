#include "netsetup/links/netlink.h"

#include <fmt/format.h>
#include <netlink/errno.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cctype>
#include <cerrno>
#include <span>

namespace fairlead {
namespace {

int address_family(Family family) { return family == Family::v4 ? AF_INET : AF_INET6; }

NetlinkAddress build(const IpAddress& address, unsigned length) {
  const auto bytes = address.bytes();
  NetlinkAddress built(nl_addr_build(address_family(address.family()), bytes.data(), bytes.size()));
  if (built) nl_addr_set_prefixlen(built.get(), static_cast<int>(length));
  return built;
}

}  // namespace

Result<SocketHandle> open_netlink(int protocol) {
  SocketHandle socket(nl_socket_alloc());
  if (!socket) return failed("netlink socket: out of memory");
  if (const int code = nl_connect(socket.get(), protocol); code < 0) {
    return netlink_failed("netlink socket", code);
  }
  constexpr timeval kPatience{kAnswerSeconds, 0};
  if (::setsockopt(nl_socket_get_fd(socket.get()), SOL_SOCKET, SO_RCVTIMEO, &kPatience,
                   sizeof kPatience) < 0) {
    return failed("netlink socket", errno);
  }
  return socket;
}

std::unexpected<Error> netlink_failed(std::string_view step, int code) {
  if (code == -NLE_AGAIN) {
    return failed(fmt::format("{}: no answer from the kernel within {} s", step, kAnswerSeconds));
  }
  std::string text = nl_geterror(code);
  if (!text.empty()) text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  return failed(std::string(step) + ": " + text);
}

NetlinkAddress netlink_address(const IpAddress& address) {
  return build(address, address_bits(address.family()));
}

NetlinkAddress netlink_address(const Subnet& subnet) {
  return build(subnet.address(), subnet.length());
}

IpAddress ip_address(const nl_addr* address) {
  if (address == nullptr) return {};
  const int family = nl_addr_get_family(address);
  const std::span<const std::uint8_t> bytes(
      static_cast<const std::uint8_t*>(nl_addr_get_binary_addr(address)), nl_addr_get_len(address));
  if (family == AF_INET && bytes.size() == 4) return IpAddress::from_bytes(Family::v4, bytes);
  if (family == AF_INET6 && bytes.size() == 16) return IpAddress::from_bytes(Family::v6, bytes);
  return {};
}

}  // namespace fairlead
