// What libraries do where they cannot go on.
//
// libnftables and libnftnl call exit(3) when they get no socket, or an answer of the kernel that
// they do not understand (netlink_init_error() and abi_breakage() of their sources), with a status
// and a text of their own. A change that is cut short so has left its record, as a killed one has.

#pragma once

#include <string>

namespace fairlead {

/// While it lives, an exit(3) ends the process with status 1, and with a line on standard error
/// that says what is to be done. At most one at a time.
class LibraryExit {
 public:
  /// `unfinished` is the file that is there while a change is under way.
  explicit LibraryExit(std::string unfinished);
  LibraryExit(const LibraryExit&) = delete;
  LibraryExit& operator=(const LibraryExit&) = delete;
  ~LibraryExit();

 private:
  static void on_exit();

  std::string unfinished_;
};

}  // namespace fairlead
