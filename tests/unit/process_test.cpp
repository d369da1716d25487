// What the process has from its parent and tells it: descriptors, limits, notifications, the log.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string>

#include "proxy/engine/engine.h"
#include "proxy/log/log.h"
#include "proxy/process/listen_fds.h"
#include "proxy/process/resource_limits.h"
#include "proxy/process/sd_notify.h"
#include "proxy/process/signals.h"
#include "proxy/process/socket_file.h"
#include "proxy/process/standard_streams.h"
#include "proxy/process/status_pipe.h"
#include "tests/unit/temporary_directory.h"

namespace fairlead {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::StartsWith;

TEST(ListenFds, CountsFromThree) {
  EXPECT_THAT(listen_fds("42", "2", 42).value(), ElementsAre(3, 4));
  EXPECT_THAT(listen_fds("42", "0", 42).value(), IsEmpty());
}

TEST(ListenFds, AreNotOursWithoutOurProcessId) {
  EXPECT_THAT(listen_fds("43", "2", 42).value(), IsEmpty());
  EXPECT_THAT(listen_fds("43", "nonsense", 42).value(), IsEmpty());
  EXPECT_THAT(listen_fds(nullptr, "2", 42).value(), IsEmpty());
  EXPECT_THAT(listen_fds("42", nullptr, 42).value(), IsEmpty());
}

TEST(ListenFds, ErrorNamesTheVariable) {
  for (const char* text : {"", "x", "-1", "1 ", "1000001"}) {
    EXPECT_THAT(listen_fds("42", text, 42).error().message,
                StartsWith("LISTEN_FDS \"" + std::string(text) + "\": accepted: "));
  }
  EXPECT_EQ(listen_fds("self", "1", 42).error().message,
            "LISTEN_PID \"self\": accepted: a process id");
}

class SocketFileTest : public ::testing::Test {
 protected:
  SocketFile listen() { return SocketFile::listen(path_, SOCK_STREAM, 0600).value(); }
  /// Whether `file` is who is reached at the path.
  bool is_reached(const SocketFile& file) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    const FileDescriptor client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) {
      return false;
    }
    return FileDescriptor(::accept4(file.socket().get(), nullptr, nullptr, SOCK_CLOEXEC)).get() >=
           0;
  }
  std::size_t files() {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(directory_.path()), {}));
  }

  const TemporaryDirectory directory_;
  std::string path_ = directory_.path() + "/path";
};

TEST_F(SocketFileTest, IsGoneAtTheEnd) {
  {
    const SocketFile file = listen();
    EXPECT_TRUE(is_reached(file));
  }
  EXPECT_EQ(files(), 0U);
}

TEST_F(SocketFileTest, ThePathGoesToTheNext) {
  std::optional<SocketFile> first(listen());
  SocketFile second = listen();
  second.settle();
  EXPECT_TRUE(is_reached(second));
  first.reset();
  EXPECT_TRUE(is_reached(second));
  EXPECT_EQ(files(), 1U);
}

TEST_F(SocketFileTest, ThePathComesBackFromOneThatFails) {
  {
    const SocketFile first = listen();
    {
      const SocketFile second = listen();
      EXPECT_TRUE(is_reached(second));
    }
    EXPECT_TRUE(is_reached(first));
    EXPECT_EQ(files(), 1U);
  }
  EXPECT_EQ(files(), 0U);
}

/// A datagram socket under a name, as a service manager has it.
class Manager {
 public:
  explicit Manager(const std::string& name) : fd_(::socket(AF_UNIX, SOCK_DGRAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::ranges::copy(name, address.sun_path);
    if (name[0] == '@') address.sun_path[0] = '\0';
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);
  }
  std::string receive() const {
    std::array<char, 64> text{};
    const ssize_t size = ::recv(fd_.get(), text.data(), text.size(), MSG_DONTWAIT);
    return size < 0 ? "nothing" : std::string(text.data(), static_cast<std::size_t>(size));
  }

 private:
  FileDescriptor fd_;
};

TEST(NotifySocket, ReachesAPathAndAnAbstractName) {
  const TemporaryDirectory directory;
  for (const std::string& name :
       {directory.path() + "/notify", "@fairlead-test-" + std::to_string(::getpid())}) {
    const Manager manager(name);
    const auto socket = NotifySocket::open(name.c_str());
    ASSERT_TRUE(socket) << socket.error().message;
    ASSERT_TRUE(socket->send("READY=1"));
    EXPECT_EQ(manager.receive(), "READY=1") << name;
  }
}

TEST(NotifySocket, NotifiesNobodyWithoutAName) {
  for (const char* name : {static_cast<const char*>(nullptr), ""}) {
    const auto socket = NotifySocket::open(name);
    ASSERT_TRUE(socket);
    EXPECT_TRUE(socket->send("READY=1"));
  }
}

TEST(NotifySocket, ErrorNamesTheSocket) {
  const auto error = [](const std::string& name) {
    const auto socket = NotifySocket::open(name.c_str());
    return socket ? "" : socket.error().message;
  };
  EXPECT_EQ(error("/nonexistent/notify"),
            "NOTIFY_SOCKET \"/nonexistent/notify\": connect: no such file or directory");
  EXPECT_EQ(error("vsock:2:1234"), "NOTIFY_SOCKET \"vsock:2:1234\": accepted: a path or @name");
  EXPECT_NE(error("/" + std::string(200, 'x')), "");
}

/// Everything there is in a pipe, and whether its write end is closed.
class Pipe {
 public:
  Pipe() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC), 0);
    read_ = FileDescriptor(ends[0]);
    write_ = FileDescriptor(ends[1]);
  }
  FileDescriptor take_write_end() { return std::move(write_); }
  std::string read() const {
    std::array<char, 256> text{};
    const ssize_t size = ::read(read_.get(), text.data(), text.size());
    return size < 0 ? "still open" : std::string(text.data(), static_cast<std::size_t>(size));
  }
  void close_read_end() { read_.reset(); }

 private:
  FileDescriptor read_;
  FileDescriptor write_;
};

TEST(StatusPipe, ReportsReadyInTwoBytesAndCloses) {
  Pipe pipe;
  StatusPipe status(pipe.take_write_end());
  EXPECT_EQ(pipe.read(), "still open");
  status.report_ready();
  EXPECT_EQ(pipe.read(), "0\n");
  EXPECT_EQ(pipe.read(), "");
}

TEST(StatusPipe, ReportsAnErrorWithoutANewline) {
  Pipe pipe;
  StatusPipe status(pipe.take_write_end());
  status.report_failure("unsupported protocol x");
  EXPECT_EQ(pipe.read(), "1\nunsupported protocol x");
  EXPECT_EQ(pipe.read(), "");
}

TEST(StatusPipe, ReportsOnceAndToNobodyWithoutHarm) {
  Pipe pipe;
  StatusPipe status(pipe.take_write_end());
  status.report_ready();
  status.report_failure("late");
  EXPECT_EQ(pipe.read(), "0\n");
  EXPECT_EQ(pipe.read(), "");

  StatusPipe nobody;
  nobody.report_ready();
}

/// Runs `check` in a child with a descriptor table of its own; it returns whether all is well.
template <typename Check>
bool in_child(Check check) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(check() ? 0 : 1);
  int status = -1;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(StatusPipe, InheritedDescriptorsAreClosedOnExec) {
  EXPECT_TRUE(in_child([] {
    ::dup2(STDERR_FILENO, 3);
    ::dup2(STDERR_FILENO, 4);
    const StatusPipe status = StatusPipe::inherited();
    return ::fcntl(3, F_GETFD) == FD_CLOEXEC && ::fcntl(4, F_GETFD) == FD_CLOEXEC;
  }));
}

TEST(StatusPipe, AnAbsentDescriptorIsNeverMistakenForALaterOne) {
  EXPECT_TRUE(in_child([] {
    ::close(3);
    StatusPipe status = StatusPipe::inherited();
    const int own = ::memfd_create("own", 0);
    if (own != 3) return false;
    status.report_ready();
    return ::fcntl(3, F_GETFD) >= 0 && ::lseek(3, 0, SEEK_END) == 0;
  }));
}

TEST(StandardStreams, AreFilledWhereClosed) {
  EXPECT_TRUE(in_child([] {
    ::close(STDIN_FILENO);
    ::close(STDERR_FILENO);
    fill_standard_streams();
    const bool filled = ::fcntl(STDIN_FILENO, F_GETFD) >= 0 && ::fcntl(STDERR_FILENO, F_GETFD) >= 0;
    const int next = ::open("/dev/null", O_RDONLY);
    return filled && next > STDERR_FILENO;
  }));
}

TEST(Signals, AreReadInTheLoop) {
  EXPECT_TRUE(in_child([] {
    // As in a job that a shell has put into the background.
    ::signal(SIGINT, SIG_IGN);
    hold_signals();
    auto chosen = make_engine(EngineChoice::automatic);
    auto fd = SignalReader::open();
    if (!chosen || !fd) return false;
    Engine& engine = *chosen->engine;
    SignalReader reader(engine, std::move(*fd));
    reader.start();

    ::raise(SIGUSR1);
    engine.turn(std::nullopt);
    if (!reader.take_counters_request() || reader.take_counters_request()) return false;
    if (reader.stop_signal() != 0) return false;

    ::raise(SIGINT);
    engine.turn(std::nullopt);
    engine.stop();
    return reader.stop_signal() == SIGINT;
  }));
}

TEST(Signals, OneThatComesEarlyIsKept) {
  EXPECT_TRUE(in_child([] {
    hold_signals();
    ::raise(SIGTERM);
    auto chosen = make_engine(EngineChoice::automatic);
    auto fd = SignalReader::open();
    if (!chosen || !fd) return false;
    SignalReader reader(*chosen->engine, std::move(*fd));
    reader.start();
    chosen->engine->turn(std::nullopt);
    chosen->engine->stop();
    return reader.stop_signal() == SIGTERM;
  }));
}

TEST(Signals, WritingToAClosedPipeIsNoSignal) {
  EXPECT_TRUE(in_child([] {
    hold_signals();
    Pipe pipe;
    StatusPipe status(pipe.take_write_end());
    pipe.close_read_end();
    status.report_ready();
    return true;
  }));
}

TEST(ResourceLimits, TheSoftLimitIsRaisedToTheHardOne) {
  EXPECT_TRUE(in_child([] {
    const rlimit low{.rlim_cur = 100, .rlim_max = 200};
    ::setrlimit(RLIMIT_NOFILE, &low);
    rlimit now{};
    return raise_descriptor_limit() == 200 && ::getrlimit(RLIMIT_NOFILE, &now) == 0 &&
           now.rlim_cur == 200;
  }));
}

RelaySettings limits(std::size_t descriptors, const ListenerCounts& listeners,
                     RelaySettings settings = {}) {
  set_default_limits(settings, descriptors, listeners);
  return settings;
}

TEST(ResourceLimits, TwoDescriptorsAConnectionOneASession) {
  EXPECT_EQ(limits(1024, {.streams = 1, .datagrams = 0}).connections_max, (1024U - 65) / 2);
  EXPECT_EQ(limits(1024, {.streams = 0, .datagrams = 1}).sessions_max, 1024U - 65);
}

TEST(ResourceLimits, StreamsAndDatagramsShare) {
  const RelaySettings both = limits(1024, {.streams = 10, .datagrams = 10});
  EXPECT_EQ(both.sessions_max, (1024U - 84) / 2);
  EXPECT_EQ(both.connections_max, (1024U - 84) / 4);
}

TEST(ResourceLimits, SessionsHaveACeilingAndEverythingAFloor) {
  EXPECT_EQ(limits(1'048'576, {.streams = 0, .datagrams = 1}).sessions_max, kSessionsCeiling);
  EXPECT_EQ(limits(64, {.streams = 1, .datagrams = 0}).connections_max, (64U - 33) / 2);
  EXPECT_EQ(limits(8, {.streams = 1, .datagrams = 1}).connections_max, 1U);
  EXPECT_EQ(limits(8, {.streams = 1, .datagrams = 1}).sessions_max, 1U);
}

TEST(ResourceLimits, WhatAnOptionSetsStays) {
  RelaySettings settings;
  settings.connections_max = 7;
  settings.sessions_max = 1'000'000;
  const RelaySettings set = limits(1024, {.streams = 1, .datagrams = 1}, settings);
  EXPECT_EQ(set.connections_max, 7U);
  EXPECT_EQ(set.sessions_max, 1'000'000U);
}

TEST(Log, ATextLineStaysOneLine) {
  const std::chrono::system_clock::time_point time{std::chrono::milliseconds(1'763'719'200'007)};
  EXPECT_EQ(log_line(LogFormat::text, time, "warn", "a \"b\"\nc\x1b\\"),
            "2025-11-21T10:00:00.007Z warn a \"b\"\\nc\\u001b\\\n");
}

TEST(Log, AJsonLineIsEscaped) {
  const std::chrono::system_clock::time_point time{std::chrono::milliseconds(1'763'719'200'007)};
  EXPECT_EQ(log_line(LogFormat::json, time, "info", "a \"b\"\n\t\\c\x01\x7f\u00e9"),
            "{\"time\":\"2025-11-21T10:00:00.007Z\",\"level\":\"info\",\"message\":"
            "\"a \\\"b\\\"\\n\\t\\\\c\\u0001\\u007f\u00e9\"}\n");
}

}  // namespace
}  // namespace fairlead
