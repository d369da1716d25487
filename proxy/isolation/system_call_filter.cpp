#include "proxy/isolation/system_call_filter.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/if.h>
#include <linux/nsfs.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <span>
#include <string>
#include <string_view>

// What the C library does of its own accord: memory, threads, the end.
// syscalls: brk mmap munmap mremap mprotect madvise futex getrandom clock_gettime
// syscalls: clone set_robust_list rseq sched_getaffinity rt_sigaction
// syscalls: rt_sigprocmask rt_sigreturn restart_syscall getpid gettid tgkill exit exit_group

namespace fairlead {
namespace {

struct DeclaredCall {
  int number;
  Need need;
};

struct NamedCall {
  int number;
  std::string_view name;
};

#include "declared_system_calls.h"

/// A call that is named here is allowed only when one of its rules holds: (argument & mask) ==
/// value. 32 bits are enough, since all of these arguments are ints or flags of the lower half.
struct Rule {
  int call;
  unsigned argument;
  std::uint32_t mask;
  std::uint32_t value;
  Need need = Need::always;
};

constexpr std::uint32_t kWhole = ~std::uint32_t{0};
constexpr std::uint32_t kNewNamespaces = CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWNET |
                                         CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUSER | CLONE_NEWUTS;

constexpr Rule kRules[] = {
    {SYS_socket, 0, kWhole, AF_INET},
    {SYS_socket, 0, kWhole, AF_INET6},
    {SYS_socket, 0, kWhole, AF_NETLINK, Need::container_netns},
    // What if_nametoindex(3) asks.
    {SYS_socket, 0, kWhole, AF_UNIX, Need::container_netns},
    // F_SETOWN and F_SETSIG could send any signal to any process.
    {SYS_fcntl, 1, kWhole, F_GETFL},
    {SYS_fcntl, 1, kWhole, F_SETFL},
    {SYS_fcntl, 1, kWhole, F_GETPIPE_SZ},
    {SYS_fcntl, 1, kWhole, F_SETPIPE_SZ},
    {SYS_mmap, 2, PROT_EXEC, 0},
    {SYS_mprotect, 2, PROT_EXEC, 0},
    // Threads, not processes.
    {SYS_clone, 0, CLONE_THREAD | kNewNamespaces, CLONE_THREAD},
    // abort().
    {SYS_tgkill, 2, kWhole, SIGABRT},
    {SYS_setns, 1, kWhole, CLONE_NEWNET, Need::container_netns},
    {SYS_ioctl, 1, kWhole, SIOCGIFFLAGS, Need::container_netns},
    {SYS_ioctl, 1, kWhole, SIOCGIFINDEX, Need::container_netns},
    {SYS_ioctl, 1, kWhole, NS_GET_USERNS, Need::container_netns},
    {SYS_ioctl, 1, kWhole, NS_GET_OWNER_UID, Need::container_netns},
};

/// Calls that the C library tries and can do without. Declaring one allows it.
struct Refused {
  int call;
  std::uint32_t error;
};

constexpr Refused kRefused[] = {
    // Its flags are in memory, where a filter cannot see them; clone() is tried next.
    {SYS_clone3, ENOSYS},
    // malloc() wants to read /proc/sys/vm/overcommit_memory before it shrinks a thread's heap.
    {SYS_openat, EACCES},
};

/// With dials from inside the container and a UNIX socket to remove it has 213.
constexpr std::size_t kLinesExpected = 256;

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#elif defined(__riscv) && __riscv_xlen == 64
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_RISCV64;
#else
#error "name the audit architecture of this machine"
#endif

// Only then is an argument's lower half where lower_half_of() looks for it.
static_assert(std::endian::native == std::endian::little);

constexpr std::uint32_t lower_half_of(unsigned argument) {
  return static_cast<std::uint32_t>(offsetof(seccomp_data, args) +
                                    argument * sizeof(std::uint64_t));
}

sock_filter load(std::size_t offset) {
  return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
}
sock_filter mask_with(std::uint32_t mask) { return BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask); }
sock_filter skip_unless(std::uint32_t value, std::size_t count) {
  return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, static_cast<std::uint8_t>(count));
}
sock_filter end_with(std::uint32_t action) { return BPF_STMT(BPF_RET | BPF_K, action); }

bool is_declared(int call, Need needs) {
  return std::ranges::any_of(kDeclaredCalls, [&](const DeclaredCall& declared) {
    return declared.number == call && covers(needs, declared.need);
  });
}

/// The calls that the filter knows, in the order of their numbers. All others are refused.
std::vector<int> known_calls(Need needs) {
  std::vector<int> calls;
  calls.reserve(std::size(kDeclaredCalls) + std::size(kRefused));
  for (const DeclaredCall& declared : kDeclaredCalls) {
    if (covers(needs, declared.need)) calls.push_back(declared.number);
  }
  for (const Refused& each : kRefused) calls.push_back(each.call);
  std::ranges::sort(calls);
  calls.erase(std::ranges::unique(calls).begin(), calls.end());
  return calls;
}

/// What is done with a known call: it is allowed always, allowed where a rule of it holds, or
/// fails.
void append_verdict(std::vector<sock_filter>& filter, int call, Need needs, std::uint32_t refused) {
  const auto failing = std::ranges::find(kRefused, call, &Refused::call);
  if (failing != std::end(kRefused) && !is_declared(call, needs)) {
    filter.push_back(end_with(SECCOMP_RET_ERRNO | failing->error));
    return;
  }
  const std::size_t begin = filter.size();
  for (const Rule& rule : kRules) {
    if (rule.call != call || !covers(needs, rule.need)) continue;
    filter.push_back(load(lower_half_of(rule.argument)));
    if (rule.mask != kWhole) filter.push_back(mask_with(rule.mask));
    filter.push_back(skip_unless(rule.value, 1));
    filter.push_back(end_with(SECCOMP_RET_ALLOW));
  }
  filter.push_back(end_with(filter.size() == begin ? SECCOMP_RET_ALLOW : refused));
}

/// Finds a call by halves of halves, then in a row. A filter that is put into force is run by the
/// kernel for each call that there is, to learn which it always allows (seccomp_cache_prepare() in
/// kernel/seccomp.c, Linux 5.11): with all calls in one row that took a tenth of the proxy's start.
class Search {
 public:
  Search(Need needs, std::uint32_t refused) : needs_(needs), refused_(refused) {}

  void append(std::vector<sock_filter>& filter, std::span<const int> calls) const {
    constexpr std::size_t kInRow = 8;
    if (calls.size() <= kInRow) {
      append_row(filter, calls);
      return;
    }
    const std::size_t half = calls.size() / 2;
    const auto middle = static_cast<std::uint32_t>(calls[half]);
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, middle, 0, 1));
    // A conditional jump would reach no further than 255 lines.
    const std::size_t jump = filter.size();
    filter.push_back(BPF_STMT(BPF_JMP | BPF_JA, 0));
    append(filter, calls.first(half));
    filter[jump].k = static_cast<std::uint32_t>(filter.size() - jump - 1);
    append(filter, calls.subspan(half));
  }

 private:
  void append_row(std::vector<sock_filter>& filter, std::span<const int> calls) const {
    for (const int call : calls) {
      const std::size_t skip = filter.size();
      filter.push_back(skip_unless(static_cast<std::uint32_t>(call), 0));
      append_verdict(filter, call, needs_, refused_);
      filter[skip].jf = static_cast<std::uint8_t>(filter.size() - skip - 1);
    }
    filter.push_back(end_with(refused_));
  }

  Need needs_;
  std::uint32_t refused_;
};

std::string_view call_name(int number) {
  const auto found = std::ranges::find(kNamedCalls, number, &NamedCall::number);
  return found == std::end(kNamedCalls) ? "without a name" : found->name;
}

void name_refused_call(int /*signal*/, siginfo_t* info, void* /*context*/) {
  const auto print = [](std::string_view text) {
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
  };
  print("fairlead-proxy: the system call ");
  print(call_name(info->si_syscall));
  print(" is not among those that are declared\n");
  ::_exit(128 + SIGSYS);
}

}  // namespace

std::vector<sock_filter> system_call_filter(Need needs, Refusal refusal) {
  const std::uint32_t refused =
      refusal == Refusal::kill ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_TRAP;
  const std::vector<int> calls = known_calls(needs);
  // In one piece that is the last: growing would leave some memory behind in each idle proxy.
  std::vector<sock_filter> filter;
  filter.reserve(kLinesExpected);
  // Calls of another architecture, such as those of 32-bit programs, have other numbers.
  filter.push_back(load(offsetof(seccomp_data, arch)));
  filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0));
  filter.push_back(end_with(SECCOMP_RET_KILL_PROCESS));
  filter.push_back(load(offsetof(seccomp_data, nr)));
  Search(needs, refused).append(filter, calls);
  return filter;
}

Result<void> install_system_call_filter(Need needs, Refusal refusal) {
  if (refusal == Refusal::name) {
    struct sigaction action{};
    action.sa_sigaction = name_refused_call;
    action.sa_flags = SA_SIGINFO;
    ::sigaction(SIGSYS, &action, nullptr);
  }
  std::vector<sock_filter> filter = system_call_filter(needs, refusal);
  const sock_fprog program{.len = static_cast<unsigned short>(filter.size()),
                           .filter = filter.data()};
  // Before Linux 5.16 a filter would also switch off speculation past stores, which makes all code
  // slower and is for processes that run the code of others.
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program) <
      0) {
    return failed("seccomp", errno);
  }
  return {};
}

}  // namespace fairlead
