#include "proxy/relay/access_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace fairlead {
namespace {

using ::testing::ElementsAre;
using ::testing::StartsWith;

IpAddress ip(const char* text) { return *IpAddress::parse(text); }

AccessList list(const std::vector<std::pair<bool, const char*>>& options,
                Protocol protocol = Protocol::tcp, std::uint16_t port = 80) {
  std::vector<AccessRule> rules;
  for (const auto& [allows, text] : options) {
    const std::vector<AccessRule> parsed = parse_access_rules(allows, text).value();
    rules.insert(rules.end(), parsed.begin(), parsed.end());
  }
  return {rules, protocol, port};
}

std::string refusal(const char* text) {
  const auto parsed = parse_access_rules(true, text);
  return parsed ? "" : parsed.error().message;
}

TEST(AccessList, WithoutRulesEveryoneIsAdmitted) {
  EXPECT_TRUE(AccessList().empty());
  EXPECT_TRUE(AccessList().admits(ip("192.0.2.1")));
  EXPECT_TRUE(list({}).admits(ip("::1")));
}

TEST(AccessList, AllowancesLeaveOthersOut) {
  const AccessList access = list({{true, "10.0.0.0/8,fd00::/8"}, {true, "192.0.2.1"}});
  for (const char* in : {"10.255.0.1", "fd12::1", "192.0.2.1"}) EXPECT_TRUE(access.admits(ip(in)));
  for (const char* out : {"11.0.0.1", "fe00::1", "192.0.2.2", "::1"}) {
    EXPECT_FALSE(access.admits(ip(out))) << out;
  }
}

TEST(AccessList, DenialsAloneLeaveTheOthersIn) {
  const AccessList access = list({{false, "10.0.0.0/8"}});
  EXPECT_FALSE(access.admits(ip("10.0.0.1")));
  EXPECT_TRUE(access.admits(ip("11.0.0.1")));
  EXPECT_TRUE(access.admits(ip("::1")));
}

TEST(AccessList, TheLongestPrefixDecidesInWhateverOrder) {
  const AccessList access = list(
      {{true, "10.1.2.3"}, {false, "10.1.0.0/16"}, {true, "10.0.0.0/8"}, {false, "0.0.0.0/0"}});
  EXPECT_TRUE(access.admits(ip("10.1.2.3")));
  EXPECT_FALSE(access.admits(ip("10.1.2.4")));
  EXPECT_TRUE(access.admits(ip("10.2.0.1")));
  EXPECT_FALSE(access.admits(ip("11.0.0.1")));
  EXPECT_FALSE(access.admits(ip("::1")));
}

TEST(AccessList, ADenialWinsAgainstAnEqualAllowance) {
  EXPECT_FALSE(list({{true, "10.0.0.0/8"}, {false, "10.0.0.0/8"}}).admits(ip("10.0.0.1")));
  EXPECT_FALSE(list({{false, "10.0.0.0/8"}, {true, "10.0.0.0/8"}}).admits(ip("10.0.0.1")));
}

TEST(AccessList, RulesMayBeForSomePortsOfTheHost) {
  const std::vector<std::pair<bool, const char*>> options = {
      {true, "80/tcp=10.0.0.0/8"}, {false, "8000-8099=10.0.0.0/8"}, {false, "10.9.0.0/16"}};
  EXPECT_TRUE(list(options).admits(ip("10.0.0.1")));
  EXPECT_FALSE(list(options).admits(ip("192.0.2.1")));
  EXPECT_TRUE(list(options, Protocol::udp).admits(ip("192.0.2.1")));
  for (const auto port : {std::uint16_t{8000}, std::uint16_t{8099}}) {
    EXPECT_FALSE(list(options, Protocol::udp, port).admits(ip("10.0.0.1")));
    EXPECT_TRUE(list(options, Protocol::tcp, port).admits(ip("192.0.2.1")));
  }
  EXPECT_TRUE(list(options, Protocol::tcp, 8100).admits(ip("10.0.0.1")));
  EXPECT_FALSE(list(options, Protocol::tcp, 8100).admits(ip("10.9.0.1")));
}

TEST(AccessRules, AreReadWithTheirPorts) {
  const auto rules = parse_access_rules(false, "8000-8099/udp=10.0.0.0/8,::1");
  ASSERT_TRUE(rules);
  EXPECT_THAT(*rules, ElementsAre(AccessRule{false, Subnet::parse("10.0.0.0/8").value(),
                                             PortRange{8000, 8099}, Protocol::udp},
                                  AccessRule{false, Subnet::parse("::1/128").value(),
                                             PortRange{8000, 8099}, Protocol::udp}));
}

TEST(AccessRules, TheErrorSaysWhatIsAccepted) {
  EXPECT_THAT(
      refusal("10.0.0.1/8"),
      StartsWith("\"10.0.0.1/8\": host bits are set; did you mean 10.0.0.0/8?; accepted: "));
  EXPECT_THAT(refusal("80/tpc=10.0.0.0/8"), StartsWith("\"tpc\" is no protocol; accepted: "));
  for (const char* text : {"", "x", "10.0.0.0/33", "10.0.0.0/8,", "0=10.0.0.0/8", "80=", "=::1",
                           "80-70=::1", "80==::1", "/tcp=::1"}) {
    EXPECT_NE(refusal(text), "") << text;
  }
}

}  // namespace
}  // namespace fairlead
