// The programs a benchmark runs: proxies, servers and load generators.

#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "bench/network_namespace.h"
#include "proxy/mapping/error.h"
#include "proxy/net/file_descriptor.h"

namespace fairlead::bench {

struct SpawnOptions {
  const NetworkNamespace* network = nullptr;  ///< Where it runs; null: where the bench itself is.
  std::string input = {};                     ///< Its standard input, at most 64 KiB.
  int status_fd = -1;                         ///< Becomes descriptor 3 of the child.
};

/// A running child, in its own process group. The destructor kills the group and reaps the child.
/// Standard output and error go to files without a name, so a child never blocks on a full pipe.
class ChildProcess {
 public:
  static Result<ChildProcess> spawn(const std::vector<std::string>& command,
                                    const SpawnOptions& options);

  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ~ChildProcess();

  pid_t pid() const { return pid_; }

  /// When it left the bench's code for its own, on CLOCK_MONOTONIC.
  std::int64_t exec_ns() const { return exec_ns_; }

  /// What it has written to standard output, and to standard error, so far.
  std::string output() const;
  std::string errors() const;

  void signal(int signal_number) const;

  /// The exit status as wait(2) gives it. An error when it still runs after `limit`; it is killed
  /// then.
  Result<int> wait(std::chrono::milliseconds limit);

  /// True until the child has ended. Does not wait.
  bool running() const;

 private:
  ChildProcess() = default;
  void kill_and_reap();

  std::string name_;
  pid_t pid_ = -1;
  std::int64_t exec_ns_ = 0;
  FileDescriptor output_;
  FileDescriptor errors_;
};

/// CLOCK_MONOTONIC.
std::int64_t monotonic_ns();

/// Runs a command to its end and returns its standard output. A status other than zero is an error
/// that quotes standard error.
Result<std::string> run_command(const std::vector<std::string>& command,
                                const SpawnOptions& options = {},
                                std::chrono::milliseconds limit = std::chrono::seconds(10));

/// The full path of a program, looked up in PATH, /usr/sbin and /sbin; empty when there is none.
std::string find_program(const std::string& name);

}  // namespace fairlead::bench
