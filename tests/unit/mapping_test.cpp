#include "proxy/mapping/mapping.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <initializer_list>
#include <vector>

namespace fairlead {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(Mapping, ParsesTheShortForm) {
  const auto mapping = Mapping::parse("8080:172.17.0.2:80");
  ASSERT_TRUE(mapping);
  EXPECT_EQ(mapping->protocol, Protocol::tcp);
  EXPECT_FALSE(mapping->host_ip);
  EXPECT_EQ(mapping->host_ports, (PortRange{8080, 8080}));
  EXPECT_EQ(mapping->container_ip.to_string(), "172.17.0.2");
  EXPECT_EQ(mapping->container_ports, (PortRange{80, 80}));
}

TEST(Mapping, ParsesTheLongForm) {
  const auto mapping = Mapping::parse("[2001:db8::1]:8000-8099:[fd00::2]:9000-9099/udp");
  ASSERT_TRUE(mapping);
  EXPECT_EQ(mapping->protocol, Protocol::udp);
  EXPECT_EQ(mapping->host_ip, IpAddress::parse("2001:db8::1"));
  EXPECT_EQ(mapping->host_ports, (PortRange{8000, 8099}));
  EXPECT_EQ(mapping->container_ip.to_string(), "fd00::2");
  EXPECT_EQ(mapping->container_ports, (PortRange{9000, 9099}));
}

TEST(Mapping, AWildcardIsNotTheSameAsNoAddress) {
  EXPECT_EQ(Mapping::parse("0.0.0.0:80:10.0.0.2:80")->host_ip, IpAddress::any(Family::v4));
  EXPECT_EQ(Mapping::parse("[::]:80:10.0.0.2:80")->host_ip, IpAddress::any(Family::v6));
}

TEST(Mapping, PrintsWhatItParses) {
  for (const char* text : {"8080:172.17.0.2:80/tcp", "127.0.0.1:53:10.0.0.2:5353/udp",
                           "[::]:80:10.0.0.2:80/tcp", "1-65535:[fd00::2]:1-65535/sctp"}) {
    const auto mapping = Mapping::parse(text);
    ASSERT_TRUE(mapping) << mapping.error().message;
    EXPECT_EQ(mapping->to_string(), text);
  }
}

TEST(Mapping, ErrorQuotesTheTextAndSaysWhatIsWrong) {
  const struct {
    const char* text;
    const char* reason;
  } cases[] = {
      {"", "a part is missing"},
      {"8080", "a part is missing"},
      {"8080:80", "a part is missing"},
      {"1:2:3:4:5", "too many parts"},
      {"::1:80:10.0.0.2:80", "too many parts"},
      {"80::80", "\"\" is no IP address"},
      {":80:10.0.0.2:80", "\"\" is no IP address"},
      {"localhost:80:10.0.0.2:80", "\"localhost\" is no IP address"},
      {"[127.0.0.1]:80:10.0.0.2:80", "\"[127.0.0.1]\" is no IP address"},
      {"[::1:80:10.0.0.2:80", "a part is missing"},
      {"[]:80:10.0.0.2:80", "\"[]\" is no IP address"},
      {"[fe80::1%eth0]:80:10.0.0.2:80", "is no IP address"},
      {"239.0.0.1:80:10.0.0.2:80", "the host address is a multicast address"},
      {"80:239.0.0.1:80", "is not that of one host"},
      {"80:0.0.0.0:80", "is not that of one host"},
      {"80:[::]:80", "is not that of one host"},
      {"0:10.0.0.2:80", "\"0\" is no port"},
      {"80:10.0.0.2:0", "\"0\" is no port"},
      {"80:10.0.0.2:65536", "\"65536\" is no port"},
      {":10.0.0.2:80", "a port is missing"},
      {"80:10.0.0.2:", "a port is missing"},
      {"80-81:10.0.0.2:80", "2 host ports cannot lead to 1 container ports"},
      {"80:10.0.0.2:80/TCP", "\"TCP\" is no protocol"},
      {"80:10.0.0.2:80/", "\"\" is no protocol"},
      {"80:10.0.0.2:80/tcp/udp", "\"80/tcp\" is no port"},
      {"80:10.0.0.2/24:80", "\"24:80\" is no protocol"},
  };
  for (const auto& [text, reason] : cases) {
    const auto mapping = Mapping::parse(text);
    ASSERT_FALSE(mapping) << text;
    EXPECT_THAT(mapping.error().message,
                AllOf(HasSubstr("\"" + std::string(text) + "\": "), HasSubstr(reason),
                      HasSubstr("accepted: [HOST-IP:]HOST-PORT")));
  }
}

/// Empty when the mappings can be served together.
std::string conflict(std::initializer_list<const char*> texts) {
  std::vector<Mapping> mappings;
  for (const char* text : texts) mappings.push_back(Mapping::parse(text).value());
  const auto checked = check_mappings(mappings);
  return checked ? "" : checked.error().message;
}

TEST(CheckMappings, AcceptsWhatCanBeServedTogether) {
  EXPECT_EQ(conflict({}), "");
  EXPECT_EQ(conflict({"80:10.0.0.2:80", "81:10.0.0.2:80"}), "");
  EXPECT_EQ(conflict({"53:10.0.0.2:53/tcp", "53:10.0.0.2:53/udp", "53:10.0.0.2:53/sctp"}), "");
  EXPECT_EQ(conflict({"127.0.0.1:80:10.0.0.2:80", "127.0.0.2:80:10.0.0.3:80"}), "");
  EXPECT_EQ(conflict({"8000-8009:10.0.0.2:8000-8009", "8010-8019:10.0.0.2:8000-8009"}), "");
}

TEST(CheckMappings, AnIpv6WildcardLeavesIpv4Alone) {
  EXPECT_EQ(conflict({"0.0.0.0:80:10.0.0.2:80", "[::]:80:10.0.0.2:80"}), "");
  EXPECT_EQ(conflict({"127.0.0.1:80:10.0.0.2:80", "[::]:80:10.0.0.2:80"}), "");
}

TEST(CheckMappings, RefusesTheSamePortTwice) {
  EXPECT_EQ(conflict({"80:10.0.0.2:80", "80:10.0.0.3:80"}),
            "\"80:10.0.0.2:80/tcp\" and \"80:10.0.0.3:80/tcp\" both listen on 80/tcp");
  EXPECT_EQ(conflict({"8000-8099:10.0.0.2:1000-1099/udp", "8090-8199:10.0.0.3:2000-2109/udp"}),
            "\"8000-8099:10.0.0.2:1000-1099/udp\" and \"8090-8199:10.0.0.3:2000-2109/udp\" both "
            "listen on 8090-8099/udp");
  EXPECT_NE(conflict({"127.0.0.1:80:10.0.0.2:80", "127.0.0.1:80:10.0.0.2:80"}), "");
}

TEST(CheckMappings, AWildcardOverlapsEveryAddressOfItsFamily) {
  EXPECT_NE(conflict({"0.0.0.0:80:10.0.0.2:80", "127.0.0.1:80:10.0.0.3:80"}), "");
  EXPECT_NE(conflict({"[::1]:80:10.0.0.2:80", "[::]:80:10.0.0.3:80"}), "");
  EXPECT_NE(conflict({"80:10.0.0.2:80", "127.0.0.1:80:10.0.0.3:80"}), "");
  EXPECT_NE(conflict({"[::1]:80:10.0.0.2:80", "80:10.0.0.3:80"}), "");
}

TEST(CheckMappings, RefusesAMappingToItself) {
  EXPECT_EQ(conflict({"127.0.0.1:80:127.0.0.1:80"}),
            "\"127.0.0.1:80:127.0.0.1:80/tcp\" leads to itself at 80/tcp and would relay for ever");
  EXPECT_NE(conflict({"192.0.2.1:80:192.0.2.1:80"}), "");
  EXPECT_NE(conflict({"80:127.0.0.1:80"}), "");
  EXPECT_NE(conflict({"80:127.9.9.9:80"}), "");
  EXPECT_NE(conflict({"80:[::1]:80"}), "");
  EXPECT_NE(conflict({"0.0.0.0:80:127.0.0.1:80/udp"}), "");
  EXPECT_NE(conflict({"80-90:127.0.0.1:90-100"}), "");

  EXPECT_EQ(conflict({"127.0.0.1:80:127.0.0.1:81"}), "");
  EXPECT_EQ(conflict({"127.0.0.1:80:127.0.0.2:80"}), "");
  EXPECT_EQ(conflict({"[::]:80:127.0.0.1:80"}), "");
  EXPECT_EQ(conflict({"0.0.0.0:80:[::1]:80"}), "");
  EXPECT_EQ(conflict({"80:192.0.2.1:80"}), "");
}

TEST(CheckMappings, RefusesARing) {
  EXPECT_EQ(conflict({"80:127.0.0.1:81", "81:127.0.0.1:80"}),
            "\"81:127.0.0.1:80/tcp\" leads to 80/tcp, where \"80:127.0.0.1:81/tcp\" listens: lead "
            "it to the container instead");
  EXPECT_EQ(conflict({"80:127.0.0.1:81/tcp", "81:127.0.0.1:80/udp"}), "");
}

TEST(CheckMappings, AWildcardListensOnTheHostsOwnAddressesToo) {
  const std::vector<IpAddress> own{*IpAddress::parse("192.0.2.1"), *IpAddress::parse("fd00::1")};
  for (const char* text : {"80:192.0.2.1:80", "0.0.0.0:80:192.0.2.1:80", "80:[fd00::1]:80"}) {
    const std::vector<Mapping> one{Mapping::parse(text).value()};
    EXPECT_TRUE(check_mappings(one)) << text;
    EXPECT_FALSE(check_mappings(one, own)) << text;
  }
  for (const char* text : {"80:192.0.2.1:81", "80:192.0.2.2:80", "0.0.0.0:80:[fd00::1]:80",
                           "127.0.0.1:80:192.0.2.1:80"}) {
    const std::vector<Mapping> one{Mapping::parse(text).value()};
    EXPECT_TRUE(check_mappings(one, own)) << text;
  }
}

TEST(CheckMappings, ManyMappingsAreCheckedInNoTime) {
  std::vector<Mapping> mappings;
  for (std::uint16_t port = 1; port <= 20'000; ++port) {
    mappings.push_back({.protocol = Protocol::tcp,
                        .host_ip = {},
                        .host_ports = {port, port},
                        .container_ip = *IpAddress::parse("10.0.0.2"),
                        .container_ports = {port, port}});
  }
  EXPECT_TRUE(check_mappings(mappings));
}

}  // namespace
}  // namespace fairlead
