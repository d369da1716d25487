#include "proxy/engine/ring.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <string>

#include "proxy/engine/io_uring_abi.h"
#include "proxy/log/log.h"

// Not io_uring_setup: rings are made before the filter is in force, and by nobody afterwards.
// syscalls[io_uring]: io_uring_enter io_uring_register eventfd2 poll|ppoll read

namespace fairlead {
namespace {

// An idle ring of this size costs the kernel about 20 kB. Completions beyond its size are kept by
// the kernel (IORING_FEAT_NODROP), only slower.
constexpr unsigned kSubmissionEntries = 64;
constexpr unsigned kCompletionEntries = 512;

std::string likely_cause(int error_number) {
  switch (error_number) {
    case ENOSYS:
      return "the kernel has no io_uring, or a seccomp filter hides it";
    case EPERM:
      return "forbidden by sysctl kernel.io_uring_disabled or by a seccomp filter, as in a "
             "container "
             "with Docker's default profile";
    case ENOMEM:
      return "RLIMIT_MEMLOCK or memory is short";
    case EINVAL:
      return "the kernel is older than Linux 6.1";
    case EMFILE:
    case ENFILE:
      return "no descriptor is free";
    default:
      return "unexpected";
  }
}

io_uring_restriction allow(unsigned kind, unsigned what) {
  io_uring_restriction restriction{};
  restriction.opcode = static_cast<std::uint16_t>(kind);
  // A union: sqe_op, sqe_flags and register_op are one byte.
  restriction.sqe_op = static_cast<std::uint8_t>(what);
  return restriction;
}

/// A ring does what system calls do, and no filter of system calls sees it. So it refuses whatever
/// the engine does not use. REQUIRES: IORING_SETUP_R_DISABLED.
int restrict_operations(io_uring& ring) {
  std::array restrictions = {
      allow(IORING_RESTRICTION_SQE_OP, IORING_OP_NOP),
      allow(IORING_RESTRICTION_SQE_OP, IORING_OP_ACCEPT),
      allow(IORING_RESTRICTION_SQE_OP, IORING_OP_CONNECT),
      allow(IORING_RESTRICTION_SQE_OP, IORING_OP_RECV),
      allow(IORING_RESTRICTION_SQE_OP, IORING_OP_POLL_ADD),
      allow(IORING_RESTRICTION_SQE_OP, IORING_OP_ASYNC_CANCEL),
      allow(IORING_RESTRICTION_SQE_FLAGS_ALLOWED, IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS),
      allow(IORING_RESTRICTION_REGISTER_OP, IORING_REGISTER_ENABLE_RINGS),
      allow(IORING_RESTRICTION_REGISTER_OP, IORING_REGISTER_RING_FDS),
      allow(IORING_RESTRICTION_REGISTER_OP, IORING_UNREGISTER_RING_FDS),
      allow(IORING_RESTRICTION_REGISTER_OP, IORING_REGISTER_PBUF_RING),
      allow(IORING_RESTRICTION_REGISTER_OP, IORING_UNREGISTER_PBUF_RING),
      allow(IORING_RESTRICTION_REGISTER_OP, IORING_REGISTER_EVENTFD),
  };
  return ::io_uring_register_restrictions(&ring, restrictions.data(),
                                          static_cast<unsigned>(restrictions.size()));
}

}  // namespace

Ring::~Ring() {
  if (ready_) ::io_uring_queue_exit(&ring_);
}

Result<void> Ring::set_up() {
  io_uring_params params{};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
                 IORING_SETUP_CQSIZE | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED;
  params.cq_entries = kCompletionEntries;
  if (const int result = ::io_uring_queue_init_params(kSubmissionEntries, &ring_, &params);
      result < 0) {
    return failed("io_uring_setup: " + errno_text(-result) + " (" + likely_cause(-result) + ")");
  }
  ready_ = true;
  // In force from the next call on, which also makes this thread the one issuer.
  int result = restrict_operations(ring_);
  if (result == 0) result = ::io_uring_enable_rings(&ring_);
  if (result < 0) {
    return failed("io_uring_register: " + errno_text(-result) + " (" + likely_cause(-result) + ")");
  }
  if ((params.features & abi::kFeatureNoIowait) != 0) no_iowait_flag_ = abi::kEnterNoIowait;
  // Saves the kernel a descriptor look-up in each enter. Also the first io_uring_register(2): a
  // filter that refuses this call would refuse the receive buffers later on, too.
  result = ::io_uring_register_ring_fd(&ring_);
  if (result < 0) {
    return failed("io_uring_register: " + errno_text(-result) + " (" + likely_cause(-result) + ")");
  }
  return {};
}

io_uring_sqe& Ring::next_entry() {
  io_uring_sqe* entry = ::io_uring_get_sqe(&ring_);
  if (entry == nullptr) {
    // Full: entries are taken by the kernel at submission, so there is room after it.
    enter(false, std::nullopt);
    entry = ::io_uring_get_sqe(&ring_);
    if (entry == nullptr) std::abort();
  }
  return *entry;
}

void Ring::abandon_prepared() {
  io_uring_sq& queue = ring_.sq;
  for (unsigned i = queue.sqe_head; i != queue.sqe_tail; ++i) {
    io_uring_sqe& entry = queue.sqes[i & queue.ring_mask];
    const std::uint64_t name = entry.user_data;
    ::io_uring_prep_nop(&entry);
    entry.user_data = name;
  }
}

unsigned Ring::prepared_entries() {
  // What liburing does before it enters; done here since its waiting calls know no flags.
  io_uring_sq& queue = ring_.sq;
  queue.sqe_head = queue.sqe_tail;
  io_uring_smp_store_release(queue.ktail, queue.sqe_tail);
  return queue.sqe_tail - io_uring_smp_load_acquire(queue.khead);
}

void Ring::enter(bool wait, std::optional<TimeMs> timeout_ms) {
  const unsigned to_submit = prepared_entries();
  if (wait && to_submit == 0 && ::io_uring_cq_ready(&ring_) > 0) return;

  unsigned flags = IORING_ENTER_GETEVENTS | no_iowait_flag_;
  if (ring_.enter_ring_fd != ring_.ring_fd) flags |= IORING_ENTER_REGISTERED_RING;
  __kernel_timespec timeout{};
  io_uring_getevents_arg argument{};
  void* extra = nullptr;
  std::size_t extra_bytes = 0;
  if (wait && timeout_ms) {
    timeout.tv_sec = *timeout_ms / 1000;
    timeout.tv_nsec = (*timeout_ms % 1000) * 1'000'000;
    argument.ts = reinterpret_cast<std::uintptr_t>(&timeout);
    extra = &argument;
    extra_bytes = sizeof argument;
    flags |= IORING_ENTER_EXT_ARG;
  }
  const int result =
      ::io_uring_enter2(static_cast<unsigned>(ring_.enter_ring_fd), to_submit, wait ? 1 : 0, flags,
                        static_cast<sigset_t*>(extra), extra_bytes);
  // ETIME: the time is over. EINTR: a signal. EBUSY, EBADR, EAGAIN: completions were waiting to be
  // taken, or memory is short; what was not submitted stays in the queue for the next call.
  if (result < 0 && result != -ETIME && result != -EINTR && result != -EBUSY && result != -EBADR &&
      result != -EAGAIN) {
    log_error("io_uring_enter: " + errno_text(-result));
    std::abort();
  }
}

std::span<Ring::Event> Ring::take_events(std::span<Event> space) {
  std::size_t count = 0;
  unsigned head = 0;
  io_uring_cqe* completion = nullptr;
  io_uring_for_each_cqe(&ring_, head, completion) {
    if (count == space.size()) break;
    space[count++] = {completion->user_data, completion->res, completion->flags};
  }
  ::io_uring_cq_advance(&ring_, static_cast<unsigned>(count));
  return space.first(count);
}

void Ring::park(std::optional<TimeMs> timeout_ms) {
  if (!parked_wakeup_) {
    parked_wakeup_ = FileDescriptor(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!parked_wakeup_ || ::io_uring_register_eventfd(&ring_, parked_wakeup_.get()) < 0) {
      // No descriptor to spare: be counted as waiting for a disk rather than not wait.
      parked_wakeup_.reset();
      enter(true, timeout_ms);
      return;
    }
  }
  ::io_uring_cq_eventfd_toggle(&ring_, true);
  // What was finished before signalling was switched on has not been signalled.
  enter(false, std::nullopt);
  if (::io_uring_cq_ready(&ring_) == 0) {
    pollfd wakeup{.fd = parked_wakeup_.get(), .events = POLLIN, .revents = 0};
    const TimeMs limit_ms = std::min<TimeMs>(timeout_ms.value_or(-1), 1'000'000'000);
    ::poll(&wakeup, 1, static_cast<int>(limit_ms));
  }
  ::io_uring_cq_eventfd_toggle(&ring_, false);
  eventfd_t count = 0;
  ::eventfd_read(parked_wakeup_.get(), &count);
}

}  // namespace fairlead
