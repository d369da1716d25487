#include "proxy/relay/pipe_pool.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "tests/unit/scripted_engine.h"

namespace fairlead {
namespace {

TEST(PipePool, LendsOnlySoManyAtATime) {
  ScriptedEngine engine;
  PipePool pool(engine);
  std::vector<Pipe> taken;
  while (auto pipe = pool.take()) taken.push_back(std::move(*pipe));
  EXPECT_EQ(taken.size(), PipePool::kTakenMax);
  pool.put_back(std::move(taken.back()));
  taken.pop_back();
  auto again = pool.take();
  ASSERT_TRUE(again);
  taken.push_back(std::move(*again));
  EXPECT_FALSE(pool.take());
  pool.give_away();
  EXPECT_TRUE(pool.take()) << "one has left with its connection";
}

}  // namespace
}  // namespace fairlead
