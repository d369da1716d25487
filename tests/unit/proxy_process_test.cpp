#include "netsetup/proxies/proxy_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spawn.h>

#include <array>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/few_descriptors.h"
#include "tests/unit/temporary_directory.h"

namespace fairlead {
namespace {

using ::testing::HasSubstr;

/// A process that is taken for a proxy of this state directory.
void start_in_its_place(const std::string& state_directory) {
  std::string program = "/bin/sleep";
  std::string seconds = "60";
  std::string variable = "FAIRLEAD_NET_STATE=" + state_directory;
  const std::array<char*, 3> arguments = {program.data(), seconds.data(), nullptr};
  const std::array<char*, 2> environment = {variable.data(), nullptr};
  pid_t pid = 0;
  ASSERT_EQ(
      ::posix_spawn(&pid, program.c_str(), nullptr, nullptr, arguments.data(), environment.data()),
      0);
}

// For want of a second descriptor, what /proc says of it cannot be read.
TEST(ProxyProcess, HasNotEndedBecauseItCannotBeLookedAt) {
  const TemporaryDirectory directory;
  start_in_its_place(directory.path());
  // When posix_spawn(3) returns, the process may not have its environment yet.
  std::vector<ProxyProcess> found;
  for (int tries = 0; found.empty() && tries < 1000; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    found = find_proxies(directory.path()).value();
  }
  ASSERT_EQ(found.size(), 1U);
  for (const rlim_t left : {0U, 1U}) {
    const FewDescriptors few(left);
    EXPECT_TRUE(is_running(found.front()));
    const auto stopped = stop_proxy(found.front());
    ASSERT_FALSE(stopped);
    EXPECT_THAT(stopped.error().message, HasSubstr("too many open files"));
  }
  {
    const FewDescriptors none(0);
    EXPECT_EQ(find_proxies(directory.path()).error().message, "list /proc: too many open files");
  }
  EXPECT_TRUE(stop_proxy(found.front()));
  EXPECT_FALSE(is_running(found.front()));
  EXPECT_TRUE(stop_proxy(found.front()));
}

}  // namespace
}  // namespace fairlead
