// What sock_diag(7) answers.

#include "netsetup/proxies/listening_sockets.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netlink/msg.h>

#include "netsetup/links/netlink.h"

namespace fairlead {
namespace {

/// With the attribute that says whether an IPv6 socket takes IPv6 alone, of that many bytes.
MessageHandle answer(int family, const char* address, int v6_only_bytes) {
  inet_diag_msg socket{};
  socket.idiag_family = static_cast<std::uint8_t>(family);
  socket.id.idiag_sport = htons(80);
  ::inet_pton(family, address, socket.id.idiag_src);
  MessageHandle message(nlmsg_alloc_simple(SOCK_DIAG_BY_FAMILY, 0));
  nlmsg_append(message.get(), &socket, sizeof(socket), NLMSG_ALIGNTO);
  const std::uint8_t yes = 1;
  if (v6_only_bytes >= 0) nla_put(message.get(), INET_DIAG_SKV6ONLY, v6_only_bytes, &yes);
  return message;
}

TEST(ReadSocket, AllAddressesAreNoneInParticularUnlessOfIpv6Alone) {
  const auto both = read_socket(*nlmsg_hdr(answer(AF_INET6, "::", -1).get()));
  ASSERT_TRUE(both);
  EXPECT_FALSE(both->address);
  EXPECT_EQ(both->port, 80);
  const auto one = read_socket(*nlmsg_hdr(answer(AF_INET6, "::", 1).get()));
  ASSERT_TRUE(one && one->address);
  EXPECT_EQ(one->address->to_string(), "::");
}

TEST(ReadSocket, MappedAddressIsOfIpv4) {
  const auto socket = read_socket(*nlmsg_hdr(answer(AF_INET6, "::ffff:192.0.2.1", -1).get()));
  ASSERT_TRUE(socket && socket->address);
  EXPECT_EQ(socket->address->to_string(), "192.0.2.1");
}

TEST(ReadSocket, AttributeWithoutItsValueIsNoAnswer) {
  EXPECT_FALSE(read_socket(*nlmsg_hdr(answer(AF_INET6, "::", 0).get())));
}

TEST(ReadSocket, WhatIsTooShortIsNoAnswer) {
  const MessageHandle message(nlmsg_alloc_simple(SOCK_DIAG_BY_FAMILY, 0));
  EXPECT_FALSE(read_socket(*nlmsg_hdr(message.get())));
}

}  // namespace
}  // namespace fairlead
