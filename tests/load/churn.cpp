// fairlead-test-churn: opens TCP connections through a proxy, holds both ends of each, and checks
// every byte.
//
//   fairlead-test-churn FRONT-PORT BACK-PORT CONNECTIONS AT-ONCE PER-SECOND SEED [crowd]
//
// Clients connect to 127.0.0.1:FRONT-PORT, where the proxy listens, from 200 addresses; the service
// listens on 127.0.0.1:BACK-PORT. AT-ONCE connections are open at a time, and no more than
// PER-SECOND are opened in a second (0: as many as it takes). With `crowd` all of them are open at
// the same time: each stops in the middle until the last one has come. Prints `ready`, and one JSON
// object at the end, which SIGTERM brings about early.
//
// What happens on a connection follows from its number: how much is sent each way, which side
// finishes first or resets in the middle, who stops reading for a while. The client's stream begins
// with the number, so that the service knows it, too. Each end finds out for itself whether it has
// received what it should have: all of it and then the end of the stream; or, where one side
// resets, a beginning of it. What was wrong is counted in `faults`, by its kind.
//
// Time stands still while the process is stopped, so that pausing it makes nothing late.

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <queue>
#include <random>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "proxy/net/file_descriptor.h"

namespace fairlead::test {
namespace {

constexpr std::size_t kEventsAtOnce = 256;
constexpr std::size_t kLongestPiece = 65536;
/// A prime, so that no power of two that goes missing is covered up by the repetition.
constexpr std::size_t kContentPeriod = 1048573;
constexpr std::uint32_t kClientAddresses = 200;
constexpr std::int64_t kLongestTurnMs = 100;
constexpr std::int64_t kStuckMs = 60'000;

// A signal handler has nowhere else to write to.
volatile sig_atomic_t stop_requested = 0;  // NOLINT(*-avoid-non-const-global-variables)

[[noreturn]] void give_up(const std::string& what) {
  fmt::print(stderr, "{}: {}\n", what, std::strerror(errno));
  std::exit(1);
}

// ---- what happens on a connection ----

enum class Side : std::uint8_t { client, service };
enum class Ending : std::uint8_t { client_first, service_first, both_at_once, reset };

struct Plan {
  std::uint64_t number = 0;
  std::array<std::uint64_t, 2> size{};  ///< By the side that sends it.
  Ending ending = Ending::client_first;
  Side actor = Side::client;   ///< The one that resets.
  std::uint64_t reset_at = 0;  ///< How much of its stream it sends before.
  Side sleeper = Side::client;
  std::int64_t sleep_ms = 0;  ///< For so long it does not read, from half its peer's stream on.
};

std::uint64_t plan_size(std::mt19937_64& random) {
  if (random() % 1024 == 0) return (1 << 20) + random() % (3 << 20);
  return static_cast<std::uint64_t>(std::exp2(std::uniform_real_distribution(3.0, 16.0)(random)));
}

Plan make_plan(std::uint64_t seed, std::uint64_t number, bool crowd) {
  std::mt19937_64 random(seed * 0x9E3779B97F4A7C15ULL + number);
  Plan plan{.number = number, .size = {plan_size(random), plan_size(random)}};
  const std::uint64_t draw = random() % 100;
  plan.actor = random() % 2 == 0 ? Side::client : Side::service;
  if (draw < 40) {
    plan.ending = Ending::client_first;
  } else if (draw < 70) {
    plan.ending = Ending::service_first;
  } else if (draw < 80 || crowd) {
    plan.ending = Ending::both_at_once;
  } else {
    plan.ending = Ending::reset;
    const std::uint64_t size = plan.size[static_cast<std::size_t>(plan.actor)];
    plan.reset_at = sizeof number + random() % (size - sizeof number + 1);
  }
  if (random() % 16 == 0 && !crowd) {
    plan.sleeper = random() % 2 == 0 ? Side::client : Side::service;
    plan.sleep_ms = static_cast<std::int64_t>(10 + random() % 1500);
  }
  // Long enough for a middle to stop in.
  if (crowd) plan.size = {plan.size[0] + 64, plan.size[1] + 64};
  return plan;
}

/// The bytes of every stream: one long random text, in which each stream begins elsewhere.
class Content {
 public:
  explicit Content(std::uint64_t seed) : text_(kContentPeriod + kLongestPiece) {
    std::mt19937_64 random(seed);
    for (std::size_t i = 0; i < text_.size(); ++i) {
      text_[i] = i < kContentPeriod ? static_cast<char>(random()) : text_[i - kContentPeriod];
    }
  }

  /// At least kLongestPiece bytes of what `sender` sends, from `position` on.
  const char* at(const Plan& plan, Side sender, std::uint64_t position) const {
    const std::uint64_t begin = plan.number * 7919 + (sender == Side::client ? 0 : 500'009);
    return text_.data() + (begin + position) % kContentPeriod;
  }

 private:
  std::vector<char> text_;
};

// ---- one end of a connection ----

struct End {
  FileDescriptor fd;
  Side side = Side::client;
  bool identified = false;  ///< The plan is known: to the service when 8 bytes have come.
  Plan plan;
  std::array<char, sizeof(std::uint64_t)> number_bytes{};
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  bool finished = false;  ///< Everything sent, and the peer told so.
  bool peer_finished = false;
  bool slept = false;
  bool asleep = false;
  bool waits_for_crowd = false;
  std::uint32_t events = 0;  ///< What epoll looks for.
  std::int64_t last_progress_ms = 0;

  Side peer() const { return side == Side::client ? Side::service : Side::client; }
  std::uint64_t own_size() const { return plan.size[static_cast<std::size_t>(side)]; }
  std::uint64_t peer_size() const { return plan.size[static_cast<std::size_t>(peer())]; }
  bool ends_with_reset() const { return plan.ending == Ending::reset; }
  bool resets() const { return ends_with_reset() && plan.actor == side; }
  bool finishes_first() const {
    return plan.ending == Ending::both_at_once ||
           plan.ending == (side == Side::client ? Ending::client_first : Ending::service_first);
  }
};

// ---- all of them ----

class Churn {
 public:
  Churn(const char* const* arguments, bool crowd)
      : front_(loopback(INADDR_LOOPBACK, arguments[0])),
        connections_(std::strtoull(arguments[2], nullptr, 10)),
        at_once_(crowd ? connections_ : std::strtoull(arguments[3], nullptr, 10)),
        per_second_(std::strtoull(arguments[4], nullptr, 10)),
        seed_(std::strtoull(arguments[5], nullptr, 10)),
        crowd_(crowd),
        content_(seed_),
        poller_(::epoll_create1(EPOLL_CLOEXEC)),
        listener_(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    const int on = 1;
    ::setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const sockaddr_in back = loopback(INADDR_LOOPBACK, arguments[1]);
    if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&back), sizeof back) != 0 ||
        ::listen(listener_.get(), 4096) != 0) {
      give_up("listen");
    }
    epoll_event event{};
    event.events = EPOLLIN;
    ::epoll_ctl(poller_.get(), EPOLL_CTL_ADD, listener_.get(), &event);
  }

  void run() {
    std::array<epoll_event, kEventsAtOnce> events{};
    std::int64_t clock = real_ms();
    std::int64_t next_check_ms = 1000;
    while (stop_requested == 0 && (opened_ < connections_ || !ends_.empty())) {
      open_more();
      const int ready = ::epoll_wait(poller_.get(), events.data(), kEventsAtOnce, 5);
      now_ms_ += std::min(real_ms() - clock, kLongestTurnMs);
      clock = real_ms();
      for (int i = 0; i < ready; ++i) {
        const epoll_event& event = events[static_cast<std::size_t>(i)];
        if (event.data.ptr == nullptr) {
          accept_more();
        } else {
          serve(*static_cast<End*>(event.data.ptr), event.events);
        }
      }
      wake_sleepers();
      closed_.clear();
      if (now_ms_ >= next_check_ms) {
        next_check_ms = now_ms_ + 1000;
        end_stuck();
      }
    }
  }

  void report() const {
    std::string faults;
    for (const auto& [kind, count] : faults_) {
      faults += fmt::format(R"({}"{}":{})", faults.empty() ? "" : ",", kind, count);
    }
    fmt::print(R"({{"connections":{},"whole_clients":{},"whole_services":{},"cut":{},)"
               R"("never_identified":{},"most_at_once":{},"bytes":{},"seconds":{:.1f},)"
               R"("unfinished":{},"faults":{{{}}}}})"
               "\n",
               opened_, whole_[0], whole_[1], cut_, never_identified_, most_at_once_, bytes_,
               static_cast<double>(now_ms_) / 1000, ends_.size(), faults);
  }

 private:
  static sockaddr_in loopback(std::uint32_t host, const char* port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(host);
    address.sin_port = htons(static_cast<std::uint16_t>(std::atoi(port)));
    return address;
  }

  static std::int64_t real_ms() {
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1'000'000;
  }

  End& add(FileDescriptor fd, Side side) {
    const int on = 1;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    auto end = std::make_unique<End>();
    End& added = *end;
    added.fd = std::move(fd);
    added.side = side;
    added.last_progress_ms = now_ms_;
    ends_.emplace(&added, std::move(end));
    return added;
  }

  void open_more() {
    for (int turn = 0; turn < 64 && opened_ < connections_ && open_clients_ < at_once_; ++turn) {
      if (per_second_ != 0 && opened_ * 1000 >= static_cast<std::uint64_t>(now_ms_) * per_second_) {
        return;
      }
      FileDescriptor fd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
      if (!fd) give_up("socket");
      const int on = 1;
      ::setsockopt(fd.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
      const auto source_number = static_cast<std::uint32_t>(opened_ % kClientAddresses);
      const sockaddr_in source = loopback(INADDR_LOOPBACK + 256 + source_number, "0");
      if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&source), sizeof source) != 0) {
        give_up("bind");
      }
      if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&front_), sizeof front_) != 0 &&
          errno != EINPROGRESS) {
        ++faults_["connect"];
        ++opened_;
        continue;
      }
      End& end = add(std::move(fd), Side::client);
      end.plan = make_plan(seed_, opened_, crowd_);
      end.identified = true;
      ++opened_;
      ++open_clients_;
      most_at_once_ = std::max(most_at_once_, open_clients_);
      watch(end);
    }
  }

  void accept_more() {
    for (int turn = 0; turn < 64; ++turn) {
      FileDescriptor fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!fd) return;
      watch(add(std::move(fd), Side::service));
    }
  }

  /// Has epoll look for what the end can go on with.
  void watch(End& end) {
    const std::uint64_t goal = end.resets() ? end.plan.reset_at : end.own_size();
    const bool wants_to_send =
        end.identified && !end.finished && !end.waits_for_crowd && end.sent <= goal &&
        (end.sent < goal || end.resets() || end.finishes_first() || end.peer_finished);
    const bool wants_to_read = !end.asleep && !end.peer_finished;
    const std::uint32_t wanted = (wants_to_send ? EPOLLOUT : 0U) | (wants_to_read ? EPOLLIN : 0U);
    epoll_event event{};
    event.events = wanted;
    event.data.ptr = &end;
    if (end.events == 0) {
      ::epoll_ctl(poller_.get(), EPOLL_CTL_ADD, end.fd.get(), &event);
    } else if (wanted != (end.events & ~std::uint32_t{EPOLLRDHUP})) {
      ::epoll_ctl(poller_.get(), EPOLL_CTL_MOD, end.fd.get(), &event);
    }
    end.events = wanted | EPOLLRDHUP;  // never 0 again
  }

  void serve(End& end, std::uint32_t events) {
    if (!end.fd) return;  // closed by an event before this one
    end.last_progress_ms = now_ms_;
    if ((events & EPOLLERR) != 0 && end.received == 0 && end.sent == 0 &&
        end.side == Side::client) {
      return close(end, end.ends_with_reset() ? nullptr : "connect");
    }
    // Nothing is held back any more, and epoll would not stop to say so.
    if ((events & (EPOLLHUP | EPOLLERR)) != 0) end.asleep = false;
    if ((events & EPOLLOUT) != 0 && !send_some(end)) return;
    if (!end.asleep && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !read_some(end)) return;
    if (end.finished && end.peer_finished) return close(end, nullptr);
    watch(end);
  }

  /// False when the end has been closed.
  bool send_some(End& end) {
    const std::uint64_t half = end.own_size() / 2 + sizeof(std::uint64_t);
    const std::uint64_t goal = end.resets()                  ? end.plan.reset_at
                               : crowd_ && !crowd_is_there() ? std::min(half, end.own_size())
                                                             : end.own_size();
    while (end.sent < goal) {
      const std::size_t length = std::min<std::uint64_t>(goal - end.sent, kLongestPiece);
      const char* piece = content_.at(end.plan, end.side, end.sent);
      std::size_t offered = length;
      std::array<char, sizeof(std::uint64_t)> number{};
      if (end.side == Side::client && end.sent < sizeof number) {
        std::memcpy(number.data(), &end.plan.number, sizeof number);
        piece = number.data() + end.sent;
        offered = std::min<std::size_t>(length, sizeof number - end.sent);
      }
      const ssize_t count = ::send(end.fd.get(), piece, offered, MSG_NOSIGNAL);
      if (count < 0 && errno == EAGAIN) return true;
      if (count < 0) {
        // Whether that was to be expected is known when what has come is read.
        if (end.ends_with_reset()) {
          close(end, nullptr);
        } else {
          close(end, "reset");
        }
        return false;
      }
      end.sent += static_cast<std::uint64_t>(count);
      bytes_ += static_cast<std::uint64_t>(count);
    }
    if (end.resets()) {
      const linger at_once{.l_onoff = 1, .l_linger = 0};
      ::setsockopt(end.fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
      close(end, nullptr);
      return false;
    }
    if (end.sent < end.own_size()) {
      end.waits_for_crowd = true;
      crowd_waiting_.push_back(&end);
      return true;
    }
    if (end.finishes_first() || end.peer_finished) {
      end.finished = true;
      ::shutdown(end.fd.get(), SHUT_WR);
    }
    return true;
  }

  /// False when the end has been closed.
  bool read_some(End& end) {
    const ssize_t count = ::recv(end.fd.get(), buffer_.data(), buffer_.size(), 0);
    if (count < 0 && errno == EAGAIN) return true;
    if (count < 0) {
      close(end, !end.identified || end.ends_with_reset() ? nullptr : "reset");
      return false;
    }
    if (count == 0) {
      if (!end.identified || end.ends_with_reset()) {
        close(end, nullptr);
        return false;
      }
      if (end.received < end.peer_size()) {
        close(end, "short");
        return false;
      }
      end.peer_finished = true;
      return true;
    }
    return take(end, static_cast<std::size_t>(count));
  }

  bool take(End& end, std::size_t count) {
    std::size_t at = 0;
    if (end.side == Side::service) {
      while (end.received < sizeof(std::uint64_t) && at < count) {
        end.number_bytes[end.received++] = buffer_[at++];
      }
      if (!end.identified && end.received == sizeof(std::uint64_t)) {
        std::uint64_t number = 0;
        std::memcpy(&number, end.number_bytes.data(), sizeof number);
        if (number >= opened_) {
          close(end, "wrong");
          return false;
        }
        end.plan = make_plan(seed_, number, crowd_);
        end.identified = true;
        ++identified_;
        if (crowd_is_there()) release_crowd();
      }
    }
    const std::size_t length = count - at;
    if (length > 0) {
      if (end.received + length > end.peer_size()) {
        close(end, "long");
        return false;
      }
      if (std::memcmp(buffer_.data() + at, content_.at(end.plan, end.peer(), end.received),
                      length) != 0) {
        close(end, "wrong");
        return false;
      }
      end.received += length;
    }
    if (end.identified && end.plan.sleep_ms > 0 && end.plan.sleeper == end.side && !end.slept &&
        end.received >= end.peer_size() / 2) {
      end.slept = end.asleep = true;
      sleepers_.emplace(now_ms_ + end.plan.sleep_ms, &end);
    }
    return true;
  }

  void wake_sleepers() {
    while (!sleepers_.empty() && sleepers_.begin()->first <= now_ms_) {
      End* end = sleepers_.begin()->second;
      sleepers_.erase(sleepers_.begin());
      const auto found = ends_.find(end);
      if (found == ends_.end() || !end->asleep) continue;
      end->asleep = false;
      end->last_progress_ms = now_ms_;
      watch(*end);
    }
  }

  bool crowd_is_there() const { return identified_ >= connections_; }
  void release_crowd() {
    for (End* end : std::exchange(crowd_waiting_, {})) {
      if (!ends_.contains(end)) continue;
      end->waits_for_crowd = false;
      end->last_progress_ms = now_ms_;
      watch(*end);
    }
  }

  void end_stuck() {
    std::vector<End*> stuck;
    for (const auto& [end, owner] : ends_) {
      if (now_ms_ - end->last_progress_ms > kStuckMs) stuck.push_back(end);
    }
    for (End* end : stuck) {
      tell(*end);
      close(*end, "stuck");
    }
  }

  /// What an end that stands still has done, and what it should have.
  void tell(const End& end) const {
    fmt::print(stderr,
               "connection {}, {}: {} of {} bytes sent, {} of {} received, finished {}, peer "
               "finished {}, ending {}, {} sleeps {} ms, still since {:.1f} s of {:.1f} s\n",
               end.plan.number, end.side == Side::client ? "client" : "service", end.sent,
               end.own_size(), end.received, end.peer_size(), end.finished, end.peer_finished,
               static_cast<int>(end.plan.ending),
               end.plan.sleeper == Side::client ? "client" : "service", end.plan.sleep_ms,
               static_cast<double>(end.last_progress_ms) / 1000,
               static_cast<double>(now_ms_) / 1000);
  }

  /// Ends it; `fault` is nullptr when all went as planned.
  void close(End& end, const char* fault) {
    if (fault != nullptr) {
      ++faults_[fault];
    } else if (!end.identified) {
      ++never_identified_;
    } else if (end.ends_with_reset()) {
      ++cut_;
    } else {
      ++whole_[static_cast<std::size_t>(end.side)];
    }
    if (end.side == Side::client) --open_clients_;
    end.fd.reset();
    // Events of this turn may still point to it.
    const auto found = ends_.find(&end);
    closed_.push_back(std::move(found->second));
    ends_.erase(found);
  }

  sockaddr_in front_;
  std::uint64_t connections_;
  std::uint64_t at_once_;
  std::uint64_t per_second_;
  std::uint64_t seed_;
  bool crowd_;
  Content content_;
  FileDescriptor poller_;
  FileDescriptor listener_;
  std::vector<char> buffer_ = std::vector<char>(kLongestPiece);
  std::unordered_map<End*, std::unique_ptr<End>> ends_;
  std::vector<std::unique_ptr<End>> closed_;
  std::multimap<std::int64_t, End*> sleepers_;  ///< By the time at which they wake up.
  std::vector<End*> crowd_waiting_;
  std::int64_t now_ms_ = 0;

  std::uint64_t opened_ = 0;
  std::uint64_t open_clients_ = 0;
  std::uint64_t most_at_once_ = 0;
  std::uint64_t identified_ = 0;
  std::uint64_t never_identified_ = 0;
  std::uint64_t cut_ = 0;
  std::uint64_t bytes_ = 0;
  std::array<std::uint64_t, 2> whole_{};
  std::map<std::string, std::uint64_t> faults_;
};

int main_of(int argc, char** argv) {
  const bool crowd = argc == 8 && std::string_view(argv[7]) == "crowd";
  if (argc != 7 && !crowd) {
    fmt::print(stderr,
               "usage: {} FRONT-PORT BACK-PORT CONNECTIONS AT-ONCE PER-SECOND SEED [crowd]\n",
               argv[0]);
    return 2;
  }
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  struct sigaction on_stop{};
  on_stop.sa_handler = [](int) { stop_requested = 1; };
  ::sigaction(SIGTERM, &on_stop, nullptr);

  Churn churn(argv + 1, crowd);
  fmt::print("ready\n");
  std::fflush(stdout);
  churn.run();
  churn.report();
  return 0;
}

}  // namespace
}  // namespace fairlead::test

int main(int argc, char** argv) { return fairlead::test::main_of(argc, argv); }
