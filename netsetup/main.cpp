#include <fmt/format.h>
#include <signal.h>

#include <cstdio>
#include <iostream>
#include <span>
#include <variant>

#include "netsetup/command/command_line.h"
#include "netsetup/command/edit.h"
#include "netsetup/command/library_exit.h"
#include "netsetup/command/look.h"
#include "netsetup/command/privileges.h"
#include "netsetup/state/state_directory.h"
#include "proxy/version.h"

namespace fairlead {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

int refuse(int exit_code, const Error& error) {
  std::cerr << "fairlead-net: " << error.message << "\n";
  return exit_code;
}

int run(std::span<const char* const> arguments) {
  const auto line = parse_net_command_line(arguments);
  if (!line) return refuse(kExitUsage, line.error());
  if (line->help) {
    std::cout << net_help_text();
    return 0;
  }
  if (line->version) {
    std::cout << fmt::format("fairlead-net (commit {}) version {}\n", kCommit, kVersion);
    return 0;
  }
  if (const auto limited = limit_privileges(*line); !limited) {
    return refuse(kExitFailed, limited.error());
  }
  const LibraryExit expected(StateDirectory(line->state_directory).unfinished_path());
  if (const auto* command = std::get_if<LookCommand>(&line->command)) {
    const auto code = run_look(*line, *command);
    return code ? *code : refuse(kExitFailed, code.error());
  }
  const auto done = run_edit(*line, std::get<EditCommand>(line->command));
  return done ? 0 : refuse(kExitFailed, done.error());
}

}  // namespace
}  // namespace fairlead

int main(int argc, char** argv) {
  // Whoever ignores it hands that on, and then nobody can learn how a program ended: waitpid(2).
  ::signal(SIGCHLD, SIG_DFL);
  const std::span<const char* const> arguments(argv, static_cast<std::size_t>(argc));
  return fairlead::run(arguments.subspan(arguments.empty() ? 0 : 1));
}
