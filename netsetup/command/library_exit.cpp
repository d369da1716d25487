#include "netsetup/command/library_exit.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace fairlead {

namespace {

/// The one that lives.
const LibraryExit*& expected() {
  static const LibraryExit* expected = nullptr;
  return expected;
}

}  // namespace

LibraryExit::LibraryExit(std::string unfinished) : unfinished_(std::move(unfinished)) {
  [[maybe_unused]] static const int kRegistered = std::atexit(on_exit);
  expected() = this;
}

LibraryExit::~LibraryExit() { expected() = nullptr; }

void LibraryExit::on_exit() {
  if (expected() == nullptr) return;
  const bool unfinished = ::access(expected()->unfinished_.c_str(), F_OK) == 0;
  std::fputs(unfinished ? "fairlead-net: a library has ended this run half-way; `fairlead-net "
                          "reload` takes it back\n"
                        : "fairlead-net: a library has ended this run, and nothing was changed\n",
             stderr);
  std::fflush(nullptr);
  ::_exit(EXIT_FAILURE);
}

}  // namespace fairlead
