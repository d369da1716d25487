#include "proxy/metrics/metrics_server.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <iterator>
#include <utility>

#include "proxy/log/log.h"
#include "proxy/metrics/http_reply.h"
#include "proxy/net/listening_socket.h"

namespace fairlead {
namespace {

/// For the proxy's user and its group: the counters are nobody else's business.
constexpr mode_t kSocketMode = 0660;

}  // namespace

/// One connection: a request, the reply to it, then whatever else is sent until the other side
/// closes, since a socket that is closed with something unread in it resets the connection, and
/// takes from the other side what it has not read of the reply (RFC 9112, section 9.6).
class MetricsServer::Scrape final : public Handler, public Deadline {
 public:
  Scrape(MetricsServer& server, FileDescriptor socket)
      : server_(server), socket_(std::move(socket)) {}

  void wait() {
    const short events = replies() ? POLLOUT : POLLIN;
    server_.engine_.wait(*this, kReady, socket_.get(), events);
  }

  void on_completion(Completion completion) override {
    // Cancelled: its time is over.
    if (completion.result >= 0 && go_on()) {
      wait();
    } else {
      server_.end(*this);
    }
  }

  void on_deadline() { server_.engine_.cancel(*this, kReady); }

  FileDescriptor& socket() { return socket_; }

  std::list<Scrape>::iterator place;

 private:
  static constexpr Tag kReady = 0;
  static constexpr std::size_t kUnaskedBytesMax = 8 * kRequestBytesMax;

  bool replies() const { return sent_ < reply_.size(); }

  /// False when all is done, or nothing can be.
  bool go_on() {
    if (!replies() && !receive()) return false;
    return !replies() || send();
  }

  bool receive() {
    std::array<char, 2048> room;
    iovec piece{room.data(), room.size()};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    const ssize_t size = server_.engine_.receive_message(socket_.get(), message, 0);
    if (size == -EAGAIN || size == -EINTR) return true;
    if (size <= 0) return false;
    if (!reply_.empty()) {
      unasked_ += static_cast<std::size_t>(size);
      return unasked_ <= kUnaskedBytesMax;
    }
    request_.append(room.data(), static_cast<std::size_t>(size));
    if (auto reply = http_reply(request_, server_.exposition_)) reply_ = std::move(*reply);
    return true;
  }

  bool send() {
    while (replies()) {
      const iovec piece{reply_.data() + sent_, reply_.size() - sent_};
      const ssize_t size = server_.engine_.send(socket_.get(), {&piece, 1});
      if (size == -EAGAIN) return true;
      if (size <= 0) return false;
      sent_ += static_cast<std::size_t>(size);
    }
    return server_.engine_.shutdown_write(socket_.get()) == 0;
  }

  MetricsServer& server_;
  FileDescriptor socket_;
  std::string request_;
  std::string reply_;
  std::size_t sent_ = 0;
  /// Bytes that came after the request.
  std::size_t unasked_ = 0;
};

Result<std::unique_ptr<MetricsServer>> MetricsServer::open(
    Engine& engine, Deadlines& deadlines, const MetricsAddress& address, FileDescriptor inherited,
    std::function<std::string()> exposition) {
  FileDescriptor tcp = std::move(inherited);
  std::optional<SocketFile> file;
  if (!address.endpoint) {
    auto listening = SocketFile::listen(address.socket_path(::getpid()), SOCK_STREAM, kSocketMode);
    if (!listening) return failed("--metrics: " + listening.error().message);
    file.emplace(std::move(*listening));
  } else if (!tcp) {
    auto listening = open_listening_socket(Protocol::tcp, *address.endpoint);
    if (!listening) {
      return failed("--metrics: " +
                    listen_error(Protocol::tcp, *address.endpoint, listening.error()).message);
    }
    tcp = std::move(listening->fd);
  }
  std::unique_ptr<MetricsServer> server(
      new MetricsServer(engine, deadlines, std::move(tcp), std::move(file), std::move(exposition)));
  server->accept();
  return server;
}

MetricsServer::MetricsServer(Engine& engine, Deadlines& deadlines, FileDescriptor tcp,
                             std::optional<SocketFile> file,
                             std::function<std::string()> exposition)
    : engine_(engine),
      deadlines_(deadlines),
      tcp_(std::move(tcp)),
      file_(std::move(file)),
      exposition_(std::move(exposition)),
      overdue_(*this, kScrapeMs),
      retries_(*this, kRetryMs) {
  deadlines_.add(overdue_);
  deadlines_.add(retries_);
}

MetricsServer::~MetricsServer() {
  deadlines_.remove(overdue_);
  deadlines_.remove(retries_);
}

void MetricsServer::retire() {
  retired_ = true;
  if (accepting_) {
    engine_.cancel(*this, kAccept);
  } else {
    engine_.close(std::move(listener()));
  }
}

void MetricsServer::accept() {
  if (accepting_ || retired_ || retry_.is_linked()) return;
  if (scrapes_.size() >= kScrapesMax) {
    full_.warn(engine_.now(),
               fmt::format("--metrics: {} scrapes are open; further ones wait", scrapes_.size()));
    return;
  }
  accepting_ = true;
  engine_.accept(*this, kAccept, listener().get(), Repeat::once);
}

void MetricsServer::on_completion(Completion completion) {
  accepting_ = false;
  if (completion.result >= 0) {
    Scrape& scrape = scrapes_.emplace_back(*this, FileDescriptor(completion.result));
    scrape.place = std::prev(scrapes_.end());
    overdue_.set(scrape, engine_.now());
    scrape.wait();
  }
  if (retired_) {
    engine_.close(std::move(listener()));
  } else if (completion.result < 0) {
    log_warn("--metrics: accept: " + errno_text(-completion.result));
    // Later: what cannot be accepted now (EMFILE) would fail as fast as it is tried.
    retries_.set(retry_, engine_.now());
  } else {
    accept();
  }
}

void MetricsServer::on_deadline(Deadline& deadline) {
  if (&deadline != &retry_) {
    static_cast<Scrape&>(deadline).on_deadline();
  } else {
    accept();
  }
}

void MetricsServer::end(Scrape& scrape) {
  engine_.close(std::move(scrape.socket()));
  scrapes_.erase(scrape.place);
  accept();
}

}  // namespace fairlead
