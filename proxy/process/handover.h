// One proxy takes the place of another without a moment in which nobody listens (`--handover`).
//
// The proxy that serves listens at a UNIX socket, too. A new one that is started with the same path
// connects to it and is sent duplicates of all listening sockets (SCM_RIGHTS, unix(7)). It serves
// the mappings it was given from those, opens what is missing, takes over the path and then says
// so, and which sockets it has kept; the old one stops accepting, closes the connection and drains.
// Until then nothing has changed for the old one: a new one that fails goes away and leaves it as
// it was. The sockets are never closed by both, so that clients in their queues find someone in any
// case.
//
// Only the same user, or root, is answered (SO_PEERCRED), and the path has mode 0600.

#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proxy/engine/engine.h"
#include "proxy/mapping/error.h"
#include "proxy/net/file_descriptor.h"
#include "proxy/process/socket_file.h"
#include "proxy/relay/deadlines.h"

namespace fairlead {

/// The new proxy's end.
class Takeover {
 public:
  /// Nothing when no proxy listens at `path`. Waits for the other's answer, 10 seconds at most.
  static Result<std::optional<Takeover>> ask(const std::string& path);

  /// What the other serves from. To be taken from here.
  std::vector<FileDescriptor>& sockets() { return sockets_; }
  /// Has the other stop accepting, and waits until it has, 10 seconds at most. Without this it goes
  /// on, whatever became of us. `served` are the sockets we listen at: it closes all others at
  /// once.
  Result<void> confirm(std::vector<int> served);

 private:
  FileDescriptor connection_;
  std::vector<FileDescriptor> sockets_;
  /// Their numbers, in the order in which they came.
  std::vector<int> received_;
};

/// The serving proxy's end. Destroy it only after Engine::stop().
class HandoverOffer final : private Handler, private DeadlineList::Owner {
 public:
  using Taken = std::function<void(std::vector<int> given_up)>;

  /// Listens at `path`, in the place of whoever did before. The error names the path.
  /// `descriptors` returns what to hand over, `taken` is called once when a new proxy has
  /// confirmed, with those of them that it does not listen at.
  static Result<std::unique_ptr<HandoverOffer>> open(Engine& engine, Deadlines& deadlines,
                                                     const std::string& path,
                                                     std::function<std::vector<int>()> descriptors,
                                                     Taken taken);
  HandoverOffer(const HandoverOffer&) = delete;
  HandoverOffer& operator=(const HandoverOffer&) = delete;
  ~HandoverOffer();

  /// Nothing can fail any more. Before that whoever had the path gets it back.
  void settle() { file_.settle(); }

 private:
  static constexpr Tag kAccept = 0;
  static constexpr Tag kPeer = 1;
  /// A new proxy that does not confirm in this time has failed. So long, too, until accepting is
  /// tried again after an error.
  static constexpr TimeMs kConfirmMs = 30'000;

  HandoverOffer(Engine& engine, Deadlines& deadlines, SocketFile file);

  void on_completion(Completion completion) override;
  void on_deferred() override;
  void on_deadline(Deadline& deadline) override;
  void accept();
  void greet(FileDescriptor peer);
  void send();
  void hear();
  /// The new proxy is gone, or was none.
  void dismiss();

  Engine& engine_;
  Deadlines& deadlines_;
  SocketFile file_;
  std::function<std::vector<int>()> descriptors_;
  Taken taken_;

  FileDescriptor peer_;
  std::vector<int> to_send_;
  std::size_t sent_ = 0;
  /// The owner has been told that a new proxy has taken over.
  bool stopping_ = false;
  DeadlineList unconfirmed_;
  Deadline overdue_;
};

}  // namespace fairlead
