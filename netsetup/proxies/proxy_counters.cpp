#include "netsetup/proxies/proxy_counters.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "proxy/mapping/decimal.h"
#include "proxy/net/file_descriptor.h"

namespace fairlead {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view kRequest = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
constexpr std::string_view kStatus = "HTTP/1.1 200 ";
constexpr std::string_view kBodyMark = "\r\n\r\n";
/// So that the soft limit of open files, 1,024, has room for them.
constexpr std::size_t kAtOnce = 500;
/// A mapping has at most 11 lines of less than 220 bytes.
constexpr std::size_t kMappingBytesMax = 4096;
constexpr std::size_t kRestBytesMax = 16384;

struct Figure {
  std::string_view name;
  /// What follows the mapping.
  std::string_view rest;
  std::uint64_t ProxyCounters::* of;
};

constexpr std::array kFigures = {
    Figure{"fairlead_connections_accepted_total", "", &ProxyCounters::accepted},
    Figure{"fairlead_udp_sessions_opened_total", "", &ProxyCounters::accepted},
    Figure{"fairlead_connections_open", "", &ProxyCounters::open},
    Figure{"fairlead_udp_sessions_open", "", &ProxyCounters::open},
    Figure{"fairlead_bytes_total", ",direction=\"to_container\"",
           &ProxyCounters::bytes_to_container},
    Figure{"fairlead_bytes_total", ",direction=\"to_client\"", &ProxyCounters::bytes_to_client}};

void parse_line(std::string_view line, MappingCounters& counters) {
  constexpr std::string_view kLabel = "{mapping=\"";
  const std::size_t label = line.find(kLabel);
  const std::size_t end = line.rfind("} ");
  if (line.starts_with('#') || label == std::string_view::npos || end == std::string_view::npos) {
    return;
  }
  const std::string_view name = line.substr(0, label);
  const std::size_t begin = label + kLabel.size();
  const std::size_t quote = line.find('"', begin);
  if (quote >= end) return;
  const std::string_view rest = line.substr(quote + 1, end - quote - 1);
  const auto value = parse_decimal<std::uint64_t>(line.substr(end + 2));
  const auto* figure = std::ranges::find_if(kFigures, [&](const Figure& candidate) {
    return candidate.name == name && candidate.rest == rest;
  });
  if (!value || figure == kFigures.end()) return;
  counters[std::string(line.substr(begin, quote - begin))].*figure->of = *value;
}

/// Of one proxy, its answer so far.
class Asking {
 public:
  explicit Asking(const ProxyQuestion& question)
      : limit_(kRestBytesMax + (question.mappings * kMappingBytesMax)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (question.path.size() >= sizeof(address.sun_path)) return;
    question.path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    FileDescriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) return;
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) !=
        0) {
      return;
    }
    const ssize_t sent = ::send(socket.get(), kRequest.data(), kRequest.size(), MSG_NOSIGNAL);
    if (sent == static_cast<ssize_t>(kRequest.size())) socket_ = std::move(socket);
  }

  /// -1: there is no more to come.
  int socket() const { return socket_.get(); }

  void receive() {
    std::array<char, 65536> buffer;
    const ssize_t size = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size > 0 && text_.size() + static_cast<std::size_t>(size) <= limit_) {
      text_.append(buffer.data(), static_cast<std::size_t>(size));
      return;
    }
    ended_ = size == 0;
    socket_.reset();
  }

  std::optional<MappingCounters> answer() const {
    const std::size_t body = text_.find(kBodyMark);
    if (!ended_ || !text_.starts_with(kStatus) || body == std::string::npos) return std::nullopt;
    return parse_proxy_counters(std::string_view(text_).substr(body + kBodyMark.size()));
  }

 private:
  std::size_t limit_;
  FileDescriptor socket_;
  std::string text_;
  bool ended_ = false;
};

void wait_for(std::span<Asking> asked) {
  const auto end = Clock::now() + kAnswerPatience;
  for (;;) {
    std::vector<pollfd> polls;
    std::vector<Asking*> waiting;
    for (Asking& one : asked) {
      if (one.socket() < 0) continue;
      polls.push_back({.fd = one.socket(), .events = POLLIN, .revents = 0});
      waiting.push_back(&one);
    }
    // Rounded up, so as not to wake before the end.
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
    if (polls.empty() || left <= 0) return;
    if (::poll(polls.data(), polls.size(), static_cast<int>(left)) < 0 && errno != EINTR) return;
    for (std::size_t i = 0; i < polls.size(); ++i) {
      if (polls[i].revents != 0) waiting[i]->receive();
    }
  }
}

}  // namespace

ProxyCounters& ProxyCounters::operator+=(const ProxyCounters& other) {
  accepted += other.accepted;
  open += other.open;
  bytes_to_container += other.bytes_to_container;
  bytes_to_client += other.bytes_to_client;
  return *this;
}

MappingCounters parse_proxy_counters(std::string_view exposition) {
  MappingCounters counters;
  while (!exposition.empty()) {
    const std::size_t end = std::min(exposition.find('\n'), exposition.size());
    parse_line(exposition.substr(0, end), counters);
    exposition.remove_prefix(std::min(end + 1, exposition.size()));
  }
  return counters;
}

std::vector<std::optional<MappingCounters>> ask_proxies(std::span<const ProxyQuestion> questions) {
  std::vector<std::optional<MappingCounters>> answers;
  while (!questions.empty()) {
    const std::size_t count = std::min(questions.size(), kAtOnce);
    std::vector<Asking> asked;
    asked.reserve(count);
    for (const ProxyQuestion& question : questions.first(count)) asked.emplace_back(question);
    wait_for(asked);
    for (const Asking& one : asked) answers.push_back(one.answer());
    questions = questions.subspan(count);
  }
  return answers;
}

bool has_handed_over(const ProxyQuestion& question) {
  Asking asked(question);
  wait_for({&asked, 1});
  return asked.socket() < 0 && !asked.answer();
}

}  // namespace fairlead
