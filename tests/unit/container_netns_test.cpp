#include "proxy/dial/container_netns.h"

#include <gtest/gtest.h>

namespace fairlead {
namespace {

using Kind = ContainerNetns::Kind;

TEST(ContainerNetns, IsTheHostsUnlessToldOtherwise) {
  EXPECT_EQ(ContainerNetns().kind, Kind::host);
}

TEST(ContainerNetns, IsToldInFourWays) {
  EXPECT_EQ(ContainerNetns::parse("auto"), (ContainerNetns{.kind = Kind::automatic}));
  EXPECT_EQ(ContainerNetns::parse("/run/docker/netns/4f"),
            (ContainerNetns{Kind::path, "/run/docker/netns/4f"}));
  EXPECT_EQ(ContainerNetns::parse("pid:4711"), (ContainerNetns{Kind::path, "/proc/4711/ns/net"}));
  EXPECT_EQ(ContainerNetns::parse("name:web"), (ContainerNetns{Kind::path, "/run/netns/web"}));
}

TEST(ContainerNetns, NothingElseIsTaken) {
  for (const char* text : {"", "host", "Auto", "auto ", "web", "run/netns/web", "pid:", "pid:0",
                           "pid:-1", "pid:x", "pid:1 ", "pid:4294967297", "name:", "name:.",
                           "name:..", "name:a/b", "name:../proc/1/ns/net", "Name:web"}) {
    const auto parsed = ContainerNetns::parse(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().message, "accepted: auto, an absolute path, pid:N, name:NAME") << text;
  }
}

}  // namespace
}  // namespace fairlead
