#include "proxy/dial/netlink.h"

#include <netlink/errno.h>
#include <netlink/netlink.h>

#include <cstddef>
#include <string>
#include <vector>

// syscalls[container_netns]: socket bind setsockopt getsockname sendmsg recvmsg

namespace fairlead {
namespace {

std::unexpected<Error> netlink_failed(std::string_view what, int error) {
  return failed(std::string(what) + ": " + ::nl_geterror(error) +
                (error == -NLE_PERM ? " (this takes CAP_NET_ADMIN)" : ""));
}

}  // namespace

Result<NetlinkSocket> NetlinkSocket::open(int protocol) {
  std::unique_ptr<nl_sock, FreeNetlink> socket(::nl_socket_alloc());
  if (!socket) return netlink_failed("netlink", -NLE_NOMEM);
  if (const int error = ::nl_connect(socket.get(), protocol); error < 0) {
    return netlink_failed("netlink", error);
  }
  return NetlinkSocket(std::move(socket));
}

Result<void> NetlinkSocket::create(nl_msg& message, std::string_view what) {
  if (const int error = ::nl_send_auto(socket_.get(), &message); error < 0) {
    return netlink_failed(what, error);
  }
  return wait_for_acknowledgement(what);
}

Result<void> NetlinkSocket::create_all(std::span<const NetlinkMessage> messages,
                                       std::string_view what) {
  std::vector<std::byte> batch;
  for (const NetlinkMessage& message : messages) {
    const auto* bytes = reinterpret_cast<const std::byte*>(::nlmsg_hdr(message.get()));
    batch.insert(batch.end(), bytes, bytes + ::nlmsg_hdr(message.get())->nlmsg_len);
    batch.resize(NLMSG_ALIGN(batch.size()));
  }
  // All sequence numbers are 0.
  ::nl_socket_disable_seq_check(socket_.get());
  if (const int error = ::nl_sendto(socket_.get(), batch.data(), batch.size()); error < 0) {
    return netlink_failed(what, error);
  }
  return wait_for_acknowledgement(what);
}

Result<void> NetlinkSocket::wait_for_acknowledgement(std::string_view what) {
  const int error = ::nl_wait_for_ack(socket_.get());
  if (error < 0 && error != -NLE_EXIST) return netlink_failed(what, error);
  return {};
}

}  // namespace fairlead
