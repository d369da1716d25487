// What a thread may do while its capabilities are raised, and when they are not. Each test is made
// by a child: what is given up is given up for ever.

#include "proxy/process/capabilities.h"

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "proxy/net/file_descriptor.h"

namespace fairlead {
namespace {

using ::testing::ExitedWithCode;

/// Takes CAP_NET_ADMIN (or CAP_NET_RAW).
bool may_mark() {
  const FileDescriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const int mark = 7;
  return ::setsockopt(socket.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0;
}

bool may_raise() {
  const RaisedCapabilities raised;
  return may_mark();
}

class CapabilitiesDeathTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mark()) GTEST_SKIP() << "needs CAP_NET_ADMIN";
  }
};

/// The attempts whose bits are set have succeeded.
#define EXPECT_OUTCOME(statements, bits) \
  EXPECT_EXIT(                           \
      {                                  \
        int outcome = 0;                 \
        statements;                      \
        ::_exit(outcome);                \
      },                                 \
      ExitedWithCode(bits), "")

TEST_F(CapabilitiesDeathTest, AreInEffectOnlyWhileRaised) {
  EXPECT_OUTCOME(
      {
        (void)keep_capabilities({CAP_NET_ADMIN});
        outcome |= may_mark() ? 1 : 0;
        outcome |= may_raise() ? 2 : 0;
        outcome |= may_mark() ? 4 : 0;
        outcome |= may_raise() ? 8 : 0;
      },
      2 | 8);
}

TEST_F(CapabilitiesDeathTest, AreEachThreadsOwn) {
  EXPECT_OUTCOME(
      {
        (void)keep_capabilities({CAP_NET_ADMIN});
        const RaisedCapabilities raised;
        outcome |= may_mark() ? 1 : 0;
        std::thread started([&outcome] { outcome |= may_raise() && !may_mark() ? 2 : 0; });
        started.join();
        outcome |= may_mark() ? 4 : 0;
      },
      1 | 2 | 4);
}

TEST_F(CapabilitiesDeathTest, AreGoneForGoodUnlessKept) {
  EXPECT_OUTCOME(
      {
        (void)keep_capabilities({CAP_SYS_CHROOT});
        outcome |= may_raise() ? 1 : 0;
        outcome |= keep_capabilities({CAP_NET_ADMIN}) && may_raise() ? 2 : 0;
      },
      0);
}

}  // namespace
}  // namespace fairlead
