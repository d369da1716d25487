// An Engine over made-up datagram sockets: what arrives, what is refused and when time passes is
// said by the test, and what was sent can be read back.

#pragma once

#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "proxy/engine/engine.h"

namespace fairlead {

/// One message on its way in.
struct Arrival {
  std::string bytes;
  Endpoint from;
  std::optional<IpAddress> to{};
  /// The kernel merged datagrams of this size; 0: it did not.
  int segment_size = 0;
};

/// One send that was accepted.
struct Departure {
  std::string bytes;
  std::optional<Endpoint> to{};
  std::optional<IpAddress> from{};
  int segment_size = 0;

  bool operator==(const Departure&) const = default;
};

struct ScriptedSocket {
  std::deque<Arrival> arrivals;
  std::vector<Departure> departures;
  /// For the next sends and receives, in order; 0 lets one through.
  std::deque<int> send_errors;
  std::deque<int> receive_errors;
  std::optional<Endpoint> peer;
  std::map<std::pair<int, int>, int> options;
  bool closed = false;
};

class ScriptedDatagrams : public Engine {
 public:
  /// Far from any real descriptor, as owners close them.
  static constexpr int kFirstFd = 1'000'000;

  ScriptedSocket& socket(int fd) { return sockets_[fd]; }
  ScriptedSocket& opened(int index) { return sockets_[kFirstFd + index]; }
  /// Sockets opened in all, those that were closed included.
  int opened_count() const { return next_fd_ - kFirstFd; }
  int open_count() const {
    return static_cast<int>(std::ranges::count_if(sockets_, [](const auto& entry) {
      return entry.first >= kFirstFd && !entry.second.closed;
    }));
  }
  void pass_time(TimeMs duration_ms) { set_now(now() + duration_ms); }
  /// Calls that can fail.
  enum class Call { send, receive, open_socket, connect, set_option };
  /// The `number`-th of them, counted from 1, does, with the error of its kind.
  void fail_call(std::uint64_t number, std::map<Call, int> errors) {
    failing_call_ = number;
    failing_errors_ = std::move(errors);
  }
  /// How many of them there were.
  std::uint64_t calls() const { return call_count_; }

  /// Turns until nothing is ready.
  void settle() {
    while (deliver_ready()) {
    }
  }

  /// open_socket() fails with this while it is not 0, or always above this many open sockets.
  int socket_error = 0;
  int sockets_max = 1'000'000;
  /// connect_datagram() fails with this while it is not 0.
  int connect_error = 0;
  /// Sends of larger segments fail with EMSGSIZE, of any with EIO when 0.
  int segment_size_max = 65'535;
  /// Sends from this address fail with EINVAL.
  std::optional<IpAddress> refused_source;

  std::string_view name() const override { return "scripted"; }
  void accept(Handler&, Tag, int, Repeat) override {}
  void connect(Handler&, Tag, int, const SocketAddress&) override {}
  void receive(Handler&, Tag, int, BufferSize, Repeat) override {}
  void wait(Handler& handler, Tag tag, int fd, short events) override {
    waits_.push_back({&handler, tag, fd, events, false});
  }
  void cancel(Handler& handler, Tag tag) override {
    for (Wait& wait : waits_) {
      if (wait.handler == &handler && wait.tag == tag) wait.cancelled = true;
    }
  }
  void close(FileDescriptor fd) override {
    const int number = fd.release();
    for (const Wait& wait : waits_) {
      if (wait.fd == number) throw std::logic_error("closed with a wait in flight");
    }
    sockets_[number].closed = true;
  }
  void turn(std::optional<TimeMs>) override { deliver_ready(); }
  void stop() override { waits_.clear(); }
  bool buffers_scarce(BufferSize) const override { return false; }

  ssize_t send(int fd, std::span<const iovec> pieces) override {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(pieces.data());
    message.msg_iovlen = pieces.size();
    return send_message(fd, message, 0);
  }

  ssize_t send_message(int fd, const msghdr& message, int) override {
    ScriptedSocket& socket = sockets_[fd];
    if (socket.closed) return -EBADF;
    if (const int error = failure(Call::send); error != 0) return error;
    if (!socket.send_errors.empty()) {
      const int error = socket.send_errors.front();
      socket.send_errors.pop_front();
      if (error != 0) return -error;
    }
    Departure departure;
    for (std::size_t i = 0; i < message.msg_iovlen; ++i) {
      departure.bytes.append(static_cast<const char*>(message.msg_iov[i].iov_base),
                             message.msg_iov[i].iov_len);
    }
    if (message.msg_name != nullptr) departure.to = endpoint_of(message.msg_name);
    read_control(message, departure);
    if (departure.segment_size > 0 && segment_size_max == 0) return -EIO;
    if (departure.segment_size > segment_size_max) return -EMSGSIZE;
    if (departure.from && departure.from == refused_source) return -EINVAL;
    socket.departures.push_back(departure);
    return static_cast<ssize_t>(departure.bytes.size());
  }

  int receive_messages(int fd, std::span<mmsghdr> messages) override {
    ScriptedSocket& socket = sockets_[fd];
    if (const int error = failure(Call::receive); error != 0) return error;
    if (!socket.receive_errors.empty()) {
      const int error = socket.receive_errors.front();
      socket.receive_errors.pop_front();
      return -error;
    }
    std::size_t count = 0;
    for (; count < messages.size() && !socket.arrivals.empty(); ++count) {
      fill(messages[count], socket.arrivals.front());
      socket.arrivals.pop_front();
    }
    return count > 0 ? static_cast<int>(count) : -EAGAIN;
  }

  int open_socket(int, int, int) override {
    if (const int error = failure(Call::open_socket); error != 0) return error;
    if (socket_error != 0) return -socket_error;
    if (open_count() >= sockets_max) return -EMFILE;
    sockets_[next_fd_] = {};
    return next_fd_++;
  }
  int connect_datagram(int fd, const SocketAddress& address) override {
    if (const int error = failure(Call::connect); error != 0) return error;
    if (connect_error != 0) return -connect_error;
    sockets_[fd].peer = address.endpoint();
    return 0;
  }
  short ready_events(int fd, short events) override {
    return static_cast<short>(sockets_[fd].arrivals.empty() ? 0 : events & POLLIN);
  }
  int set_option(int fd, int level, int option, int value) override {
    if (const int error = failure(Call::set_option); error != 0) return error;
    sockets_[fd].options[{level, option}] = value;
    return 0;
  }

 private:
  struct Wait {
    Handler* handler;
    Tag tag;
    int fd;
    short events;
    bool cancelled;
  };

  /// -errno of the call that is made now, or 0.
  int failure(Call call) {
    if (++call_count_ != failing_call_) return 0;
    const auto error = failing_errors_.find(call);
    return error != failing_errors_.end() ? error->second : 0;
  }

  bool ready(const Wait& wait) {
    const ScriptedSocket& socket = sockets_[wait.fd];
    return wait.cancelled || !socket.arrivals.empty() || !socket.receive_errors.empty();
  }

  bool deliver_ready() {
    std::vector<Wait> due;
    std::erase_if(waits_, [&](const Wait& wait) {
      if (!ready(wait)) return false;
      due.push_back(wait);
      return true;
    });
    for (const Wait& wait : due) {
      // Two handlers may be due and the first one cancel the second's wait, as on a real ring.
      Completion completion;
      completion.tag = wait.tag;
      completion.result = wait.cancelled ? -ECANCELED : POLLIN;
      wait.handler->on_completion(std::move(completion));
    }
    run_deferred();
    return !due.empty();
  }

  static Endpoint endpoint_of(const void* name) {
    sockaddr_in v4{};
    std::memcpy(&v4, name, sizeof v4);
    if (v4.sin_family == AF_INET) return SocketAddress(v4).endpoint();
    sockaddr_in6 v6{};
    std::memcpy(&v6, name, sizeof v6);
    return SocketAddress(v6).endpoint();
  }

  static void read_control(const msghdr& message, Departure& departure) {
    auto* headers = const_cast<msghdr*>(&message);
    for (cmsghdr* control = CMSG_FIRSTHDR(headers); control != nullptr;
         control = CMSG_NXTHDR(headers, control)) {
      const auto* data = reinterpret_cast<const std::uint8_t*>(CMSG_DATA(control));
      if (control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_SEGMENT) {
        std::uint16_t size = 0;
        std::memcpy(&size, data, sizeof size);
        departure.segment_size = size;
      } else if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_PKTINFO) {
        in_pktinfo info{};
        std::memcpy(&info, data, sizeof info);
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(&info.ipi_spec_dst);
        departure.from = IpAddress::from_bytes(Family::v4, {bytes, 4});
      } else if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_PKTINFO) {
        in6_pktinfo info{};
        std::memcpy(&info, data, sizeof info);
        departure.from = IpAddress::from_bytes(Family::v6, info.ipi6_addr.s6_addr);
      }
    }
  }

  static void fill(mmsghdr& message, const Arrival& arrival) {
    msghdr& header = message.msg_hdr;
    const std::size_t size = std::min(arrival.bytes.size(), header.msg_iov[0].iov_len);
    std::memcpy(header.msg_iov[0].iov_base, arrival.bytes.data(), size);
    message.msg_len = static_cast<unsigned>(size);
    const SocketAddress from(arrival.from);
    std::memcpy(header.msg_name, from.get(), from.size());
    header.msg_namelen = from.size();

    auto* room = static_cast<std::uint8_t*>(header.msg_control);
    std::size_t used = 0;
    const auto put = [&](int level, int type, const auto& value) {
      cmsghdr control{};
      control.cmsg_len = CMSG_LEN(sizeof value);
      control.cmsg_level = level;
      control.cmsg_type = type;
      std::memcpy(room + used, &control, sizeof control);
      std::memcpy(room + used + CMSG_LEN(0), &value, sizeof value);
      used += CMSG_SPACE(sizeof value);
    };
    if (arrival.segment_size > 0) put(SOL_UDP, UDP_GRO, arrival.segment_size);
    if (arrival.to && arrival.to->is_v4()) {
      in_pktinfo info{};
      std::memcpy(&info.ipi_addr, arrival.to->bytes().data(), 4);
      info.ipi_spec_dst = info.ipi_addr;
      put(IPPROTO_IP, IP_PKTINFO, info);
    } else if (arrival.to) {
      in6_pktinfo info{};
      info.ipi6_ifindex = 7;
      std::memcpy(&info.ipi6_addr, arrival.to->bytes().data(), 16);
      put(IPPROTO_IPV6, IPV6_PKTINFO, info);
    }
    header.msg_controllen = used;
  }

  std::map<int, ScriptedSocket> sockets_;
  std::vector<Wait> waits_;
  std::uint64_t failing_call_ = 0;
  std::map<Call, int> failing_errors_;
  std::uint64_t call_count_ = 0;
  int next_fd_ = kFirstFd;
};

}  // namespace fairlead
