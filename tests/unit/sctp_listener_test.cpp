#include "proxy/relay/sctp_listener.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "proxy/net/sctp_message.h"

namespace fairlead {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

struct SctpMessage {
  std::string bytes;
  SctpMessageInfo info{};
  int flags = MSG_EOR;

  bool operator==(const SctpMessage& other) const {
    return bytes == other.bytes && info == other.info;
  }
};

struct SctpSocket {
  std::deque<SctpMessage> arrivals;
  bool peer_shut_down = false;
  int receive_error = 0;
  std::vector<SctpMessage> departures;
  /// Messages that there is room for.
  int room = 1000;
  int send_error = 0;
  bool shut_down = false;
  bool aborting = false;
  bool closed = false;
};

/// An Engine over made-up associations.
class ScriptedSctp final : public Engine {
 public:
  static constexpr int kFirstFd = 1'000'000;

  SctpSocket& socket(int fd) { return sockets_[fd]; }
  /// A client's association arrives at the listener; returns the accepted descriptor.
  int arrive() {
    incoming_.push_back(next_fd_);
    return next_fd_++;
  }
  void settle() {
    while (deliver()) {
    }
    run_deferred();
  }
  void pass_time(TimeMs duration_ms) { set_now(now() + duration_ms); }

  /// What connect() completes with; nothing while the backend does not answer.
  std::optional<int> connect_result = 0;
  int socket_error = 0;
  Endpoint client_address{*IpAddress::parse("192.0.2.7"), 40'000};
  std::vector<int> dialled;

  std::string_view name() const override { return "scripted"; }
  void accept(Handler& handler, Tag tag, int, Repeat repeat) override {
    ASSERT_EQ(repeat, Repeat::once);
    start(handler, tag, Kind::accept, -1);
  }
  void connect(Handler& handler, Tag tag, int fd, const SocketAddress&) override {
    start(handler, tag, Kind::connect, fd);
  }
  void receive(Handler&, Tag, int, BufferSize, Repeat) override { throw std::logic_error("tcp"); }
  void wait(Handler& handler, Tag tag, int fd, short events) override {
    start(handler, tag, events == POLLIN ? Kind::readable : Kind::writable, fd);
  }
  void cancel(Handler& handler, Tag tag) override {
    for (Operation& operation : operations_) {
      if (operation.handler == &handler && operation.tag == tag) operation.cancelled = true;
    }
  }
  int peer_address(int, SocketAddress& address) override {
    address = SocketAddress(client_address);
    return 0;
  }
  int own_address(int, SocketAddress& address) override {
    address = SocketAddress(Endpoint{*IpAddress::parse("192.0.2.1"), 3868});
    return 0;
  }
  void close(FileDescriptor fd) override {
    const int number = fd.release();
    for (const Operation& operation : operations_) {
      if (operation.fd == number) throw std::logic_error("closed with an operation in flight");
    }
    sockets_[number].closed = true;
  }
  void turn(std::optional<TimeMs>) override { deliver(); }
  void stop() override { operations_.clear(); }
  bool buffers_scarce(BufferSize) const override { return false; }

  ssize_t send_message(int fd, const msghdr& message, int) override {
    SctpSocket& socket = sockets_[fd];
    if (socket.send_error != 0) return -socket.send_error;
    if (socket.room == 0) return -EAGAIN;
    --socket.room;
    cmsghdr header{};
    sctp_sndinfo info{};
    std::memcpy(&header, message.msg_control, sizeof header);
    std::memcpy(&info, static_cast<std::byte*>(message.msg_control) + CMSG_LEN(0), sizeof info);
    EXPECT_EQ(header.cmsg_level, IPPROTO_SCTP);
    EXPECT_EQ(header.cmsg_type, SCTP_SNDINFO);
    const iovec& piece = message.msg_iov[0];
    socket.departures.push_back(
        {std::string(static_cast<const char*>(piece.iov_base), piece.iov_len),
         {info.snd_sid, info.snd_ppid, (info.snd_flags & SCTP_UNORDERED) != 0}});
    return static_cast<ssize_t>(piece.iov_len);
  }

  ssize_t receive_message(int fd, msghdr& message, int) override {
    SctpSocket& socket = sockets_[fd];
    if (socket.arrivals.empty()) {
      if (socket.receive_error != 0) return -std::exchange(socket.receive_error, 0);
      message.msg_flags = 0;
      return socket.peer_shut_down ? 0 : -EAGAIN;
    }
    const SctpMessage arrival = socket.arrivals.front();
    socket.arrivals.pop_front();
    std::memcpy(message.msg_iov[0].iov_base, arrival.bytes.data(), arrival.bytes.size());
    message.msg_flags = arrival.flags;
    sctp_rcvinfo info{};
    info.rcv_sid = arrival.info.stream;
    info.rcv_ppid = arrival.info.payload_protocol;
    info.rcv_flags = arrival.info.unordered ? SCTP_UNORDERED : 0;
    const cmsghdr header{CMSG_LEN(sizeof info), IPPROTO_SCTP, SCTP_RCVINFO};
    std::memcpy(message.msg_control, &header, sizeof header);
    std::memcpy(static_cast<std::byte*>(message.msg_control) + CMSG_LEN(0), &info, sizeof info);
    message.msg_controllen = CMSG_SPACE(sizeof info);
    return static_cast<ssize_t>(arrival.bytes.size());
  }

  int shutdown_write(int fd) override {
    sockets_[fd].shut_down = true;
    return 0;
  }
  void reset_on_close(int fd) override { sockets_[fd].aborting = true; }
  int open_socket(int, int type, int protocol) override {
    EXPECT_EQ(type, SOCK_STREAM);
    EXPECT_EQ(protocol, IPPROTO_SCTP);
    if (socket_error != 0) return -socket_error;
    dialled.push_back(next_fd_);
    return next_fd_++;
  }

 private:
  enum class Kind : std::uint8_t { accept, connect, readable, writable };
  struct Operation {
    Handler* handler;
    Tag tag;
    Kind kind;
    int fd;
    bool cancelled;
  };

  void start(Handler& handler, Tag tag, Kind kind, int fd) {
    operations_.push_back({&handler, tag, kind, fd, false});
  }

  std::optional<int> result_of(const Operation& operation) {
    if (operation.cancelled) return -ECANCELED;
    const SctpSocket& socket = sockets_[operation.fd];
    switch (operation.kind) {
      case Kind::accept: {
        if (incoming_.empty()) return {};
        const int fd = incoming_.front();
        incoming_.pop_front();
        return fd;
      }
      case Kind::connect:
        return connect_result;
      case Kind::readable:
        if (socket.arrivals.empty() && !socket.peer_shut_down && socket.receive_error == 0) {
          return {};
        }
        return POLLIN;
      case Kind::writable:
        if (socket.room == 0) return {};
        return POLLOUT;
    }
    return {};
  }

  bool deliver() {
    for (std::size_t i = 0; i < operations_.size(); ++i) {
      const Operation operation = operations_[i];
      const std::optional<int> result = result_of(operation);
      if (!result) continue;
      operations_.erase(operations_.begin() + static_cast<std::ptrdiff_t>(i));
      Completion completion;
      completion.tag = operation.tag;
      completion.result = *result;
      operation.handler->on_completion(std::move(completion));
      return true;
    }
    return false;
  }

  std::map<int, SctpSocket> sockets_;
  std::vector<Operation> operations_;
  std::deque<int> incoming_;
  int next_fd_ = kFirstFd;
};

class SctpRelay : public testing::Test {
 protected:
  explicit SctpRelay(const RelaySettings& settings = {.connect_timeout_ms = 1000,
                                                      .connections_max = 100})
      : loop_{.engine = engine_, .settings = settings, .shared = shared_} {
    listener_ = make_listener(loop_, Protocol::sctp, FileDescriptor(ScriptedSctp::kFirstFd - 1),
                              {*IpAddress::parse("0.0.0.0"), 3868},
                              {*IpAddress::parse("172.17.0.2"), 3868}, counters_);
    listener_->start();
  }
  ~SctpRelay() override { engine_.stop(); }

  SctpSocket& client() { return engine_.socket(client_fd_); }
  SctpSocket& backend() { return engine_.socket(engine_.dialled.at(0)); }
  void connect() {
    client_fd_ = engine_.arrive();
    engine_.settle();
  }

  ScriptedSctp engine_;
  SharedState shared_;
  Counters counters_;
  Loop loop_;
  std::unique_ptr<Listener> listener_;
  int client_fd_ = -1;
};

TEST_F(SctpRelay, KeepsStreamPayloadProtocolAndOrder) {
  connect();
  const SctpMessage first{"one", {.stream = 7, .payload_protocol = 46, .unordered = false}};
  const SctpMessage second{"two", {.stream = 0, .payload_protocol = 0, .unordered = true}};
  client().arrivals = {first, second};
  const SctpMessage answer{"three", {.stream = 3, .payload_protocol = 1, .unordered = false}};
  backend().arrivals = {answer};
  engine_.settle();
  EXPECT_THAT(backend().departures, ElementsAre(first, second));
  EXPECT_THAT(client().departures, ElementsAre(answer));
  EXPECT_EQ(counters_.bytes_to_container, 6U);
  EXPECT_EQ(counters_.bytes_to_client, 5U);
}

TEST_F(SctpRelay, KeepsMessagesThatComeInPartsWhole) {
  connect();
  client().arrivals = {{"be", {.stream = 2}, 0}, {"gin", {.stream = 2}, 0}, {"end", {.stream = 2}}};
  engine_.settle();
  EXPECT_THAT(backend().departures, ElementsAre(SctpMessage{"beginend", {.stream = 2}}));
}

SctpMessage notification(std::uint16_t type, std::uint16_t state = 0) {
  sctp_assoc_change notice{};
  notice.sac_type = type;
  notice.sac_length = sizeof notice;
  notice.sac_state = state;
  std::string bytes(sizeof notice, '\0');
  std::memcpy(bytes.data(), &notice, sizeof notice);
  return {bytes, {}, int{MSG_NOTIFICATION} | int{MSG_EOR}};
}

TEST_F(SctpRelay, DropsAMessageThatWasGivenUpHalfWay) {
  connect();
  client().arrivals = {{"half", {.stream = 1}, 0},
                       notification(SCTP_PARTIAL_DELIVERY_EVENT),
                       {"whole", {.stream = 2}}};
  engine_.settle();
  EXPECT_THAT(backend().departures, ElementsAre(SctpMessage{"whole", {.stream = 2}}));
}

TEST_F(SctpRelay, DoesNotReadWhileTheSinkHasNoRoom) {
  connect();
  backend().room = 1;
  client().arrivals = {{"a"}, {"b", {.stream = 5}}, {"c"}, {"d"}};
  engine_.settle();
  EXPECT_THAT(backend().departures, SizeIs(1));
  EXPECT_THAT(client().arrivals, SizeIs(2));
  backend().room = 10;
  engine_.settle();
  EXPECT_THAT(backend().departures, ElementsAre(SctpMessage{"a"}, SctpMessage{"b", {.stream = 5}},
                                                SctpMessage{"c"}, SctpMessage{"d"}));
}

TEST_F(SctpRelay, PassesAShutdownOnAfterTheLastMessage) {
  connect();
  backend().room = 1;
  client().arrivals = {{"a"}, {"b"}};
  client().peer_shut_down = true;
  engine_.settle();
  EXPECT_FALSE(backend().shut_down);
  backend().room = 10;
  engine_.settle();
  EXPECT_THAT(backend().departures, ElementsAre(SctpMessage{"a"}, SctpMessage{"b"}));
  EXPECT_TRUE(backend().shut_down);
  EXPECT_FALSE(backend().closed) << "closing before the backend has ended would abort it";

  client().send_error = EPIPE;
  backend().arrivals = {{"too late"}};
  backend().peer_shut_down = true;
  engine_.settle();
  EXPECT_TRUE(backend().closed);
  EXPECT_TRUE(client().closed);
  EXPECT_FALSE(backend().aborting);
  EXPECT_FALSE(client().aborting);
  EXPECT_EQ(counters_.connections_open, 0U);
}

TEST_F(SctpRelay, LearnsByANotificationThatAShutdownItBeganIsComplete) {
  connect();
  client().arrivals = {notification(SCTP_ASSOC_CHANGE, SCTP_COMM_UP)};
  client().peer_shut_down = true;
  engine_.settle();
  EXPECT_TRUE(backend().shut_down);
  EXPECT_THAT(backend().departures, IsEmpty());
  backend().arrivals = {notification(SCTP_ASSOC_CHANGE, SCTP_SHUTDOWN_COMP)};
  engine_.settle();
  EXPECT_TRUE(backend().closed);
  EXPECT_TRUE(client().closed);
  EXPECT_FALSE(client().aborting);
}

TEST_F(SctpRelay, PassesAnAbortOn) {
  connect();
  backend().receive_error = ECONNRESET;
  engine_.settle();
  EXPECT_TRUE(client().aborting);
  EXPECT_TRUE(client().closed);
  EXPECT_TRUE(backend().closed);
  EXPECT_EQ(counters_.connections_reset, 1U);
  EXPECT_EQ(counters_.connections_open, 0U);
}

TEST_F(SctpRelay, AbortsWhileAMessageWaitsForRoom) {
  connect();
  backend().room = 0;
  client().arrivals = {{"a"}, {"b"}};
  engine_.settle();
  backend().receive_error = ECONNRESET;
  engine_.settle();
  EXPECT_TRUE(client().closed);
  EXPECT_TRUE(backend().closed);
}

TEST_F(SctpRelay, AbortsTheClientOfABackendThatRefuses) {
  engine_.connect_result = -ECONNREFUSED;
  connect();
  EXPECT_TRUE(client().aborting);
  EXPECT_TRUE(client().closed);
  EXPECT_EQ(counters_.connections_refused, 1U);
}

TEST_F(SctpRelay, AbortsTheClientOfABackendThatDoesNotAnswerInTime) {
  engine_.connect_result.reset();
  connect();
  engine_.pass_time(999);
  loop_.deadlines.run(engine_.now());
  engine_.settle();
  EXPECT_FALSE(client().closed);
  engine_.pass_time(1);
  loop_.deadlines.run(engine_.now());
  engine_.settle();
  EXPECT_TRUE(client().closed);
  EXPECT_EQ(counters_.connections_refused, 1U);
}

TEST_F(SctpRelay, EndsAConnectionWithAnEndlessMessage) {
  connect();
  const std::string part(64UL * 1024, 'x');
  for (std::size_t i = 0; i <= SctpConnection::kMessageBytesMax / part.size(); ++i) {
    client().arrivals.push_back({part, {}, 0});
  }
  engine_.settle();
  EXPECT_TRUE(client().aborting);
  EXPECT_THAT(backend().departures, IsEmpty());
}

TEST_F(SctpRelay, PausesAcceptingWithoutDescriptors) {
  engine_.socket_error = EMFILE;
  connect();
  EXPECT_TRUE(client().aborting);
  EXPECT_EQ(counters_.accept_pauses, 1U);

  engine_.socket_error = 0;
  connect();
  EXPECT_THAT(engine_.dialled, IsEmpty()) << "it waits in the listening socket's backlog";
  engine_.pass_time(100);
  loop_.deadlines.run(engine_.now());
  engine_.settle();
  EXPECT_THAT(engine_.dialled, SizeIs(1));
}

TEST(SctpMessageInfo, IsUnknownWithoutControlData) {
  EXPECT_EQ(read_sctp_info(msghdr{}), std::nullopt);
}

class SctpLimits : public SctpRelay {
 protected:
  SctpLimits()
      : SctpRelay({.connections_max = 100,
                   .connections_per_client_max = 1,
                   .idle_timeout_ms = 5'000,
                   .access_rules = parse_access_rules(true, "192.0.2.0/24").value()}) {}

  void pass(TimeMs time_ms) {
    engine_.pass_time(time_ms);
    loop_.deadlines.run(engine_.now());
    engine_.settle();
  }
};

TEST_F(SctpLimits, AreThoseOfTcp) {
  connect();
  EXPECT_FALSE(client().closed);
  const int kept = client_fd_;
  connect();
  EXPECT_TRUE(client().aborting && client().closed);
  EXPECT_EQ(counters_.clients_over_limit, 1U);
  engine_.client_address.ip = *IpAddress::parse("198.51.100.1");
  connect();
  EXPECT_TRUE(client().aborting && client().closed);
  EXPECT_EQ(counters_.clients_denied, 1U);
  EXPECT_FALSE(engine_.socket(kept).closed);
}

TEST_F(SctpLimits, EndAnIdleConnection) {
  connect();
  pass(4'000);
  client().arrivals.push_back({.bytes = "message"});
  engine_.settle();
  pass(4'000);
  EXPECT_FALSE(client().closed);
  pass(1'000);
  EXPECT_TRUE(client().aborting && client().closed && backend().aborting && backend().closed);
  EXPECT_EQ(counters_.connections_timed_out, 1U);
  EXPECT_EQ(counters_.connections_open, 0U);
}

}  // namespace
}  // namespace fairlead
