#include "tests/unit/engine_fixture.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <iterator>

namespace fairlead {

void NotingHandler::on_completion(Completion completion) {
  if (completion.tag == accept_tag && completion.result >= 0) {
    accepted.emplace_back(completion.result);
  }
  const std::span<std::byte> bytes = completion.lease.bytes();
  notes.push_back({completion.tag, completion.result, completion.more,
                   std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())});
  if (keep_leases && !bytes.empty()) leases.push_back(std::move(completion.lease));
  completion.lease = {};
  if (when_completed) {
    const Note note = notes.back();
    when_completed(note);
  }
}

int NotingHandler::ended(Tag tag) const {
  int count = 0;
  for (const Note& note : notes) count += note.tag == tag && !note.more ? 1 : 0;
  return count;
}

const NotingHandler::Note& NotingHandler::last(Tag tag) const {
  auto note = notes.rbegin();
  while (note != notes.rend() && note->tag != tag) ++note;
  if (note == notes.rend()) throw std::logic_error("no completion of this tag");
  return *note;
}

std::string NotingHandler::received() const {
  std::string all;
  for (const Note& note : notes) all += note.bytes;
  return all;
}

void EngineTest::SetUp() {
  auto chosen = make_engine(GetParam());
  if (!chosen && GetParam() == EngineChoice::io_uring) GTEST_SKIP() << chosen.error().message;
  ASSERT_TRUE(chosen) << chosen.error().message;
  engine_ = std::move(chosen->engine);
}

bool EngineTest::turn_until(const std::function<bool()>& done) {
  const auto give_up_at = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (!done()) {
    if (std::chrono::steady_clock::now() > give_up_at) return false;
    engine_->turn(engine_->now() + 20);
  }
  return true;
}

void EngineTest::settle() {
  for (int i = 0; i < 5; ++i) {
    engine_->turn(engine_->now());
    engine_->turn(engine_->now() + 2);
  }
}

void EngineTest::receive_all(NotingHandler& handler, Tag tag, int fd) {
  handler.when_completed = [this, &handler, tag, fd](const NotingHandler::Note& note) {
    if (note.tag == tag && !note.more && (note.result > 0 || note.result == -ENOBUFS)) {
      engine_->receive(handler, tag, fd, BufferSize::small, Repeat::until_stopped);
    }
  };
  engine_->receive(handler, tag, fd, BufferSize::small, Repeat::until_stopped);
}

FileDescriptor EngineTest::listening_socket(int backlog) {
  FileDescriptor listener(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const SocketAddress any_port({IpAddress::loopback(Family::v4), 0});
  EXPECT_EQ(::bind(listener.get(), any_port.get(), any_port.size()), 0);
  EXPECT_EQ(::listen(listener.get(), backlog), 0);
  return listener;
}

SocketAddress EngineTest::local_address(int fd) {
  SocketAddress address;
  socklen_t size = SocketAddress::capacity();
  EXPECT_EQ(::getsockname(fd, address.get(), &size), 0);
  return address;
}

FileDescriptor EngineTest::begin_connection(const SocketAddress& listener) {
  FileDescriptor client(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int result = ::connect(client.get(), listener.get(), listener.size());
  EXPECT_TRUE(result == 0 || errno == EINPROGRESS);
  return client;
}

SocketPair EngineTest::tcp_pair() {
  const FileDescriptor listener = listening_socket();
  FileDescriptor client = begin_connection(local_address(listener.get()));
  FileDescriptor server(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  EXPECT_TRUE(server);
  return {std::move(server), std::move(client)};
}

SocketPair EngineTest::unix_pair() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()), 0);
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

void EngineTest::send_text(int fd, std::string_view text) {
  EXPECT_EQ(::send(fd, text.data(), text.size(), MSG_NOSIGNAL), std::ssize(text));
}

std::size_t EngineTest::fill(int fd) {
  const std::string chunk(64UL * 1024, 'x');
  std::size_t total = 0;
  while (true) {
    const ssize_t sent = ::send(fd, chunk.data(), chunk.size(), MSG_NOSIGNAL);
    if (sent < 0) return total;
    total += static_cast<std::size_t>(sent);
  }
}

std::size_t EngineTest::drain(int fd) {
  std::string space(64UL * 1024, '\0');
  std::size_t total = 0;
  while (true) {
    const ssize_t received = ::recv(fd, space.data(), space.size(), MSG_DONTWAIT);
    if (received <= 0) return total;
    total += static_cast<std::size_t>(received);
  }
}

void EngineTest::reset(FileDescriptor& fd) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  EXPECT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
  fd.reset();
}

std::size_t open_descriptors() {
  const std::filesystem::directory_iterator descriptors("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(descriptors), end(descriptors)));
}

}  // namespace fairlead
