#include "proxy/metrics/metrics_server.h"

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

/// One connection: a request, the reply to it.
class MetricsServer::Scrape final : public Handler, public Deadline {
 public:
  Scrape(MetricsServer& server, FileDescriptor socket)
      : server_(server), socket_(std::move(socket)) {}

  void wait(short events) { server_.engine_.wait(*this, kReady, socket_.get(), events); }

  void on_completion(Completion completion) override {
    // Cancelled: its time is over.
    const bool goes_on =
        completion.result >= 0 && (reply_.empty() ? receive() : true) && (reply_.empty() || send());
    if (goes_on) {
      wait(reply_.empty() ? POLLIN : POLLOUT);
    } else {
      server_.end(*this);
    }
  }

  void on_deadline() { server_.engine_.cancel(*this, kReady); }

  FileDescriptor& socket() { return socket_; }

  std::list<Scrape>::iterator place;

 private:
  static constexpr Tag kReady = 0;

  /// False when the other side is gone.
  bool receive() {
    std::array<char, 2048> room;
    iovec piece{room.data(), room.size()};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    const ssize_t size = server_.engine_.receive_message(socket_.get(), message, 0);
    if (size == -EAGAIN || size == -EINTR) return true;
    if (size <= 0) return false;
    request_.append(room.data(), static_cast<std::size_t>(size));
    if (auto reply = http_reply(request_, server_.exposition_)) reply_ = std::move(*reply);
    return true;
  }

  /// False when all is sent, or nothing can be.
  bool send() {
    while (sent_ < reply_.size()) {
      const iovec piece{reply_.data() + sent_, reply_.size() - sent_};
      const ssize_t size = server_.engine_.send(socket_.get(), {&piece, 1});
      if (size == -EAGAIN) return true;
      if (size <= 0) return false;
      sent_ += static_cast<std::size_t>(size);
    }
    return false;
  }

  MetricsServer& server_;
  FileDescriptor socket_;
  std::string request_;
  std::string reply_;
  std::size_t sent_ = 0;
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
  if (accepting_ || retired_ || retry_.is_linked() || scrapes_.size() >= kScrapesMax) return;
  accepting_ = true;
  engine_.accept(*this, kAccept, listener().get(), Repeat::once);
}

void MetricsServer::on_completion(Completion completion) {
  accepting_ = false;
  if (completion.result >= 0) {
    Scrape& scrape = scrapes_.emplace_back(*this, FileDescriptor(completion.result));
    scrape.place = std::prev(scrapes_.end());
    overdue_.set(scrape, engine_.now());
    scrape.wait(POLLIN);
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
