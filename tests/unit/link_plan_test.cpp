#include "netsetup/links/link_plan.h"

#include <gtest/gtest.h>

#include "tests/unit/netsetup_samples.h"

namespace fairlead {
namespace {

std::vector<std::string> words(const std::vector<LinkChange>& changes) {
  std::vector<std::string> words;
  for (const LinkChange& change : changes) {
    const std::string text = change.to_string();
    words.push_back(text.substr(0, text.find(':')));
  }
  return words;
}

using Words = std::vector<std::string>;

TEST(LinkPlan, MakesBridgesBeforeContainersAndRemovesThemAfter) {
  const Networks networks = sample_networks(Mode::both);
  const LinkPlan made = plan_links({}, networks, Extent::differences);
  EXPECT_EQ(words(made.first),
            (Words{"make bridge fl-db", "make bridge fl-web", "attach web/c1", "attach web/c2"}));
  EXPECT_TRUE(made.last.empty());
  const LinkPlan removed = plan_links(networks, {}, Extent::differences);
  EXPECT_TRUE(removed.first.empty());
  EXPECT_EQ(words(removed.last), (Words{"detach web/c1", "detach web/c2", "delete bridge fl-db",
                                        "delete bridge fl-web"}));
}

TEST(LinkPlan, LeavesWhatIsTheSameAlone) {
  const Networks networks = sample_networks(Mode::both);
  Networks ports = networks;
  ports[1].containers[0].ports.clear();
  const LinkPlan plan = plan_links(networks, ports, Extent::differences);
  EXPECT_TRUE(plan.first.empty() && plan.last.empty());
  EXPECT_EQ(plan_links(networks, networks, Extent::everything).first.size(), 4U);
}

TEST(LinkPlan, MakesALinkAnewOnlyWhereItHasTo) {
  const Networks networks = sample_networks(Mode::both);
  Networks moved = networks;
  moved[1].containers[0].addresses[0] = ip("10.1.0.9");
  EXPECT_EQ(words(plan_links(networks, moved, Extent::differences).first),
            (Words{"detach web/c1", "attach web/c1"}));
  Networks hairpin = networks;
  hairpin[1].mode = Mode::dnat;
  EXPECT_EQ(words(plan_links(networks, hairpin, Extent::differences).first),
            (Words{"attach web/c1", "attach web/c2"}));
}

TEST(LinkPlan, MovesContainersToABridgeOfAnotherName) {
  const Networks networks = sample_networks(Mode::both);
  Networks renamed = networks;
  renamed[1].bridge = "other";
  const LinkPlan plan = plan_links(networks, renamed, Extent::differences);
  EXPECT_EQ(words(plan.first), (Words{"detach web/c1", "detach web/c2", "make bridge other",
                                      "attach web/c1", "attach web/c2"}));
  EXPECT_EQ(words(plan.last), (Words{"delete bridge fl-web"}));
}

}  // namespace
}  // namespace fairlead
