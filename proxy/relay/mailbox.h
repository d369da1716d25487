// TCP connections on their way to a loop.

#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "proxy/engine/engine.h"
#include "proxy/mapping/error.h"

namespace fairlead {

class TcpConnection;
class TcpRelay;

/// Takes connections from other loops and hands them to the relay of its own. Thread-safe, except
/// where said otherwise. A connection that is in it belongs to no relay and to no engine.
class Mailbox final : private Handler {
 public:
  Mailbox() = default;
  ~Mailbox();

  /// From now on it takes connections. Fails when no descriptor is free.
  Result<void> open();
  /// It takes no more. Returns those that were not handed over.
  std::vector<std::unique_ptr<TcpConnection>> close();

  /// False, and the connection stays with the caller, when the box is closed.
  bool post(std::unique_ptr<TcpConnection>& connection);
  /// Ends the wait of the loop's engine.
  void wake();

  /// Hands over what is posted, from turns of the relay's engine. To be called on the loop's
  /// thread, after open(); the engine must be stopped before the box is destroyed or opened again.
  void serve(TcpRelay& relay);

 private:
  static constexpr Tag kReadable = 0;

  void on_completion(Completion completion) override;
  void wait();

  TcpRelay* relay_ = nullptr;
  std::mutex mutex_;
  bool open_ = false;
  /// An eventfd(2).
  FileDescriptor wake_up_;
  std::vector<std::unique_ptr<TcpConnection>> posted_;
};

}  // namespace fairlead
