// What a process can still do once it has been isolated. Each test is made by a child that tries
// it: isolation is for ever.

#include "proxy/isolation/isolation.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <string>
#include <thread>

#include "proxy/engine/ring.h"
#include "proxy/isolation/account.h"
#include "proxy/isolation/landlock_abi.h"

namespace fairlead {
namespace {

using ::testing::ExitedWithCode;
using ::testing::HasSubstr;
using ::testing::KilledBySignal;

TEST(Account, IsAUserOrAUserAndAGroup) {
  EXPECT_EQ(Account::parse("root").value(), (Account{0, 0}));
  EXPECT_EQ(Account::parse("0").value(), (Account{0, 0}));
  EXPECT_EQ(Account::parse("daemon:root").value().gid, 0U);
  EXPECT_EQ(Account::parse("4294967294:7").value(), (Account{4294967294, 7}));
}

TEST(Account, ErrorSaysWhatIsAccepted) {
  for (const char* text : {"", ":", "no such user", "root:no such group", ":root", "root:",
                           // Has no group of its own; is what the kernel takes for "no change".
                           "4294967294", "4294967295:0", "0:4294967295", "-1"}) {
    const auto account = Account::parse(text);
    ASSERT_FALSE(account) << text;
    EXPECT_THAT(account.error().message, HasSubstr("accepted: a user of /etc/passwd"));
  }
}

TEST(Landlock, RightsGrowWithTheVersion) {
  EXPECT_EQ(landlock_abi::file_rights(1), 0x1fffU);
  EXPECT_EQ(landlock_abi::file_rights(2), 0x3fffU);
  EXPECT_EQ(landlock_abi::file_rights(3), 0x7fffU);
  EXPECT_EQ(landlock_abi::file_rights(4), 0x7fffU);
  EXPECT_EQ(landlock_abi::file_rights(5), 0xffffU);
  EXPECT_EQ(landlock_abi::file_rights(7), 0xffffU);
  EXPECT_EQ(landlock_abi::ruleset_bytes(3), 8U);
  EXPECT_EQ(landlock_abi::ruleset_bytes(5), 16U);
  EXPECT_EQ(landlock_abi::ruleset_bytes(6), 24U);
}

/// The end of a child in which an attempt that should not have failed has failed.
constexpr int kFailed = 250;

[[noreturn]] void end(int code) { ::_exit(code); }

void isolate_or_end(const Isolation& isolation) {
  if (!isolate(isolation)) end(kFailed);
}

#if FAIRLEAD_SANDBOX

/// The result as an exit code: 0, or errno.
[[noreturn]] void end_with_result(long result) { end(result < 0 ? errno : 0); }

/// A process that only relays.
const Isolation kRelay{};

#define EXPECT_KILLED(attempt)    \
  EXPECT_EXIT(                    \
      {                           \
        isolate_or_end(kRelay);   \
        end_with_result(attempt); \
      },                          \
      KilledBySignal(SIGSYS), "") \
      << #attempt

TEST(IsolationDeathTest, NoFileCanBeOpened) {
  EXPECT_EXIT(
      {
        isolate_or_end(kRelay);
        end_with_result(::open("/etc/passwd", O_RDONLY));
      },
      ExitedWithCode(EACCES), "");
  EXPECT_KILLED(::mkdir("/tmp/fairlead", 0700));
  EXPECT_KILLED(::unlink("/tmp/fairlead"));
  EXPECT_KILLED(::chdir("/"));
}

TEST(IsolationDeathTest, OnlyInternetSocketsCanBeMade) {
  for (const int family : {AF_INET, AF_INET6}) {
    EXPECT_EXIT(
        {
          isolate_or_end(kRelay);
          end_with_result(::socket(family, SOCK_STREAM, 0));
        },
        ExitedWithCode(0), "");
  }
  EXPECT_KILLED(::socket(AF_UNIX, SOCK_STREAM, 0));
  EXPECT_KILLED(::socket(AF_NETLINK, SOCK_RAW, 0));
  EXPECT_KILLED(::socket(AF_PACKET, SOCK_RAW, 0));
  EXPECT_KILLED(::socket(AF_ALG, SOCK_SEQPACKET, 0));
  EXPECT_KILLED(::listen(0, 1));
  EXPECT_KILLED(::bind(0, nullptr, 0));
}

TEST(IsolationDeathTest, NoProgramCanBeExecuted) {
  EXPECT_KILLED(::execl("/bin/true", "true", nullptr));
  EXPECT_KILLED(::syscall(SYS_execveat, -1, "/bin/true", nullptr, nullptr, 0));
  EXPECT_KILLED(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  EXPECT_KILLED(reinterpret_cast<long>(
      ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
}

TEST(IsolationDeathTest, NoOtherProcessCanBeReached) {
  EXPECT_KILLED(::ptrace(PTRACE_ATTACH, ::getppid(), nullptr, nullptr));
  EXPECT_KILLED(::kill(::getppid(), 0));
  EXPECT_KILLED(::syscall(SYS_process_vm_readv, ::getppid(), nullptr, 0, nullptr, 0, 0));
  EXPECT_KILLED(::syscall(SYS_pidfd_open, 1, 0));
  // A descriptor can have signals sent to its owner.
  EXPECT_KILLED(::fcntl(0, F_SETOWN, 1));
}

TEST(IsolationDeathTest, NothingThatOnlyTheKernelsOwnersNeed) {
  EXPECT_KILLED(::syscall(SYS_unshare, 0));
  EXPECT_KILLED(::syscall(SYS_bpf, 0, nullptr, 0));
  EXPECT_KILLED(::syscall(SYS_mount, nullptr, nullptr, nullptr, 0, nullptr));
  EXPECT_KILLED(::syscall(SYS_setns, 0, 0));
}

TEST(IsolationDeathTest, NoRingCanBeMadeAlsoWhereThereIsOne) {
  for (const Need needs : {Need::always, Need::io_uring}) {
    EXPECT_EXIT(
        {
          isolate_or_end({.needs = needs});
          end_with_result(::syscall(SYS_io_uring_setup, 1, nullptr));
        },
        KilledBySignal(SIGSYS), "");
  }
}

/// A folder with one file in it, where the namespaces of containers are to be found.
class NamespacesDeathTest : public testing::Test {
 protected:
  NamespacesDeathTest() : folder_(testing::TempDir() + "netns-" + std::to_string(::getpid())) {
    ::mkdir(folder_.c_str(), 0700);
    ::close(::creat(file().c_str(), 0600));
  }
  ~NamespacesDeathTest() override {
    ::unlink(file().c_str());
    ::unlink(link().c_str());
    ::rmdir(folder_.c_str());
  }

  std::string file() const { return folder_ + "/web"; }
  std::string link() const { return folder_ + "/link"; }
  static Isolation dialling_in(const std::string& netns, Source source = Source::client) {
    return {.dial = {.netns = ContainerNetns::parse(netns).value(), .source = source}};
  }

  std::string folder_;
};

#define EXPECT_OPENING(path, flags, isolation, outcome) \
  EXPECT_EXIT(                                          \
      {                                                 \
        isolate_or_end(isolation);                      \
        end_with_result(::open(path, flags));           \
      },                                                \
      ExitedWithCode(outcome), "")                      \
      << (path)

TEST_F(NamespacesDeathTest, LandlockLetsNoFileButTheNamespacesBeOpened) {
  const Isolation isolation = dialling_in(file());
  EXPECT_OPENING(file().c_str(), O_RDONLY, isolation, 0);
  EXPECT_OPENING(file().c_str(), O_RDWR, isolation, EACCES);
  EXPECT_OPENING("/etc/passwd", O_RDONLY, isolation, EACCES);
  EXPECT_OPENING("/proc/sys/kernel/hostname", O_RDONLY, isolation, EACCES);
  EXPECT_OPENING("/proc/thread-self/ns/net", O_RDONLY, isolation, 0);
  // It is not the filter of system calls that refuses: with auto there is no other.
  EXPECT_OPENING("/etc/passwd", O_RDONLY, dialling_in("auto"), 0);
}

TEST_F(NamespacesDeathTest, SettingsOfTheNetworkCanBeWrittenForForeignAddressesOnly) {
  const char* setting = "/proc/sys/net/ipv4/tcp_fwmark_accept";
  if (::access(setting, W_OK) != 0)
    GTEST_SKIP() << "needs root, and settings that are not read-only";
  EXPECT_OPENING(setting, O_RDWR, dialling_in(file(), Source::client), 0);
  EXPECT_OPENING(setting, O_RDWR, dialling_in(file(), Source::container), EACCES);
}

TEST_F(NamespacesDeathTest, ALinkIsFollowed) {
  ASSERT_EQ(::symlink("/etc/passwd", link().c_str()), 0);
  EXPECT_OPENING(link().c_str(), O_RDONLY, dialling_in(file()), EACCES);
  EXPECT_OPENING(link().c_str(), O_RDONLY, dialling_in(link()), 0);
  EXPECT_OPENING(file().c_str(), O_RDONLY, dialling_in(link()), EACCES);
}

TEST(IsolationDeathTest, ThreadsCanBeStarted) {
  EXPECT_EXIT(
      {
        isolate_or_end(kRelay);
        int value = 1;
        std::thread([&] {
          value = static_cast<int>(std::string(100'000, 'x').size() / 100'000) - 1;
        }).join();
        end(value);
      },
      ExitedWithCode(0), "");
}

TEST(IsolationDeathTest, ACallIsNamedOnRequest) {
  EXPECT_EXIT(
      {
        isolate_or_end({.refusal = Refusal::name});
        end_with_result(::execl("/bin/true", "true", nullptr));
      },
      ExitedWithCode(128 + SIGSYS), "the system call execve is not among those that are declared");
}

#endif

void print_file(int file) {
  std::string text(8192, '\0');
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(::read(file, text.data(), 8192), 0)));
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

TEST(IsolationDeathTest, TheUserIsChangedForGood) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const Isolation as_1234{.account = Account{1234, 5678}};
  EXPECT_EXIT(
      {
        const int status = ::open("/proc/self/status", O_RDONLY);
        isolate_or_end(as_1234);
        print_file(status);
        end(0);
      },
      ExitedWithCode(0),
      "Uid:\t1234\t1234\t1234\t1234\n"
      "Gid:\t5678\t5678\t5678\t5678\n"
      "(.|\n)*Groups:\t *\n"
      "(.|\n)*CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n"
      "(.|\n)*NoNewPrivs:\t1\n");
}

TEST(RingRestrictions, RefuseWhatTheEngineDoesNotUse) {
  Ring ring;
  if (const auto ready = ring.set_up(); !ready) GTEST_SKIP() << ready.error().message;
  const auto result_of = [&](auto prepare) {
    prepare(ring.next_entry());
    ring.enter(true, 1'000);
    std::array<Ring::Event, 1> space{};
    const auto events = ring.take_events(space);
    return events.empty() ? 0 : events[0].result;
  };
  EXPECT_EQ(result_of([](io_uring_sqe& entry) { ::io_uring_prep_nop(&entry); }), 0);
  EXPECT_EQ(result_of([](io_uring_sqe& entry) {
              ::io_uring_prep_openat(&entry, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
            }),
            -EACCES);
  EXPECT_EQ(result_of([](io_uring_sqe& entry) {
              ::io_uring_prep_socket(&entry, AF_UNIX, SOCK_STREAM, 0, 0);
            }),
            -EACCES);
  EXPECT_EQ(result_of([](io_uring_sqe& entry) {
              ::io_uring_prep_nop(&entry);
              entry.flags |= IOSQE_ASYNC;
            }),
            -EACCES);
  std::array<int, 1> files = {0};
  EXPECT_EQ(::io_uring_register_files(&ring.raw(), files.data(), 1), -EACCES);
}

}  // namespace
}  // namespace fairlead
