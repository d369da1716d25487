#include "proxy/net/tcp_pacing.h"

#include <gtest/gtest.h>

namespace fairlead {
namespace {

TEST(TcpPacing, IsForPeersOutsideThisMachine) {
  EXPECT_TRUE(is_near(1));
  EXPECT_TRUE(is_near(49));
  EXPECT_FALSE(is_near(50)) << "that may be a network";
  EXPECT_FALSE(is_near(20'000));
  EXPECT_FALSE(is_near(~0U));
  EXPECT_FALSE(is_near(0)) << "not known";
}

}  // namespace
}  // namespace fairlead
