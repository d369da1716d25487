#include "netsetup/links/host_routes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netlink/errno.h>
#include <netlink/handlers.h>

namespace fairlead {
namespace {

using ::testing::StartsWith;

/// The kernel takes every request and answers none.
Result<SocketHandle> silent_socket() {
  SocketHandle socket(nl_socket_alloc());
  nl_cb* callbacks = nl_socket_get_cb(socket.get());
  nl_cb_overwrite_send(callbacks, [](nl_sock* /*socket*/, nl_msg* message) {
    return static_cast<int>(nlmsg_hdr(message)->nlmsg_len);
  });
  nl_cb_overwrite_recv(callbacks,
                       [](nl_sock* /*socket*/, sockaddr_nl* /*from*/, unsigned char** /*buffer*/,
                          ucred** /*credentials*/) { return -NLE_AGAIN; });
  nl_cb_put(callbacks);
  return socket;
}

/// And nothing is lost then, which the address sanitizer looks after.
TEST(HostRoutes, AListThatBreaksOffIsAnError) {
  const auto routes = host_routes(silent_socket);
  ASSERT_FALSE(routes);
  EXPECT_THAT(routes.error().message, StartsWith("list routes: "));
  EXPECT_FALSE(uplinks(silent_socket));
  EXPECT_FALSE(other_bridges({}, silent_socket));
}

TEST(HostRoutes, ASocketThatCannotBeHadIsAnError) {
  const auto none = []() -> Result<SocketHandle> { return failed("no socket"); };
  EXPECT_EQ(host_routes(none).error().message, "no socket");
  EXPECT_EQ(uplinks(none).error().message, "no socket");
  EXPECT_EQ(other_bridges({}, none).error().message, "no socket");
}

}  // namespace
}  // namespace fairlead
