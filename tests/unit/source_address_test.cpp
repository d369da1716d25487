#include "proxy/dial/source_address.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <cerrno>
#include <deque>
#include <string>
#include <vector>

#include "proxy/dial/return_path.h"
#include "tests/unit/scripted_engine.h"

namespace fairlead {
namespace {

using Call = ScriptedEngine::Call;

IpAddress address(const char* text) { return IpAddress::parse(text).value_or(IpAddress()); }

TEST(SourceAddress, OrdinaryClientsKeepTheirs) {
  EXPECT_EQ(obstacle_to_keeping(address("203.0.113.9"), Family::v4), "");
  EXPECT_EQ(obstacle_to_keeping(address("169.254.1.1"), Family::v4), "");
  EXPECT_EQ(obstacle_to_keeping(address("2001:db8::9"), Family::v6), "");
  EXPECT_EQ(obstacle_to_keeping(address("fd00::9"), Family::v6), "");
}

TEST(SourceAddress, NoLoopbackAddressIsEverShown) {
  for (const char* text : {"127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"}) {
    for (const Family container : {Family::v4, Family::v6}) {
      EXPECT_EQ(obstacle_to_keeping(address(text), container), "on the loopback of the host")
          << text;
    }
  }
}

TEST(SourceAddress, WhatMeansNothingInTheContainerIsNotShown) {
  EXPECT_NE(obstacle_to_keeping(address("fe80::1"), Family::v6), "");
  EXPECT_NE(obstacle_to_keeping(address("febf::1"), Family::v6), "");
  EXPECT_NE(obstacle_to_keeping(address("2001:db8::9"), Family::v4), "");
  EXPECT_NE(obstacle_to_keeping(address("203.0.113.9"), Family::v6), "");
  EXPECT_NE(obstacle_to_keeping(address("0.0.0.0"), Family::v4), "");
  EXPECT_NE(obstacle_to_keeping(address("::"), Family::v6), "");
  EXPECT_NE(obstacle_to_keeping(address("224.0.0.1"), Family::v4), "");
}

class BindForeign : public ::testing::Test {
 protected:
  BindOutcome bind(std::deque<int> results, std::uint16_t port, bool is_stream = true,
                   const char* ip = "203.0.113.9") {
    sockets_.emplace_back(engine_.open_socket(0, 0, 0));
    engine_.script(Call::bind, std::move(results));
    return bind_foreign(engine_, sockets_.back().get(), is_stream, {address(ip), port});
  }
  const ScriptedEngine::Peer& socket() { return *engine_.opened().back(); }
  bool has(int level, int option, int value) {
    const auto found = socket().options.find({level, option});
    return found != socket().options.end() && found->second == value;
  }

  ScriptedEngine engine_;
  std::vector<FileDescriptor> sockets_;
};

TEST_F(BindForeign, KeepsThePort) {
  const BindOutcome outcome = bind({-EADDRNOTAVAIL, 0}, 40'000);
  EXPECT_EQ(outcome.bound, Bound::yes) << outcome.error;
  EXPECT_EQ(socket().bound_to, (Endpoint{address("203.0.113.9"), 40'000}));
  EXPECT_TRUE(has(SOL_SOCKET, SO_MARK, kReturnMark));
  EXPECT_TRUE(has(IPPROTO_IP, IP_TRANSPARENT, 1));
  EXPECT_TRUE(has(SOL_SOCKET, SO_REUSEADDR, 1));
  EXPECT_FALSE(has(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1));
}

TEST_F(BindForeign, TakesAnotherPortForOneThatIsTaken) {
  EXPECT_EQ(bind({-EADDRNOTAVAIL, -EADDRINUSE, 0}, 40'000).bound, Bound::yes);
  EXPECT_EQ(socket().bound_to, (Endpoint{address("203.0.113.9"), 0}));
  EXPECT_TRUE(has(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1));
}

TEST_F(BindForeign, NeverTakesAPrivilegedPort) {
  for (const std::uint16_t port : std::initializer_list<std::uint16_t>{0, 1, 80, 1023}) {
    EXPECT_EQ(bind({-EADDRNOTAVAIL, 0}, port).bound, Bound::yes);
    EXPECT_EQ(socket().bound_to, (Endpoint{address("203.0.113.9"), 0})) << port;
  }
  EXPECT_EQ(bind({-EADDRNOTAVAIL, 0}, 1024).bound, Bound::yes);
  EXPECT_EQ(socket().bound_to, (Endpoint{address("203.0.113.9"), 1024}));
}

TEST_F(BindForeign, OfDatagramsThePortIsChosenAtOnceAndNotShared) {
  EXPECT_EQ(bind({-EADDRNOTAVAIL, -EADDRINUSE, 0}, 40'000, false).bound, Bound::yes);
  EXPECT_FALSE(has(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1));
  EXPECT_FALSE(has(SOL_SOCKET, SO_REUSEADDR, 1));
}

TEST_F(BindForeign, Ipv6HasAnOptionOfItsOwn) {
  EXPECT_EQ(bind({-EADDRNOTAVAIL, 0}, 40'000, true, "2001:db8::9").bound, Bound::yes);
  EXPECT_TRUE(has(IPPROTO_IPV6, IPV6_TRANSPARENT, 1));
  EXPECT_FALSE(has(IPPROTO_IP, IP_TRANSPARENT, 1));
}

TEST_F(BindForeign, AnAddressOfTheContainerIsRefused) {
  EXPECT_EQ(bind({0}, 40'000).bound, Bound::own_address);
  EXPECT_FALSE(has(SOL_SOCKET, SO_MARK, kReturnMark));
}

TEST_F(BindForeign, SaysWhichCallFailed) {
  EXPECT_EQ(bind({-ENOBUFS}, 40'000).error, "bind: no buffer space available");
  EXPECT_EQ(bind({-EADDRNOTAVAIL, -EADDRNOTAVAIL}, 40'000).error,
            "bind to 203.0.113.9: cannot assign requested address");
  engine_.script(Call::set_option, {-EPERM});
  EXPECT_EQ(bind({-EADDRNOTAVAIL}, 40'000).error,
            "set SO_MARK: operation not permitted (this takes CAP_NET_ADMIN)");
  engine_.script(Call::set_option, {0, -EPERM});
  EXPECT_EQ(bind({-EADDRNOTAVAIL}, 40'000).error,
            "set IP_TRANSPARENT: operation not permitted (this takes CAP_NET_ADMIN)");
}

}  // namespace
}  // namespace fairlead
