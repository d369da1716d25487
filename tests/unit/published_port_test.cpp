#include "netsetup/network/published_port.h"

#include <gtest/gtest.h>

namespace fairlead {
namespace {

PublishedPort port(std::string_view text) { return PublishedPort::parse(text).value(); }

TEST(PublishedPort, ReadsEveryFormAndWritesItBack) {
  EXPECT_EQ(port("8080:80").to_string(), "8080:80/tcp");
  EXPECT_EQ(port("8080:80/udp").to_string(), "8080:80/udp");
  EXPECT_EQ(port("127.0.0.1:8080:80").to_string(), "127.0.0.1:8080:80/tcp");
  EXPECT_EQ(port("[::1]:8080:80/sctp").to_string(), "[::1]:8080:80/sctp");
  EXPECT_EQ(port("8000-8099:9000-9099").to_string(), "8000-8099:9000-9099/tcp");
}

TEST(PublishedPort, RefusesWhatCannotBeMeant) {
  for (const auto* text : {"", "80", ":80", "8080:", "::1:8080:80", "[127.0.0.1]:8080:80",
                           "65536:80", "0:80", "8080:80/icmp", "8000-8099:80", "8000-8001:80-82",
                           "224.0.0.1:1:1", "8080:80 ", "x:8080:80"}) {
    const auto parsed = PublishedPort::parse(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_NE(parsed.error().message.find("accepted:"), std::string::npos);
  }
}

TEST(PublishedPort, OverlapsWhereOneSocketWouldMeetAnother) {
  EXPECT_TRUE(port("8080:80").overlaps(port("127.0.0.1:8080:81")));
  EXPECT_TRUE(port("0.0.0.0:8080:80").overlaps(port("127.0.0.1:8080:81")));
  EXPECT_TRUE(port("8000-8099:8000-8099").overlaps(port("8099:80")));
  EXPECT_FALSE(port("0.0.0.0:8080:80").overlaps(port("[::]:8080:81")));
  EXPECT_FALSE(port("127.0.0.1:8080:80").overlaps(port("127.0.0.2:8080:81")));
  EXPECT_FALSE(port("8080:80/tcp").overlaps(port("8080:80/udp")));
}

}  // namespace
}  // namespace fairlead
