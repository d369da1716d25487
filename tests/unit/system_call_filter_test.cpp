// The filter as the kernel runs it. What the kernel does with its answers is in isolation_test.

#include "proxy/isolation/system_call_filter.h"

#include <gtest/gtest.h>
#include <linux/seccomp.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>
#include <vector>

namespace fairlead {
namespace {

constexpr int kCallsMax = 1024;
constexpr Need kAll = Need::io_uring | Need::container_netns | Need::handover;

struct Answer {
  std::uint32_t verdict = 0;
  std::size_t steps = 0;
};

/// What BPF there is in a filter of ours; anything else has no verdict.
Answer answer_to(const std::vector<sock_filter>& filter, int call, std::uint64_t argument = 0) {
  seccomp_data data{};
  data.nr = call;
  // The filter begins with the comparison of the architecture it was made for.
  data.arch = filter.at(1).k;
  for (auto& each : data.args) each = argument;
  std::uint32_t accumulator = 0;
  Answer result;
  for (std::size_t at = 0; at < filter.size(); ++at) {
    const sock_filter& line = filter[at];
    ++result.steps;
    switch (line.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        std::memcpy(&accumulator, reinterpret_cast<const char*>(&data) + line.k,
                    sizeof accumulator);
        break;
      case BPF_ALU | BPF_AND | BPF_K:
        accumulator &= line.k;
        break;
      case BPF_JMP | BPF_JEQ | BPF_K:
        at += accumulator == line.k ? line.jt : line.jf;
        break;
      case BPF_JMP | BPF_JGE | BPF_K:
        at += accumulator >= line.k ? line.jt : line.jf;
        break;
      case BPF_JMP | BPF_JA:
        at += line.k;
        break;
      case BPF_RET | BPF_K:
        result.verdict = line.k;
        return result;
      default:
        return {};
    }
  }
  return {};
}

std::uint32_t verdict(Need needs, int call, std::uint64_t argument = 0) {
  return answer_to(system_call_filter(needs, Refusal::kill), call, argument).verdict;
}

TEST(SystemCallFilter, AnswersEveryCallInAFewSteps) {
  for (const Need needs : {Need::always, Need::io_uring, kAll}) {
    const auto filter = system_call_filter(needs, Refusal::kill);
    EXPECT_LE(filter.size(), static_cast<std::size_t>(BPF_MAXINSNS));
    std::size_t allowed = 0;
    for (int call = 0; call < kCallsMax; ++call) {
      const Answer answer = answer_to(filter, call);
      EXPECT_NE(answer.steps, 0U) << call;
      EXPECT_LE(answer.steps, 40U) << call;
      if (answer.verdict == SECCOMP_RET_ALLOW) ++allowed;
    }
    EXPECT_GT(allowed, 40U);
    EXPECT_LT(allowed, 100U);
  }
}

TEST(SystemCallFilter, AllowsWhatIsDeclaredForTheNeed) {
  for (const int call : {SYS_read, SYS_write, SYS_close, SYS_sendto, SYS_recvmmsg, SYS_madvise,
                         SYS_exit_group, SYS_getrandom, SYS_epoll_ctl}) {
    EXPECT_EQ(verdict(Need::always, call), SECCOMP_RET_ALLOW) << call;
    EXPECT_EQ(verdict(kAll, call), SECCOMP_RET_ALLOW) << call;
  }
  EXPECT_EQ(verdict(Need::always, SYS_io_uring_enter), SECCOMP_RET_KILL_PROCESS);
  EXPECT_EQ(verdict(Need::io_uring, SYS_io_uring_enter), SECCOMP_RET_ALLOW);
  EXPECT_EQ(verdict(kAll, SYS_io_uring_setup), SECCOMP_RET_KILL_PROCESS);
  EXPECT_EQ(verdict(kAll, SYS_execve), SECCOMP_RET_KILL_PROCESS);
}

TEST(SystemCallFilter, LooksAtArgumentsWhereThereAreRules) {
  EXPECT_EQ(verdict(Need::always, SYS_socket, AF_INET6), SECCOMP_RET_ALLOW);
  EXPECT_EQ(verdict(Need::always, SYS_socket, AF_NETLINK), SECCOMP_RET_KILL_PROCESS);
  EXPECT_EQ(verdict(Need::container_netns, SYS_socket, AF_NETLINK), SECCOMP_RET_ALLOW);
}

TEST(SystemCallFilter, FailsWhatTheLibraryCanDoWithout) {
  EXPECT_EQ(verdict(Need::always, SYS_clone3), SECCOMP_RET_ERRNO | ENOSYS);
  EXPECT_EQ(verdict(Need::always, SYS_openat), SECCOMP_RET_ERRNO | EACCES);
  EXPECT_EQ(verdict(Need::container_netns, SYS_openat), SECCOMP_RET_ALLOW);
}

}  // namespace
}  // namespace fairlead
