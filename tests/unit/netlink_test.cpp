#include "netsetup/links/netlink.h"

#include <gtest/gtest.h>
#include <netlink/errno.h>
#include <sys/socket.h>
#include <sys/time.h>

namespace fairlead {
namespace {

// fairlead-net waited for ever where the kernel had refused to take a request (ENOBUFS) and libnl
// went on to receive the answer.
TEST(Netlink, AnAnswerIsNotWaitedForForEver) {
  const auto socket = open_netlink(NETLINK_ROUTE);
  ASSERT_TRUE(socket) << socket.error().message;
  const int fd = nl_socket_get_fd(socket->get());
  timeval patience{};
  socklen_t size = sizeof patience;
  ASSERT_EQ(::getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, &size), 0);
  EXPECT_EQ(patience.tv_sec, kAnswerSeconds);

  patience = {.tv_sec = 0, .tv_usec = 1000};
  ASSERT_EQ(::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
  const int code = nl_recvmsgs_default(socket->get());
  EXPECT_EQ(code, -NLE_AGAIN);
  EXPECT_EQ(netlink_failed("list interfaces", code).error().message,
            "list interfaces: no answer from the kernel within 10 s");
}

}  // namespace
}  // namespace fairlead
