// fairlead-bench-udp: sends datagrams and counts what arrived.
//
//   sink PORT                                            until SIGTERM
//   echo PORT                                            until killed
//   flood ADDRESS PORT SIZE FLOWS SECONDS PER_SECOND     PER_SECOND 0: as fast as it goes
//   ping ADDRESS PORT SIZE FLOWS WINDOW SECONDS
//
// Each prints one JSON object on standard output; sink and echo first print a line `ready`.
//
// A datagram carries its flow, its number within the flow, when it was sent, and words computed
// from these to its end. Whoever receives one recomputes them: a datagram counts only when every
// byte is right and it has not come before. flood against sink gives throughput, loss and the time
// of the way there (both ends read one machine's clock); ping against echo gives round trips with
// WINDOW datagrams of each flow under way; one that has not come back after 100 ms is lost, and the
// flow goes on.

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/net/file_descriptor.h"

namespace fairlead::bench {
namespace {

constexpr std::size_t kBatch = 64;
constexpr std::size_t kLargestDatagram = 2048;
constexpr std::size_t kSmallestDatagram = 24;
constexpr int kReceiveBufferBytes = 4 << 20;
constexpr std::int64_t kGiveUpNs = 100'000'000;

// A signal handler has nowhere else to write to.
volatile sig_atomic_t stop_requested = 0;  // NOLINT(*-avoid-non-const-global-variables)

std::int64_t now_ns() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

[[noreturn]] void give_up(const std::string& what) {
  fmt::print(stderr, "{}: {}\n", what, std::strerror(errno));
  std::exit(1);
}

// ---- what a datagram says ----

struct Header {
  std::uint32_t flow = 0;
  std::uint32_t size = 0;
  std::uint64_t number = 0;
  std::int64_t sent_ns = 0;
};

std::uint64_t filler(const Header& header, std::size_t index) {
  return (header.number + 1) * 0x9E3779B97F4A7C15ULL + header.flow * 0xC2B2AE3D27D4EB4FULL +
         static_cast<std::uint64_t>(header.sent_ns) * 0x165667B19E3779F9ULL + index;
}

void write_datagram(char* bytes, const Header& header) {
  std::memcpy(bytes, &header, sizeof header);
  for (std::size_t at = sizeof header; at < header.size; at += sizeof(std::uint64_t)) {
    const std::uint64_t word = filler(header, at);
    std::memcpy(bytes + at, &word, std::min(sizeof word, header.size - at));
  }
}

bool read_datagram(const char* bytes, std::size_t size, Header& header) {
  if (size < kSmallestDatagram) return false;
  std::memcpy(&header, bytes, sizeof header);
  if (header.size != size || header.flow >= 65536) return false;
  for (std::size_t at = sizeof header; at < size; at += sizeof(std::uint64_t)) {
    const std::uint64_t word = filler(header, at);
    if (std::memcmp(bytes + at, &word, std::min(sizeof word, size - at)) != 0) return false;
  }
  return true;
}

/// `share` 0.99: of all times, 99 % are not above it. REQUIRES: sorted.
double percentile_us(const std::vector<std::int64_t>& times_ns, double share) {
  if (times_ns.empty()) return 0;
  const auto last = static_cast<double>(times_ns.size() - 1);
  return static_cast<double>(times_ns[static_cast<std::size_t>(last * share)]) * 1e-3;
}

/// kBatch datagrams for sendmmsg and recvmmsg.
class Batch {
 public:
  Batch() {
    for (std::size_t i = 0; i < kBatch; ++i) {
      vectors_[i] = {data(i), kLargestDatagram};
      messages_[i].msg_hdr.msg_iov = &vectors_[i];
      messages_[i].msg_hdr.msg_iovlen = 1;
    }
  }

  char* data(std::size_t i) { return bytes_.data() + i * kLargestDatagram; }
  std::size_t size(std::size_t i) const { return messages_[i].msg_len; }
  void set_size(std::size_t i, std::size_t size) { vectors_[i].iov_len = size; }

  /// From now on receive() remembers whom each datagram came from, and send() goes back there.
  void keep_addresses() {
    for (std::size_t i = 0; i < kBatch; ++i) messages_[i].msg_hdr.msg_name = &addresses_[i];
  }

  int receive(int fd, int flags) {
    for (std::size_t i = 0; i < kBatch; ++i) {
      vectors_[i].iov_len = kLargestDatagram;
      if (messages_[i].msg_hdr.msg_name != nullptr) {
        messages_[i].msg_hdr.msg_namelen = sizeof addresses_[i];
      }
    }
    return ::recvmmsg(fd, messages_.data(), kBatch, flags, nullptr);
  }

  /// Sends the first `count`, waiting for room; returns how many the kernel took.
  std::size_t send(int fd, std::size_t count) {
    std::size_t sent = 0;
    while (sent < count) {
      const int taken =
          ::sendmmsg(fd, messages_.data() + sent, static_cast<unsigned>(count - sent), 0);
      if (taken > 0) {
        sent += static_cast<std::size_t>(taken);
      } else if (errno != EINTR && errno != ECONNREFUSED && errno != ENOBUFS) {
        give_up("sendmmsg");
      }
    }
    return sent;
  }

 private:
  std::vector<char> bytes_ = std::vector<char>(kBatch * kLargestDatagram);
  std::array<iovec, kBatch> vectors_{};
  std::array<mmsghdr, kBatch> messages_{};
  std::array<sockaddr_in6, kBatch> addresses_{};
};

FileDescriptor bound_socket(const char* port) {
  FileDescriptor fd(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) give_up("socket");
  const int off = 0;
  ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBufferBytes,
               sizeof kReceiveBufferBytes);
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(static_cast<std::uint16_t>(std::atoi(port)));
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    give_up("bind");
  }
  return fd;
}

std::vector<FileDescriptor> connected_sockets(const char* host, const char* port,
                                              std::size_t count) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host, port, &hints, &found) != 0) give_up("address");
  std::vector<FileDescriptor> sockets;
  for (std::size_t i = 0; i < count; ++i) {
    FileDescriptor fd(::socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!fd || ::connect(fd.get(), found->ai_addr, found->ai_addrlen) != 0) give_up("connect");
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBufferBytes,
                 sizeof kReceiveBufferBytes);
    sockets.push_back(std::move(fd));
  }
  ::freeaddrinfo(found);
  return sockets;
}

// ---- one way ----

int sink(const char* port) {
  const FileDescriptor fd = bound_socket(port);
  struct sigaction on_stop{};
  on_stop.sa_handler = [](int) { stop_requested = 1; };  // No SA_RESTART: recvmmsg has to return.
  ::sigaction(SIGTERM, &on_stop, nullptr);
  fmt::print("ready\n");
  std::fflush(stdout);

  struct Flow {
    std::vector<bool> seen;
    std::uint64_t next = 0;
  };
  std::vector<Flow> flows;
  std::vector<std::int64_t> delays_ns;
  std::uint64_t received = 0;
  std::uint64_t corrupt = 0;
  std::uint64_t duplicates = 0;
  std::uint64_t late = 0;
  std::int64_t first_ns = 0;
  std::int64_t last_ns = 0;
  Batch batch;
  while (stop_requested == 0) {
    const int count = batch.receive(fd.get(), MSG_WAITFORONE);
    if (count <= 0) continue;
    last_ns = now_ns();
    if (first_ns == 0) first_ns = last_ns;
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      Header header;
      if (!read_datagram(batch.data(i), batch.size(i), header)) {
        ++corrupt;
        continue;
      }
      if (header.flow >= flows.size()) flows.resize(header.flow + 1);
      Flow& flow = flows[header.flow];
      if (header.number >= flow.seen.size()) flow.seen.resize(header.number * 2 + 1024);
      if (flow.seen[header.number]) {
        ++duplicates;
        continue;
      }
      flow.seen[header.number] = true;
      ++received;
      delays_ns.push_back(last_ns - header.sent_ns);
      if (header.number < flow.next) {
        ++late;
      } else {
        flow.next = header.number + 1;
      }
    }
  }
  std::ranges::sort(delays_ns);
  fmt::print(R"({{"received":{},"corrupt":{},"duplicates":{},"out_of_order":{},"seconds":{},)"
             R"("p50_us":{},"p99_us":{},"p999_us":{}}})"
             "\n",
             received, corrupt, duplicates, late, static_cast<double>(last_ns - first_ns) * 1e-9,
             percentile_us(delays_ns, 0.5), percentile_us(delays_ns, 0.99),
             percentile_us(delays_ns, 0.999));
  return 0;
}

int flood(const char* host, const char* port, std::uint32_t size, std::size_t flow_count,
          double seconds, double per_second) {
  const auto sockets = connected_sockets(host, port, flow_count);
  std::vector<std::uint64_t> next(flow_count);
  Batch batch;
  std::uint64_t sent = 0;
  const std::int64_t start_ns = now_ns();
  const std::int64_t end_ns = start_ns + static_cast<std::int64_t>(seconds * 1e9);
  std::size_t flow = 0;
  for (std::int64_t now = start_ns; now < end_ns; now = now_ns()) {
    // With several flows a batch is short, so that their datagrams arrive mixed as in life.
    std::size_t count = flow_count == 1 ? kBatch / 2 : 4;
    if (per_second > 0) {
      const double due = static_cast<double>(now - start_ns) * 1e-9 * per_second;
      if (due < static_cast<double>(sent) + 1) {
        const timespec pause{0, 20'000};
        ::nanosleep(&pause, nullptr);
        continue;
      }
      count = std::min(count, static_cast<std::size_t>(due) - sent);
    }
    for (std::size_t i = 0; i < count; ++i) {
      write_datagram(batch.data(i), {static_cast<std::uint32_t>(flow), size, next[flow]++, now});
      batch.set_size(i, size);
    }
    sent += batch.send(sockets[flow].get(), count);
    flow = (flow + 1) % flow_count;
  }
  fmt::print(R"({{"sent":{},"seconds":{}}})"
             "\n",
             sent, static_cast<double>(now_ns() - start_ns) * 1e-9);
  return 0;
}

// ---- there and back ----

int echo(const char* port) {
  const FileDescriptor fd = bound_socket(port);
  fmt::print("ready\n");
  std::fflush(stdout);
  Batch batch;
  batch.keep_addresses();
  while (true) {
    const int count = batch.receive(fd.get(), MSG_WAITFORONE);
    if (count <= 0) continue;
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      batch.set_size(i, batch.size(i));
    }
    batch.send(fd.get(), static_cast<std::size_t>(count));
  }
}

struct UnderWay {
  std::uint64_t number = 0;
  std::int64_t sent_ns = 0;  ///< Zero: this place is free.
};

/// One client of the echo server.
struct PingFlow {
  FileDescriptor fd;
  std::uint64_t next = 0;
  std::size_t under_way_count = 0;
  std::vector<UnderWay> under_way;  ///< By number modulo its size, which is many windows.
};

class Pinger {
 public:
  Pinger(const char* host, const char* port, std::uint32_t size, std::size_t flows,
         std::size_t window)
      : size_(size), window_(window), poller_(::epoll_create1(EPOLL_CLOEXEC)) {
    for (FileDescriptor& fd : connected_sockets(host, port, flows)) {
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.u64 = flows_.size();
      ::epoll_ctl(poller_.get(), EPOLL_CTL_ADD, fd.get(), &event);
      PingFlow flow;
      flow.fd = std::move(fd);
      flow.under_way.resize(std::max<std::size_t>(window * 16, 1024));
      flows_.push_back(std::move(flow));
    }
  }

  void run(double seconds) {
    const std::int64_t start_ns = now_ns();
    const std::int64_t end_ns = start_ns + static_cast<std::int64_t>(seconds * 1e9);
    for (std::size_t i = 0; i < flows_.size(); ++i) top_up(flows_[i], i, start_ns);
    std::array<epoll_event, kBatch> events{};
    std::int64_t check_ns = start_ns + kGiveUpNs;
    std::int64_t now = start_ns;
    while (now < end_ns) {
      const int ready = ::epoll_wait(poller_.get(), events.data(), kBatch, 20);
      for (int i = 0; i < ready; ++i) {
        take_replies(events[static_cast<std::size_t>(i)].data.u64);
      }
      now = now_ns();
      if (now >= check_ns) {
        for (std::size_t i = 0; i < flows_.size(); ++i) give_up_overdue(i, now);
        check_ns = now + kGiveUpNs / 4;
      }
    }
    elapsed_s_ = static_cast<double>(now - start_ns) * 1e-9;
  }

  void print() {
    std::ranges::sort(round_trips_ns_);
    fmt::print(R"({{"replies":{},"lost":{},"corrupt":{},"seconds":{},)"
               R"("p50_us":{},"p99_us":{},"p999_us":{}}})"
               "\n",
               round_trips_ns_.size(), lost_, corrupt_, elapsed_s_,
               percentile_us(round_trips_ns_, 0.5), percentile_us(round_trips_ns_, 0.99),
               percentile_us(round_trips_ns_, 0.999));
  }

 private:
  void top_up(PingFlow& flow, std::size_t index, std::int64_t now) {
    while (flow.under_way_count < window_) {
      const std::size_t count = std::min(window_ - flow.under_way_count, kBatch);
      for (std::size_t i = 0; i < count; ++i) {
        UnderWay& place = flow.under_way[flow.next % flow.under_way.size()];
        if (place.sent_ns != 0) lose(flow, place);
        place = {flow.next, now};
        outgoing_.set_size(i, size_);
        write_datagram(outgoing_.data(i),
                       {static_cast<std::uint32_t>(index), size_, flow.next++, now});
      }
      flow.under_way_count += outgoing_.send(flow.fd.get(), count);
    }
  }

  void lose(PingFlow& flow, UnderWay& place) {
    place.sent_ns = 0;
    --flow.under_way_count;
    ++lost_;
  }

  void take_replies(std::size_t index) {
    PingFlow& flow = flows_[index];
    const int count = incoming_.receive(flow.fd.get(), MSG_DONTWAIT);
    if (count <= 0) return;
    const std::int64_t now = now_ns();
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      Header header;
      if (!read_datagram(incoming_.data(i), incoming_.size(i), header) || header.flow != index) {
        ++corrupt_;
        continue;
      }
      UnderWay& place = flow.under_way[header.number % flow.under_way.size()];
      // A duplicate, or one that was given up.
      if (place.number != header.number || place.sent_ns == 0) continue;
      round_trips_ns_.push_back(now - place.sent_ns);
      place.sent_ns = 0;
      --flow.under_way_count;
    }
    top_up(flow, index, now_ns());
  }

  void give_up_overdue(std::size_t index, std::int64_t now) {
    PingFlow& flow = flows_[index];
    for (UnderWay& place : flow.under_way) {
      if (place.sent_ns != 0 && now - place.sent_ns > kGiveUpNs) lose(flow, place);
    }
    top_up(flow, index, now);
  }

  std::uint32_t size_;
  std::size_t window_;
  FileDescriptor poller_;
  std::vector<PingFlow> flows_;
  Batch outgoing_;
  Batch incoming_;
  std::vector<std::int64_t> round_trips_ns_;
  std::uint64_t lost_ = 0;
  std::uint64_t corrupt_ = 0;
  double elapsed_s_ = 0;
};

int ping(const char* host, const char* port, std::uint32_t size, std::size_t flows,
         std::size_t window, double seconds) {
  Pinger pinger(host, port, size, flows, window);
  pinger.run(seconds);
  pinger.print();
  return 0;
}

std::uint32_t datagram_size(const char* text) {
  return static_cast<std::uint32_t>(
      std::clamp(std::strtoul(text, nullptr, 10), kSmallestDatagram, kLargestDatagram));
}

int run(int argc, char** argv) {
  const std::string_view mode = argc > 1 ? argv[1] : "";
  if (mode == "sink" && argc == 3) return sink(argv[2]);
  if (mode == "echo" && argc == 3) return echo(argv[2]);
  if (mode == "flood" && argc == 8) {
    return flood(argv[2], argv[3], datagram_size(argv[4]), std::strtoul(argv[5], nullptr, 10),
                 std::strtod(argv[6], nullptr), std::strtod(argv[7], nullptr));
  }
  if (mode == "ping" && argc == 8) {
    return ping(argv[2], argv[3], datagram_size(argv[4]), std::strtoul(argv[5], nullptr, 10),
                std::strtoul(argv[6], nullptr, 10), std::strtod(argv[7], nullptr));
  }
  fmt::print(stderr,
             "usage: fairlead-bench-udp sink PORT | echo PORT | flood ADDRESS PORT SIZE FLOWS "
             "SECONDS PER_SECOND | ping ADDRESS PORT SIZE FLOWS WINDOW SECONDS\n");
  return 2;
}

}  // namespace
}  // namespace fairlead::bench

int main(int argc, char** argv) { return fairlead::bench::run(argc, argv); }
