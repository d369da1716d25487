#include "netsetup/proxies/proxy_counters.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <thread>

#include "proxy/metrics/exposition.h"
#include "proxy/process/socket_file.h"
#include "tests/unit/temporary_directory.h"

namespace fairlead {
namespace {

Mapping mapping(std::string_view text) { return Mapping::parse(text).value(); }

std::string exposition_of(std::span<const Mapping> mappings, std::span<const Counters> counters) {
  return exposition({.engine = "epoll"}, mappings, counters);
}

TEST(ProxyCounters, AreThoseThatTheProxyWrites) {
  const std::vector<Mapping> mappings = {mapping("8080:10.0.0.2:80"),
                                         mapping("[::1]:53:[fd00::2]:53/udp")};
  std::vector<Counters> counters(2);
  counters[0].connections_accepted = 3;
  counters[0].connections_open = 2;
  counters[0].bytes_to_container = 1;
  counters[0].bytes_to_client = 1'000'000'000'000;
  counters[1].sessions_opened = 5;
  counters[1].sessions_open = 4;
  counters[1].bytes_to_client = 6;
  counters[1].datagrams_to_client = 7;
  const MappingCounters expected = {
      {"8080:10.0.0.2:80/tcp",
       {.accepted = 3, .open = 2, .bytes_to_container = 1, .bytes_to_client = 1'000'000'000'000}},
      {"[::1]:53:[fd00::2]:53/udp",
       {.accepted = 5, .open = 4, .bytes_to_container = 0, .bytes_to_client = 6}}};
  EXPECT_EQ(parse_proxy_counters(exposition_of(mappings, counters)), expected);
}

TEST(ProxyCounters, LinesOfOthersArePassedOver) {
  for (const std::string_view line :
       {"fairlead_connections_open{mapping=\"x\"} -1", "fairlead_connections_open{mapping=\"x\"} ",
        "fairlead_connections_open{mapping=\"x} 1", "fairlead_connections_open{mapping=\"} 1",
        "fairlead_connections_open 1", "fairlead_bytes_total{mapping=\"x\"} 1",
        "fairlead_bytes_total{mapping=\"x\",direction=\"up\"} 1", "other{mapping=\"x\"} 1",
        "# fairlead_connections_open{mapping=\"x\"} 1", "\n\n"}) {
    EXPECT_EQ(parse_proxy_counters(line), MappingCounters()) << line;
  }
}

/// A socket at which one question is answered, or none.
class AskProxies : public ::testing::Test {
 protected:
  std::string path(int number) const {
    return directory_.path() + "/" + std::to_string(number) + ".sock";
  }

  /// What one who answers so is taken to have said.
  std::optional<MappingCounters> ask(std::string_view reply, std::size_t mappings = 1) {
    auto file = SocketFile::listen(path(1), SOCK_STREAM, 0600).value();
    std::thread answering([&] {
      pollfd ready{.fd = file.socket().get(), .events = POLLIN, .revents = 0};
      ::poll(&ready, 1, 10'000);
      const FileDescriptor client(::accept4(file.socket().get(), nullptr, nullptr, 0));
      std::array<char, 1000> request;
      ::recv(client.get(), request.data(), request.size(), 0);
      while (!reply.empty()) {
        const ssize_t sent = ::send(client.get(), reply.data(), reply.size(), MSG_NOSIGNAL);
        if (sent < 0) return;
        reply.remove_prefix(static_cast<std::size_t>(sent));
      }
    });
    const std::vector<ProxyQuestion> question = {{path(1), mappings}};
    auto answers = ask_proxies(question);
    answering.join();
    return answers.at(0);
  }

  const TemporaryDirectory directory_;
};

constexpr std::string_view kLine = "fairlead_connections_open{mapping=\"x\"} 1\n";

TEST_F(AskProxies, TheAnswerIsWhatHasCompletelyCome) {
  const std::string head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
  const MappingCounters expected{{"x", {.open = 1}}};
  EXPECT_EQ(ask(head + std::string(kLine)), expected);
  EXPECT_EQ(ask("HTTP/1.1 404 Not Found\r\n\r\n" + std::string(kLine)), std::nullopt);
  EXPECT_EQ(ask("HTTP/1.1 200 OK\r\n"), std::nullopt);
  EXPECT_EQ(ask(""), std::nullopt);
}

TEST_F(AskProxies, AnAnswerIsNotLongerThanWhatIsServed) {
  const std::string reply =
      "HTTP/1.1 200 OK\r\n\r\n" + std::string(kLine) + std::string(30'000, '#');
  EXPECT_EQ(ask(reply, 1), std::nullopt);
  EXPECT_NE(ask(reply, 10), std::nullopt);
}

TEST_F(AskProxies, OneThatIsSilentOrGoneHoldsUpNobodyForLong) {
  const auto silent = SocketFile::listen(path(1), SOCK_STREAM, 0600).value();
  const std::vector<ProxyQuestion> questions = {
      {path(1), 1}, {path(2), 1}, {directory_.path() + "/" + std::string(200, 'x'), 1}};
  const auto began = std::chrono::steady_clock::now();
  const auto answers = ask_proxies(questions);
  EXPECT_EQ(answers, std::vector<std::optional<MappingCounters>>(3));
  EXPECT_GE(std::chrono::steady_clock::now() - began, kAnswerPatience);
}

}  // namespace
}  // namespace fairlead
