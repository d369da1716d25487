// What engines promise of accept and connect.

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "tests/unit/engine_fixture.h"

namespace fairlead {
namespace {

constexpr Tag kAccept = 0;
constexpr Tag kConnect = 1;

class EngineConnectTest : public EngineTest {};
FAIRLEAD_FOR_EVERY_ENGINE(EngineConnectTest);

TEST_P(EngineConnectTest, AcceptGoesOnAndDescriptorsAreNonBlockingAndCloseOnExec) {
  constexpr std::size_t kClients = 200;
  const FileDescriptor listener = listening_socket(256);
  NotingHandler handler;
  handler.accept_tag = kAccept;
  engine_->accept(handler, kAccept, listener.get(), Repeat::until_stopped);
  std::vector<FileDescriptor> clients;
  while (clients.size() < kClients) {
    clients.push_back(begin_connection(local_address(listener.get())));
  }
  EXPECT_TRUE(turn_until([&] { return handler.accepted.size() == kClients; }));
  for (const FileDescriptor& accepted : handler.accepted) {
    EXPECT_NE(::fcntl(accepted.get(), F_GETFL) & O_NONBLOCK, 0);
    EXPECT_NE(::fcntl(accepted.get(), F_GETFD) & FD_CLOEXEC, 0);
  }
  EXPECT_TRUE(std::ranges::all_of(handler.notes, [](const auto& note) { return note.more; }));

  // Nothing was pending in between: the next one comes by a new edge.
  settle();
  clients.push_back(begin_connection(local_address(listener.get())));
  EXPECT_TRUE(turn_until([&] { return handler.accepted.size() == kClients + 1; }));
  engine_->stop();
}

TEST_P(EngineConnectTest, AcceptEndsForWantOfDescriptorsAndCanBeStartedAgain) {
  const FileDescriptor listener = listening_socket();
  const FileDescriptor client(engine_->open_socket(AF_INET, SOCK_STREAM, 0));
  NotingHandler handler;
  handler.accept_tag = kAccept;

  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const FileDescriptor next_free(::dup(client.get()));
  const rlimit tight{.rlim_cur = static_cast<rlim_t>(next_free.get()) + 1,
                     .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
  std::vector<FileDescriptor> fillers;
  for (int fd = ::dup(client.get()); fd >= 0; fd = ::dup(client.get())) fillers.emplace_back(fd);
  // io_uring takes the limit that holds when the operation starts.
  engine_->accept(handler, kAccept, listener.get(), Repeat::until_stopped);
  const SocketAddress address = local_address(listener.get());
  ::connect(client.get(), address.get(), address.size());

  const bool ended = turn_until([&] { return handler.ended(kAccept) == 1; });
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_TRUE(ended);
  EXPECT_EQ(handler.last(kAccept).result, -EMFILE);
  EXPECT_TRUE(handler.accepted.empty());

  engine_->accept(handler, kAccept, listener.get(), Repeat::until_stopped);
  EXPECT_TRUE(turn_until([&] { return handler.accepted.size() == 1; }));
  engine_->stop();
}

TEST_P(EngineConnectTest, AcceptsOneAtATime) {
  const FileDescriptor listener = listening_socket();
  NotingHandler handler;
  handler.accept_tag = kAccept;
  std::vector<FileDescriptor> clients;
  while (clients.size() < 3) clients.push_back(begin_connection(local_address(listener.get())));
  for (int i = 1; i <= 3; ++i) {
    engine_->accept(handler, kAccept, listener.get(), Repeat::once);
    EXPECT_TRUE(turn_until([&] { return handler.ended(kAccept) == i; }));
    settle();
    EXPECT_EQ(handler.accepted.size(), static_cast<std::size_t>(i));
  }
  engine_->accept(handler, kAccept, listener.get(), Repeat::once);
  settle();
  EXPECT_EQ(handler.ended(kAccept), 3);
  clients.push_back(begin_connection(local_address(listener.get())));
  EXPECT_TRUE(turn_until([&] { return handler.accepted.size() == 4; }));
}

TEST_P(EngineConnectTest, AcceptCanBeCancelledByItsOwnHandler) {
  const FileDescriptor listener = listening_socket();
  NotingHandler handler;
  handler.accept_tag = kAccept;
  handler.when_completed = [&](const NotingHandler::Note&) { engine_->cancel(handler, kAccept); };
  engine_->accept(handler, kAccept, listener.get(), Repeat::until_stopped);
  const FileDescriptor client = begin_connection(local_address(listener.get()));
  EXPECT_TRUE(turn_until([&] { return handler.ended(kAccept) == 1; }));
  EXPECT_EQ(handler.last(kAccept).result, -ECANCELED);
  EXPECT_EQ(handler.accepted.size(), 1U);
  settle();
  EXPECT_EQ(handler.ended(kAccept), 1);
}

TEST_P(EngineConnectTest, ConnectsOverBothFamilies) {
  for (const Family family : {Family::v4, Family::v6}) {
    const bool is_v4 = family == Family::v4;
    const FileDescriptor listener(::socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM, 0));
    const SocketAddress any_port({IpAddress::loopback(family), 0});
    if (::bind(listener.get(), any_port.get(), any_port.size()) < 0) continue;
    ASSERT_EQ(::listen(listener.get(), 8), 0);
    const SocketAddress address = local_address(listener.get());

    NotingHandler handler;
    FileDescriptor client(engine_->open_socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM, 0));
    engine_->connect(handler, kConnect, client.get(), address);
    EXPECT_TRUE(handler.notes.empty());
    EXPECT_TRUE(turn_until([&] { return handler.ended(kConnect) == 1; }));
    EXPECT_EQ(handler.last(kConnect).result, 0);
    EXPECT_FALSE(handler.last(kConnect).more);
    engine_->close(std::move(client));
  }
}

TEST_P(EngineConnectTest, ConnectIsRefused) {
  SocketAddress nobody;
  {
    const FileDescriptor listener = listening_socket();
    nobody = local_address(listener.get());
  }
  NotingHandler handler;
  const FileDescriptor client(engine_->open_socket(AF_INET, SOCK_STREAM, 0));
  engine_->connect(handler, kConnect, client.get(), nobody);
  EXPECT_TRUE(handler.notes.empty());
  EXPECT_TRUE(turn_until([&] { return handler.ended(kConnect) == 1; }));
  EXPECT_EQ(handler.last(kConnect).result, -ECONNREFUSED);
}

TEST_P(EngineConnectTest, ConnectThatIsNotAnsweredCanBeCancelled) {
  const FileDescriptor listener = listening_socket(0);
  const SocketAddress address = local_address(listener.get());
  // A full backlog leaves the next SYN unanswered.
  const FileDescriptor first = begin_connection(address);
  NotingHandler handler;
  const FileDescriptor client(engine_->open_socket(AF_INET, SOCK_STREAM, 0));
  engine_->connect(handler, kConnect, client.get(), address);
  settle();
  ASSERT_TRUE(handler.notes.empty());
  engine_->cancel(handler, kConnect);
  EXPECT_TRUE(handler.notes.empty());
  EXPECT_TRUE(turn_until([&] { return handler.ended(kConnect) == 1; }));
  EXPECT_EQ(handler.last(kConnect).result, -ECANCELED);
}

}  // namespace
}  // namespace fairlead
