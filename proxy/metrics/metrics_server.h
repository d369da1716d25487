// Serves counters to Prometheus (`--metrics`).

#pragma once

#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "proxy/engine/engine.h"
#include "proxy/mapping/error.h"
#include "proxy/metrics/metrics_address.h"
#include "proxy/net/file_descriptor.h"
#include "proxy/process/socket_file.h"
#include "proxy/relay/deadlines.h"
#include "proxy/relay/held_back_log.h"

namespace fairlead {

/// Answers on the loop of the relay, a few scrapes at a time, each within kScrapeMs. Destroy it
/// only after Engine::stop().
class MetricsServer final : private Handler, private DeadlineList::Owner {
 public:
  /// Further ones wait in the socket's queue, which the log says.
  static constexpr std::size_t kScrapesMax = 8;
  /// From the connection to its end.
  static constexpr TimeMs kScrapeMs = 10'000;

  /// Listens at `address`, or goes on with `inherited`, a socket that listens there already.
  /// `exposition` is called for each scrape. The error names the address.
  static Result<std::unique_ptr<MetricsServer>> open(Engine& engine, Deadlines& deadlines,
                                                     const MetricsAddress& address,
                                                     FileDescriptor inherited,
                                                     std::function<std::string()> exposition);
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;
  ~MetricsServer();

  /// To be handed over with the published ports; -1: a UNIX socket, whose path changes hands.
  int socket() const { return tcp_.get(); }
  /// Nothing can fail any more. Before that whoever had the path gets it back.
  void settle() {
    if (file_) file_->settle();
  }
  /// Another process answers from now on. Call once.
  void retire();

 private:
  class Scrape;

  static constexpr Tag kAccept = 0;
  static constexpr TimeMs kRetryMs = 1'000;

  MetricsServer(Engine& engine, Deadlines& deadlines, FileDescriptor tcp,
                std::optional<SocketFile> file, std::function<std::string()> exposition);

  void on_completion(Completion completion) override;
  void on_deadline(Deadline& deadline) override;
  FileDescriptor& listener() { return file_ ? file_->socket() : tcp_; }
  /// Unless it is not the time for it.
  void accept();
  void end(Scrape& scrape);

  Engine& engine_;
  Deadlines& deadlines_;
  FileDescriptor tcp_;
  std::optional<SocketFile> file_;
  std::function<std::string()> exposition_;
  std::list<Scrape> scrapes_;
  HeldBackLog full_;
  bool accepting_ = false;
  bool retired_ = false;
  DeadlineList overdue_;
  DeadlineList retries_;
  Deadline retry_;
};

}  // namespace fairlead
