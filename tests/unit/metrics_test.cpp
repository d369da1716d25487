#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/metrics/exposition.h"
#include "proxy/metrics/http_reply.h"
#include "proxy/metrics/metrics_address.h"
#include "proxy/metrics/metrics_server.h"
#include "tests/unit/engine_fixture.h"

namespace fairlead {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// Addresses.

TEST(MetricsAddress, IsAnEndpoint) {
  for (const auto& [text, host, port] : {std::tuple{"127.0.0.1:9100", "127.0.0.1", 9100},
                                         {"[::1]:1", "::1", 1},
                                         {"0.0.0.0:65535", "0.0.0.0", 65535}}) {
    const auto address = MetricsAddress::parse(text);
    ASSERT_TRUE(address) << text;
    ASSERT_TRUE(address->endpoint) << text;
    EXPECT_EQ(address->endpoint->ip.to_string(), host);
    EXPECT_EQ(address->endpoint->port, port);
  }
}

TEST(MetricsAddress, IsAPath) {
  const auto address = MetricsAddress::parse("unix:/run/fairlead.sock");
  ASSERT_TRUE(address);
  EXPECT_FALSE(address->endpoint);
  EXPECT_FALSE(address->is_directory());
  EXPECT_EQ(address->socket_path(7), "/run/fairlead.sock");
}

TEST(MetricsAddress, IsADirectoryWithASocketForEachProcess) {
  const auto address = MetricsAddress::parse("unix:/run/fairlead/");
  ASSERT_TRUE(address);
  EXPECT_TRUE(address->is_directory());
  EXPECT_EQ(address->socket_path(4194304), "/run/fairlead/4194304.sock");
}

TEST(MetricsAddress, RefusesWhatIsNone) {
  const std::string longest = "unix:/" + std::string(kSocketPathMax - 1, 'x');
  EXPECT_TRUE(MetricsAddress::parse(longest));
  const std::string longest_directory = "unix:/" + std::string(kSocketPathMax - 14, 'x') + "/";
  EXPECT_TRUE(MetricsAddress::parse(longest_directory));
  for (const std::string& text :
       {std::string(), std::string(":9100"), std::string("9100"), std::string("localhost:9100"),
        std::string("127.0.0.1"), std::string("127.0.0.1:0"), std::string("127.0.0.1:65536"),
        std::string("::1:9100"), std::string("[127.0.0.1]:9100"), std::string("224.0.0.1:9100"),
        std::string("unix:"), std::string("unix:run/x"), longest + "x",
        longest_directory.substr(0, longest_directory.size() - 1) + "x/"}) {
    const auto address = MetricsAddress::parse(text);
    ASSERT_FALSE(address) << text;
    EXPECT_THAT(address.error().message, StartsWith("accepted: ADDR:PORT, as in 127.0.0.1:9100"));
  }
}

// The text.

Mapping mapping(std::string_view text) { return *Mapping::parse(text); }

TEST(Exposition, HasWhatTheProtocolOfEachMappingHas) {
  const std::vector<Mapping> mappings = {mapping("8080-8081:10.0.0.2:80-81"),
                                         mapping("[::1]:53:10.0.0.2:53/udp")};
  std::vector<Counters> counters(2);
  counters[0].connections_accepted = 3;
  counters[0].connections_open = 2;
  counters[0].bytes_to_client = 1'000'000'000'000;
  counters[0].connections_refused = 1;
  counters[1].datagrams_to_container = 5;
  counters[1].sessions_open = 4;
  const std::string text = exposition({.engine = "epoll",
                                       .loops = 2,
                                       .connections_max = 10,
                                       .sessions_max = 20,
                                       .started_at_seconds = 1.5,
                                       .cpu_seconds = 0.25},
                                      mappings, counters);
  for (
      const std::string_view line : {
          "fairlead_loops 2\n",
          "fairlead_connections_limit 10\n",
          "fairlead_udp_sessions_limit 20\n",
          "process_start_time_seconds 1.500\n",
          "process_cpu_seconds_total 0.250000\n",
          "# TYPE fairlead_connections_accepted_total counter\n",
          "# TYPE fairlead_connections_open gauge\n",
          R"(fairlead_connections_accepted_total{mapping="8080-8081:10.0.0.2:80-81/tcp"} 3)"
          "\n",
          R"(fairlead_connections_open{mapping="8080-8081:10.0.0.2:80-81/tcp"} 2)"
          "\n",
          R"(fairlead_bytes_total{mapping="8080-8081:10.0.0.2:80-81/tcp",direction="to_client"} 1000000000000)"
          "\n",
          R"(fairlead_errors_total{mapping="8080-8081:10.0.0.2:80-81/tcp",kind="connection_refused"} 1)"
          "\n",
          R"(fairlead_datagrams_total{mapping="[::1]:53:10.0.0.2:53/udp",direction="to_container"} 5)"
          "\n",
          R"(fairlead_udp_sessions_open{mapping="[::1]:53:10.0.0.2:53/udp"} 4)"
          "\n",
      }) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  EXPECT_THAT(text, HasSubstr(",engine=\"epoll\"} 1\n"));
  EXPECT_THAT(text, Not(HasSubstr("connections_open{mapping=\"[::1]:53")));
  EXPECT_THAT(text, Not(HasSubstr("sessions_open{mapping=\"8080")));
  EXPECT_THAT(text, EndsWith("\n"));
}

// Requests.

std::optional<std::string> reply_to(std::string_view request) {
  return http_reply(request, [] { return std::string("figures\n"); });
}

TEST(HttpReply, HasTheFigures) {
  for (const std::string_view request :
       {"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "GET /metrics?x=1 HTTP/1.0\r\n\r\n"}) {
    const auto reply = reply_to(request);
    ASSERT_TRUE(reply);
    EXPECT_THAT(*reply,
                AllOf(StartsWith("HTTP/1.1 200 OK\r\n"),
                      HasSubstr("\r\nContent-Type: text/plain; version=0.0.4;"),
                      HasSubstr("\r\nContent-Length: 8\r\n"),
                      HasSubstr("\r\nConnection: close\r\n"), EndsWith("\r\n\r\nfigures\n")));
  }
}

TEST(HttpReply, WaitsForTheWholeRequest) {
  constexpr std::string_view kRequest = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
  for (std::size_t size = 0; size < kRequest.size(); ++size) {
    EXPECT_FALSE(reply_to(kRequest.substr(0, size))) << size;
  }
}

TEST(HttpReply, SaysWhatIsAccepted) {
  const auto refusal = [](std::string_view request) { return *reply_to(request); };
  EXPECT_THAT(refusal("GET / HTTP/1.1\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 404 "), EndsWith("accepted: /metrics\n")));
  EXPECT_THAT(refusal("GET /metricsx HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(refusal("POST /metrics HTTP/1.1\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 405 "), HasSubstr("\r\nAllow: GET\r\n")));
  for (const std::string_view nonsense :
       {"\r\n\r\n", "GET\r\n\r\n", "GET /metrics\r\n\r\n", "GET  /metrics HTTP/1.1\r\n\r\n",
        "GET /metrics HTTP/2\r\n\r\n"}) {
    EXPECT_THAT(refusal(nonsense), StartsWith("HTTP/1.1 400 ")) << nonsense;
  }
}

TEST(HttpReply, LimitsTheRequest) {
  std::string request = "GET /metrics HTTP/1.1\r\nX: ";
  request.resize(kRequestBytesMax - 1, 'x');
  EXPECT_FALSE(reply_to(request));
  request += 'x';
  EXPECT_THAT(*reply_to(request), StartsWith("HTTP/1.1 431 "));
}

// The server.

class MetricsServerTest : public EngineTest {
 protected:
  void SetUp() override {
    EngineTest::SetUp();
    if (IsSkipped()) return;
    path_ = testing::TempDir() + "metrics-" + std::to_string(::getpid()) + ".sock";
    auto server = MetricsServer::open(*engine_, deadlines_, *MetricsAddress::parse("unix:" + path_),
                                      {}, [this] { return text_; });
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
  }

  void TearDown() override {
    if (engine_) engine_->stop();
    server_.reset();
    EXPECT_FALSE(std::filesystem::exists(path_));
  }

  FileDescriptor connect() const {
    FileDescriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return fd;
  }

  /// Turns until the other side has closed; all it has sent.
  std::string read_to_end(int fd) {
    std::string text;
    const bool ended = turn_until([&] {
      char room[4096];
      ssize_t size = 0;
      while ((size = ::recv(fd, room, sizeof room, MSG_DONTWAIT)) > 0) {
        text.append(room, static_cast<std::size_t>(size));
      }
      return size == 0;
    });
    EXPECT_TRUE(ended);
    return text;
  }

  std::string scrape() {
    const FileDescriptor client = connect();
    send_text(client.get(), "GET /metrics HTTP/1.1\r\n\r\n");
    return read_to_end(client.get());
  }

  std::string path_;
  std::string text_ = "figures\n";
  Deadlines deadlines_;
  std::unique_ptr<MetricsServer> server_;
};

TEST_P(MetricsServerTest, AnswersOneScrapeAfterTheOther) {
  EXPECT_THAT(scrape(), EndsWith("\r\n\r\nfigures\n"));
  text_ = "others\n";
  EXPECT_THAT(scrape(), EndsWith("\r\n\r\nothers\n"));
}

TEST_P(MetricsServerTest, SendsMoreThanASocketHolds) {
  text_.assign(8UL * 1024 * 1024, 'x');
  EXPECT_THAT(scrape().size(), testing::Gt(text_.size()));
}

TEST_P(MetricsServerTest, ARequestMayComeInPieces) {
  const FileDescriptor client = connect();
  for (const std::string_view piece : {"GET /met", "rics HTTP/1.1\r", "\n\r\n"}) {
    send_text(client.get(), piece);
    settle();
  }
  EXPECT_THAT(read_to_end(client.get()), EndsWith("figures\n"));
}

TEST_P(MetricsServerTest, LimitsWhatIsOpenAndForHowLong) {
  std::vector<FileDescriptor> idle;
  idle.reserve(MetricsServer::kScrapesMax + 2);
  const std::size_t before = open_descriptors();
  for (std::size_t i = 0; i < MetricsServer::kScrapesMax + 2; ++i) idle.push_back(connect());
  settle();
  EXPECT_EQ(open_descriptors() - before, idle.size() + MetricsServer::kScrapesMax);
  ASSERT_TRUE(deadlines_.next());
  // Each has its own: they need not have been accepted within the same millisecond.
  while (deadlines_.next()) deadlines_.run(*deadlines_.next());
  for (std::size_t i = 0; i < MetricsServer::kScrapesMax; ++i) {
    EXPECT_EQ(read_to_end(idle[i].get()), "") << i;
  }
  send_text(idle.back().get(), "GET /metrics HTTP/1.1\r\n\r\n");
  EXPECT_THAT(read_to_end(idle.back().get()), EndsWith("figures\n"));
}

// A socket that is closed with something unread in it takes back what it has sent.
TEST_P(MetricsServerTest, WhoSendsMoreThanWasAskedGetsTheReply) {
  const FileDescriptor client = connect();
  send_text(client.get(), "GET /metrics HTTP/1.1\r\n\r\n" + std::string(3 * kRequestBytesMax, 'x'));
  EXPECT_THAT(read_to_end(client.get()), EndsWith("figures\n"));
}

TEST_P(MetricsServerTest, ReadsNoEndOfWhatWasNotAsked) {
  const std::size_t before = open_descriptors();
  const FileDescriptor client = connect();
  send_text(client.get(), "GET /metrics HTTP/1.1\r\n\r\n");
  const std::string more(kRequestBytesMax, 'x');
  const bool ended = turn_until([&] {
    return ::send(client.get(), more.data(), more.size(), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
           errno == EPIPE;
  });
  EXPECT_TRUE(ended);
  EXPECT_EQ(open_descriptors(), before + 1);
}

TEST_P(MetricsServerTest, SaysThatFurtherOnesWait) {
  testing::internal::CaptureStderr();
  std::vector<FileDescriptor> idle;
  idle.reserve(MetricsServer::kScrapesMax);
  for (std::size_t i = 0; i < MetricsServer::kScrapesMax; ++i) idle.push_back(connect());
  settle();
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              HasSubstr("--metrics: 8 scrapes are open; further ones wait"));
}

TEST_P(MetricsServerTest, ForgetsWhoGoesAway) {
  const std::size_t before = open_descriptors();
  connect();
  {
    const FileDescriptor client = connect();
    send_text(client.get(), "GET ");
    settle();
  }
  settle();
  EXPECT_EQ(open_descriptors(), before);
}

TEST_P(MetricsServerTest, StopsForItsSuccessor) {
  server_->retire();
  settle();
  EXPECT_EQ(server_->socket(), -1);
  const FileDescriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path_.copy(address.sun_path, sizeof address.sun_path - 1);
  EXPECT_LT(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
}

FAIRLEAD_FOR_EVERY_ENGINE(MetricsServerTest);

}  // namespace
}  // namespace fairlead
