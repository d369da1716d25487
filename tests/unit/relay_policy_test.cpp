#include "proxy/relay/relay_policy.h"

#include <gtest/gtest.h>

namespace fairlead {
namespace {

constexpr ReceivePlan kStanding{BufferSize::small, Repeat::until_stopped};
constexpr ReceivePlan kBulk{BufferSize::large, Repeat::once};
constexpr ReceivePlan kFrugal{BufferSize::small, Repeat::once};

TEST(RelayPolicy, MessagesAreReceivedByOneStandingReceive) {
  RelayPolicy policy;
  EXPECT_EQ(policy.receive_plan(false), kStanding);
  for (int i = 0; i < 100; ++i) policy.note_received(64);
  policy.note_received(kSmallBufferBytes - 1);
  EXPECT_EQ(policy.receive_plan(false), kStanding);
}

TEST(RelayPolicy, FullBuffersInARowMeanBulk) {
  RelayPolicy policy;
  policy.note_received(kSmallBufferBytes);
  EXPECT_FALSE(policy.is_bulk());
  policy.note_received(64);
  policy.note_received(kSmallBufferBytes);
  EXPECT_FALSE(policy.is_bulk()) << "the row was broken";
  policy.note_received(kSmallBufferBytes);
  EXPECT_TRUE(policy.is_bulk());
  EXPECT_EQ(policy.receive_plan(false), kBulk);
}

TEST(RelayPolicy, BulkIsLeftAfterManySmallReceives) {
  RelayPolicy policy;
  policy.note_received(kSmallBufferBytes);
  policy.note_received(kSmallBufferBytes);
  for (int i = 0; i < 7; ++i) policy.note_received(1000);
  EXPECT_TRUE(policy.is_bulk());
  policy.note_received(kLargeBufferBytes);
  for (int i = 0; i < 7; ++i) policy.note_received(1000);
  EXPECT_TRUE(policy.is_bulk()) << "the large one began a new row";
  policy.note_received(1000);
  EXPECT_EQ(policy.receive_plan(false), kStanding);
}

TEST(RelayPolicy, AFrugalConnectionTakesLittleAtATime) {
  RelayPolicy policy;
  EXPECT_EQ(policy.receive_plan(true), kFrugal);
  policy.note_received(kSmallBufferBytes);
  policy.note_received(kSmallBufferBytes);
  EXPECT_EQ(policy.receive_plan(true), kFrugal);
}

TEST(RelayPolicy, BulkInLargePiecesIsSpliced) {
  RelayPolicy policy;
  policy.note_received(kSmallBufferBytes);
  policy.note_received(kSmallBufferBytes);
  policy.note_received(100'000);
  EXPECT_FALSE(policy.use_splice(RelayMode::automatic));
  policy.note_received(20'000);
  policy.note_received(100'000);
  EXPECT_FALSE(policy.use_splice(RelayMode::automatic)) << "the row was broken";
  policy.note_received(100'000);
  EXPECT_TRUE(policy.use_splice(RelayMode::automatic));
  policy.note_received(20'000);
  EXPECT_TRUE(policy.use_splice(RelayMode::automatic)) << "one smaller piece changes nothing";
  for (int i = 0; i < 8; ++i) policy.note_received(1000);
  EXPECT_FALSE(policy.use_splice(RelayMode::automatic)) << "messages again";
}

TEST(RelayPolicy, AModeThatIsNamedIsKept) {
  RelayPolicy policy;
  EXPECT_TRUE(policy.use_splice(RelayMode::splice));
  for (int i = 0; i < 4; ++i) policy.note_received(kLargeBufferBytes);
  EXPECT_FALSE(policy.use_splice(RelayMode::copy));
}

}  // namespace
}  // namespace fairlead
