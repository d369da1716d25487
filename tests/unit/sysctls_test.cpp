#include "netsetup/firewall/sysctls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/few_descriptors.h"
#include "tests/unit/netsetup_samples.h"

namespace fairlead {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

SysctlFacts facts() {
  return {
      .uplinks = {"eth0"}, .advertised = {}, .ipv6 = true, .ipv6_forwarding_by_interface = true};
}

Network network_v4() { return sample_network("web", {"10.1.0.0/24"}); }
Network network_v6() { return sample_network("six", {"fd00:1::/64"}); }

TEST(Sysctls, ANetworkTurnsOnTheSwitchOfItsFamily) {
  EXPECT_THAT(plan_sysctls({network_v4()}, facts()),
              ElementsAre(SysctlSetting{"net/ipv4/ip_forward", "1"},
                          SysctlSetting{"net/ipv6/conf/fl-web/accept_ra", "0"}));
  EXPECT_THAT(plan_sysctls({network_v6()}, facts()),
              ElementsAre(SysctlSetting{"net/ipv6/conf/all/forwarding", "1"},
                          SysctlSetting{"net/ipv6/conf/fl-six/accept_ra", "0"}));
}

TEST(Sysctls, AHostThatIsAdvertisedItsRouteGoesOnTakingIt) {
  SysctlFacts advertised = facts();
  advertised.advertised = {"eth0"};
  EXPECT_THAT(plan_sysctls({network_v6()}, advertised),
              ElementsAre(SysctlSetting{"net/ipv6/conf/eth0/accept_ra", "2"},
                          SysctlSetting{"net/ipv6/conf/all/forwarding", "1"},
                          SysctlSetting{"net/ipv6/conf/fl-six/accept_ra", "0"}));
}

TEST(Sysctls, ForwardingByInterfaceLeavesTheSwitchAlone) {
  Network v4 = network_v4();
  Network v6 = network_v6();
  v4.forwarding = v6.forwarding = Forwarding::interface;
  EXPECT_THAT(plan_sysctls({v4}, facts()),
              ElementsAre(SysctlSetting{"net/ipv4/conf/eth0/forwarding", "1"},
                          SysctlSetting{"net/ipv4/conf/fl-web/forwarding", "1"},
                          SysctlSetting{"net/ipv6/conf/fl-web/accept_ra", "0"}));
  EXPECT_THAT(plan_sysctls({v6}, facts()),
              ElementsAre(SysctlSetting{"net/ipv6/conf/eth0/force_forwarding", "1"},
                          SysctlSetting{"net/ipv6/conf/fl-six/force_forwarding", "1"},
                          SysctlSetting{"net/ipv6/conf/fl-six/accept_ra", "0"}));
}

TEST(Sysctls, OldKernelsForwardIpv6EverywhereOrNowhere) {
  Network v6 = network_v6();
  v6.forwarding = Forwarding::interface;
  SysctlFacts old = facts();
  old.ipv6_forwarding_by_interface = false;
  EXPECT_THAT(plan_sysctls({v6}, old),
              ElementsAre(SysctlSetting{"net/ipv6/conf/all/forwarding", "1"},
                          SysctlSetting{"net/ipv6/conf/fl-six/accept_ra", "0"}));
}

TEST(Sysctls, LoopbackIsRoutedOnlyToBridgesOfModeDnat) {
  Network dnat = network_v4();
  dnat.mode = Mode::dnat;
  Network both = sample_network("db", {"10.2.0.0/24"});
  EXPECT_THAT(plan_sysctls({both, dnat}, facts()),
              ElementsAre(SysctlSetting{"net/ipv4/ip_forward", "1"},
                          SysctlSetting{"net/ipv6/conf/fl-db/accept_ra", "0"},
                          SysctlSetting{"net/ipv4/conf/fl-web/route_localnet", "1"},
                          SysctlSetting{"net/ipv6/conf/fl-web/accept_ra", "0"}));
}

TEST(Sysctls, WhatIsNotOursOrLeadsNowhereIsLeftAlone) {
  Network internal = network_v4();
  internal.internal = true;
  internal.mode = Mode::dnat;
  internal.adopted = true;
  EXPECT_THAT(plan_sysctls({internal}, facts()), IsEmpty());
  EXPECT_THAT(plan_sysctls({}, facts()), IsEmpty());
}

// A host whose advertisements went unseen would lose its default route with the switch.
TEST(Sysctls, WhatCannotBeReadIsNotTakenForMissing) {
  const FewDescriptors none(0);
  const auto read = read_sysctl_facts({"eth0"}, {});
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().message,
            "open /proc/sys/net/ipv6/conf/all/forwarding: too many open files");
}

}  // namespace
}  // namespace fairlead
