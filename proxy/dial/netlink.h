// Requests to the kernel over netlink, put together by libnl.

#pragma once

#include <netlink/msg.h>
#include <netlink/socket.h>

#include <memory>
#include <span>
#include <string_view>

#include "proxy/mapping/error.h"

namespace fairlead {

struct FreeNetlink {
  void operator()(nl_sock* socket) const { ::nl_socket_free(socket); }
  void operator()(nl_msg* message) const { ::nlmsg_free(message); }
};

/// A message, with its header, to be filled with nlmsg_append() and nla_put().
using NetlinkMessage = std::unique_ptr<nl_msg, FreeNetlink>;

/// Speaks with the network namespace that the thread was in when it was opened.
class NetlinkSocket {
 public:
  /// `protocol` as NETLINK_ROUTE.
  static Result<NetlinkSocket> open(int protocol);

  /// Sends one request, which asks for an acknowledgement, and waits for it; the kernel answers
  /// before sendmsg(2) returns. `what` names the object in the error. Something that is there
  /// already is no error.
  Result<void> create(nl_msg& message, std::string_view what);

  /// The same for several messages that the kernel takes as one.
  Result<void> create_all(std::span<const NetlinkMessage> messages, std::string_view what);

 private:
  explicit NetlinkSocket(std::unique_ptr<nl_sock, FreeNetlink> socket)
      : socket_(std::move(socket)) {}

  Result<void> wait_for_acknowledgement(std::string_view what);

  std::unique_ptr<nl_sock, FreeNetlink> socket_;
};

}  // namespace fairlead
