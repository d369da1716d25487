// Front ends that have connected and have not yet said for whom.

#pragma once

#include <cstddef>
#include <list>
#include <optional>
#include <string>
#include <string_view>

#include "proxy/relay/client.h"
#include "proxy/relay/deadlines.h"
#include "proxy/relay/loop.h"

namespace fairlead {

class Acceptor;
class Introductions;
class TcpRelay;

/// Reads the PROXY header with which a front end's connection begins, and no byte more, so that
/// what follows is still in the socket for the relay, whichever way it moves bytes: what has come
/// is looked at (MSG_PEEK), and as much of it taken as belongs to the header.
class Introduction final : public Handler, public Deadline {
 public:
  Introduction(Introductions& introductions, Client client, Acceptor& acceptor);

  void wait();
  void on_completion(Completion completion) override;
  /// The header is overdue.
  void on_deadline();

  Client& client() { return client_; }
  Acceptor& acceptor() { return acceptor_; }

  std::list<Introduction>::iterator place;

 private:
  static constexpr Tag kReadable = 0;

  void read();

  Introductions& introductions_;
  Client client_;
  Acceptor& acceptor_;
  /// What has come of the header.
  std::string bytes_;
};

/// All of one relay. Destroy it only after Engine::stop().
class Introductions final : private DeadlineList::Owner {
 public:
  /// "At least 3 seconds to cover a TCP retransmit" (proxy-protocol.txt, section 2).
  static constexpr TimeMs kHeaderMs = 5'000;

  Introductions(Loop& loop, TcpRelay& relay);
  Introductions(const Introductions&) = delete;
  Introductions& operator=(const Introductions&) = delete;
  ~Introductions();

  /// Whether the client is one of --accept-proxy-protocol.
  bool is_front_end(const Client& client) const;
  /// Reads the client's header, then hands the client back to the acceptor. A wrong or missing
  /// header ends the connection with a reset.
  void begin(Client client, Acceptor& acceptor);
  std::size_t size() const { return introductions_.size(); }

  // For introductions.

  Engine& engine() { return loop_.engine; }
  void succeed(Introduction& introduction, const std::optional<AddressPair>& told);
  void fail(Introduction& introduction, std::string_view reason);

 private:
  void on_deadline(Deadline& deadline) override;
  Client end(Introduction& introduction);

  Loop& loop_;
  TcpRelay& relay_;
  DeadlineList overdue_;
  std::list<Introduction> introductions_;
};

}  // namespace fairlead
