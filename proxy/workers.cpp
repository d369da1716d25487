#include "proxy/workers.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "proxy/engine/epoll_engine.h"
#include "proxy/log/log.h"
#include "proxy/relay/tcp_relay.h"

// Theory of operation
//
// The first loop, on the main thread, accepts all connections, makes all sockets to the backends
// and serves everything, UDP and SCTP included, until it is saturated: see LoopLoad. Then another
// loop is started, and half of the TCP connections that had something to do move there; idle ones
// stay. Any loop that is saturated later moves half of its active ones to one that is not busy, or
// to a new one, up to the limit. So connections that are made long before they are used, as those
// of a pool or of a benchmark are, make use of all processors, too. While several loops run, new
// connections go to them in turn, before their backend is dialled.
//
// A further loop runs on epoll, whatever the first one runs on. A ring belongs to the thread that
// makes it, and at that time the right to make one is gone (isolation/): a ring that was made later
// need not be restricted as ours is, and would do for whoever took over the process what the filter
// of system calls refuses. A ring made in advance would cost each idle proxy some 26 kB of the
// kernel, and serve for one thread only, to the end of that. What two loops relayed with one ring
// was within 5 % of what they did with two.
//
// A single connection stays on one loop, whatever it takes: its two directions share a thread's
// cache, and nothing else is there to move.
//
// A loop that has not been busy for kRestMs closes its mailbox, moves its connections to the first
// one and ends. What it cannot move, since the backend has not answered, it serves until it can.
//
// Nothing is lost on the way: a connection moves when nothing of it is in flight, it is owned by
// one loop or by one mailbox, and a mailbox that is closed hands out what it holds.

namespace fairlead {
namespace {

constexpr TimeMs kRestMs = 2'000;
/// After connections were moved the loops need some windows to show what it brought.
constexpr TimeMs kSettleMs = 200;
/// When a thread or an engine could not be had.
constexpr TimeMs kRetryMs = 10'000;

/// Those that the process may run on, of up to 1,024.
std::size_t usable_processors() {
  cpu_set_t usable;
  // std::thread::hardware_concurrency() reads a file, and counts those of the whole machine.
  if (::sched_getaffinity(0, sizeof usable, &usable) == 0) {
    return static_cast<std::size_t>(CPU_COUNT(&usable));
  }
  return std::max(std::thread::hardware_concurrency(), 1U);
}

}  // namespace

Workers::Workers(Loop& first, std::size_t limit)
    : first_loop_(first), limit_(limit > 0 ? limit : usable_processors()) {}

Workers::~Workers() { stop(); }

void Workers::stop() {
  stopping_ = true;
  std::vector<std::unique_ptr<Worker>> others;
  {
    const std::scoped_lock lock(mutex_);
    others.swap(others_);
  }
  for (const auto& worker : others) worker->mailbox.wake();
  for (const auto& worker : others) {
    if (worker->thread.joinable()) worker->thread.join();
  }
}

void Workers::note_turn() {
  if (limit_ == 1) return;
  const auto relay = first_loop_.tcp.lock();
  const TimeMs now = first_loop_.engine.now();
  if (relay == nullptr || !first_.load.note_turn(now)) return;
  balance(first_, *relay, now);
  if (running_ > 1 || relay->shares_new()) relay->share_new(other_mailboxes());
}

void Workers::note_ends() {
  if (first_.accepts_work) first_loop_.shared.waits_for_end = &first_.mailbox;
}

Mailbox* Workers::find_help() {
  Worker* help = find_help(first_, first_loop_.engine.now());
  return help != nullptr ? &help->mailbox : nullptr;
}

// On the worker's own thread.

void Workers::run(Worker& worker) {
  if (const auto engine = make_epoll_engine(); engine) {
    serve(worker, **engine);
  } else {
    {
      const std::scoped_lock lock(mutex_);
      note_refused(worker.busy_at, engine.error().message);
    }
    worker.accepts_work = false;
    for (auto& connection : worker.mailbox.close()) first_.mailbox.post(connection);
  }
  --running_;
  worker.ended = true;
}

void Workers::serve(Worker& worker, Engine& engine) {
  Loop loop{.engine = engine, .settings = first_loop_.settings, .shared = first_loop_.shared};
  const auto relay = std::make_shared<TcpRelay>(loop);
  loop.tcp = relay;
  worker.mailbox.serve(*relay);
  bool resting = false;
  while (!stopping_ && !(resting && relay->empty())) {
    std::optional<TimeMs> wake_at = loop.deadlines.next();
    const TimeMs rest_at = worker.busy_at + kRestMs;
    if (!resting) wake_at = std::min(wake_at.value_or(rest_at), rest_at);
    engine.turn(wake_at);
    loop.deadlines.run(engine.now());
    if (worker.load.note_turn(engine.now())) balance(worker, *relay, engine.now());
    if (!resting && engine.now() >= worker.busy_at + kRestMs) {
      resting = true;
      worker.accepts_work = false;
      for (auto& connection : worker.mailbox.close()) relay->adopt(std::move(connection));
      relay->move_all(first_.mailbox);
    }
  }
  engine.stop();
}

// On any of the threads.

void Workers::balance(Worker& worker, TcpRelay& relay, TimeMs now) {
  if (worker.load.busy()) worker.busy_at = now;
  const std::size_t active = relay.take_active();
  if (!worker.load.saturated() || active < 2 || now < worker.settled_at) return;
  Worker* help = find_help(worker, now);
  if (help == nullptr) return;
  relay.move_active(active / 2, help->mailbox);
  worker.settled_at = now + kSettleMs;
}

Workers::Worker* Workers::find_help(const Worker& worker, TimeMs now) {
  const auto can_help = [&](const Worker& other) {
    return &other != &worker && other.accepts_work && now - other.busy_at > 2 * LoopLoad::kWindowMs;
  };
  const std::scoped_lock lock(mutex_);
  if (stopping_) return nullptr;
  if (can_help(first_)) return &first_;
  const auto found =
      std::ranges::find_if(others_, [&](const auto& each) { return can_help(*each); });
  if (found != others_.end()) return found->get();
  return running_ < limit_ && now >= retry_at_ ? start(&worker == &first_, now) : nullptr;
}

/// REQUIRES: mutex_ is held.
Workers::Worker* Workers::start(bool on_first_loop, TimeMs now) {
  auto found = std::ranges::find_if(others_, [](const auto& each) { return each->ended.load(); });
  if (found == others_.end()) {
    found = others_.insert(others_.end(), std::make_unique<Worker>());
  }
  Worker& worker = **found;
  if (worker.thread.joinable()) worker.thread.join();
  std::string refused;
  if (const auto opened = worker.mailbox.open(); !opened) refused = opened.error().message;
  if (refused.empty() && !first_.accepts_work) {
    // Started for the first time, and so by the first loop: from now on it can be sent to, too.
    if (const auto opened = first_.mailbox.open(); !opened) {
      refused = opened.error().message;
    } else {
      const auto relay = first_loop_.tcp.lock();
      relay->set_own(first_.mailbox);
      first_.mailbox.serve(*relay);
      first_.accepts_work = true;
    }
  }
  if (refused.empty()) {
    worker.busy_at = now;
    worker.ended = false;
    worker.load = {};
    worker.accepts_work = true;
    ++running_;
    // A thread is born into the network namespace of the one that makes it.
    if (on_first_loop) first_loop_.dialler.go_home();
    try {
      worker.thread = std::thread([this, &worker] { run(worker); });
      return &worker;
    } catch (const std::system_error& error) {
      refused = error.what();
      worker.accepts_work = false;
      worker.ended = true;
      --running_;
    }
  }
  worker.mailbox.close();
  note_refused(now, refused);
  return nullptr;
}

/// REQUIRES: mutex_ is held.
void Workers::note_refused(TimeMs now, std::string_view reason) {
  retry_at_ = now + kRetryMs;
  first_loop_.shared.resource_shortages.warn(now, fmt::format("no further loop: {}", reason));
}

std::vector<Mailbox*> Workers::other_mailboxes() {
  const std::scoped_lock lock(mutex_);
  std::vector<Mailbox*> mailboxes;
  for (const auto& worker : others_) {
    if (worker->accepts_work) mailboxes.push_back(&worker->mailbox);
  }
  return mailboxes;
}

}  // namespace fairlead
