#include "proxy/relay/deadlines.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <vector>

namespace fairlead {
namespace {

struct Timer : Deadline {
  explicit Timer(int its_name) : name(its_name) {}
  int name;
};

class DeadlinesTest : public ::testing::Test, public DeadlineList::Owner {
 public:
  void on_deadline(Deadline& deadline) override {
    auto& timer = static_cast<Timer&>(deadline);
    EXPECT_FALSE(timer.is_linked());
    expired.push_back(timer.name);
    if (when_expired) when_expired(timer);
  }

  std::vector<int> expired;
  std::function<void(Timer&)> when_expired;
};

TEST_F(DeadlinesTest, NothingIsDueWhileNoneIsSet) {
  Deadlines deadlines;
  EXPECT_EQ(deadlines.next(), std::nullopt);
  DeadlineList list(*this, 100);
  deadlines.add(list);
  EXPECT_EQ(deadlines.next(), std::nullopt);
  deadlines.run(1'000'000);
  EXPECT_TRUE(expired.empty());
}

TEST_F(DeadlinesTest, ExpiresInOrderAndNotBeforeItsTime) {
  Deadlines deadlines;
  DeadlineList list(*this, 100);
  deadlines.add(list);
  Timer first(1);
  Timer second(2);
  list.set(first, 1'000);
  list.set(second, 1'050);
  EXPECT_EQ(deadlines.next(), 1'100);
  deadlines.run(1'099);
  EXPECT_TRUE(expired.empty());
  deadlines.run(1'100);
  EXPECT_EQ(expired, std::vector{1});
  EXPECT_EQ(deadlines.next(), 1'150);
  deadlines.run(5'000);
  EXPECT_EQ(expired, (std::vector{1, 2}));
  EXPECT_EQ(deadlines.next(), std::nullopt);
}

TEST_F(DeadlinesTest, TheEarliestOfSeveralListsIsNext) {
  Deadlines deadlines;
  DeadlineList slow(*this, 90'000);
  DeadlineList quick(*this, 10);
  deadlines.add(slow);
  deadlines.add(quick);
  Timer session(1);
  Timer connection(2);
  slow.set(session, 0);
  EXPECT_EQ(deadlines.next(), 90'000);
  quick.set(connection, 0);
  EXPECT_EQ(deadlines.next(), 10);
  deadlines.remove(quick);
  EXPECT_EQ(deadlines.next(), 90'000);
}

TEST_F(DeadlinesTest, SettingAgainMovesItAndKeepsTheLeastRecentlySetInFront) {
  DeadlineList list(*this, 100);
  Timer first(1);
  Timer second(2);
  list.set(first, 0);
  list.set(second, 10);
  EXPECT_EQ(&list.front(), &first);
  list.set(first, 20);
  EXPECT_EQ(&list.front(), &second);
  list.run(110);
  EXPECT_EQ(expired, std::vector{2});
  list.run(120);
  EXPECT_EQ(expired, (std::vector{2, 1}));
}

TEST_F(DeadlinesTest, EndsWithItsObject) {
  DeadlineList list(*this, 100);
  {
    Timer timer(1);
    list.set(timer, 0);
  }
  EXPECT_TRUE(list.empty());
  Timer timer(2);
  list.set(timer, 0);
  timer.unlink();
  list.run(1'000);
  EXPECT_TRUE(expired.empty());
}

TEST_F(DeadlinesTest, MovesFromOneListToAnother) {
  DeadlineList connecting(*this, 1'000);
  DeadlineList idle(*this, 10);
  Timer timer(1);
  connecting.set(timer, 0);
  idle.set(timer, 0);
  EXPECT_TRUE(connecting.empty());
  idle.run(10);
  EXPECT_EQ(expired, std::vector{1});
}

TEST_F(DeadlinesTest, TakenOverFromAnotherLoopItKeepsItsTimeAndTheOrder) {
  DeadlineList there(*this, 100);
  DeadlineList here(*this, 100);
  Timer first(1);
  Timer second(2);
  Timer third(3);
  here.set(first, 0);
  there.set(second, 10);
  here.set(third, 20);
  second.unlink();
  here.take_over(second);
  here.run(109);
  EXPECT_EQ(expired, std::vector{1});
  here.run(110);
  EXPECT_EQ(expired, (std::vector{1, 2}));
  here.take_over(second);
  EXPECT_EQ(&here.front(), &second);
  here.run(120);
  EXPECT_EQ(expired, (std::vector{1, 2, 2, 3}));
}

TEST_F(DeadlinesTest, OwnerMaySetItAgainOrDestroyOthers) {
  DeadlineList list(*this, 100);
  Timer first(1);
  auto second = std::make_unique<Timer>(2);
  Timer third(3);
  list.set(first, 0);
  list.set(*second, 0);
  list.set(third, 0);
  when_expired = [&](Timer& timer) {
    if (timer.name == 1) {
      second.reset();
      list.set(timer, 150);
    }
  };
  list.run(150);
  EXPECT_EQ(expired, (std::vector{1, 3}));
  when_expired = {};
  list.run(250);
  EXPECT_EQ(expired, (std::vector{1, 3, 1}));
}

TEST_F(DeadlinesTest, ADurationOfZeroIsDueAtOnce) {
  DeadlineList list(*this, 0);
  Timer timer(1);
  list.set(timer, 77);
  list.run(77);
  EXPECT_EQ(expired, std::vector{1});
}

}  // namespace
}  // namespace fairlead
