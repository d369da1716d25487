// The command line of fairlead-net.

#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "netsetup/firewall/firewall.h"
#include "netsetup/network/network.h"
#include "proxy/mapping/error.h"

namespace fairlead {

// Commands that look.

struct ListNetworks {};
struct InspectNetwork {
  std::string network;
};
struct ShowStatus {
  /// Nothing: once.
  std::optional<std::chrono::seconds> watch_interval;
};
struct Check {};

using LookCommand = std::variant<ListNetworks, InspectNetwork, ShowStatus, Check>;

// Commands that change the desired state. Networks and containers are as named by options: what
// was not named is open, see complete_network().

struct CreateNetwork {
  Network network;
};
struct RemoveNetwork {
  std::string network;
};
struct Attach {
  std::string network;
  Container container;
};
struct Detach {
  std::string network;
  std::string container;
};
struct Publish {
  std::string network;
  std::string container;
  std::vector<PublishedPort> ports;
};
struct Unpublish {
  std::string network;
  std::string container;
  /// Empty: all of them.
  std::vector<PublishedPort> ports;
};
struct Apply {
  /// `-`: standard input.
  std::string file;
};
struct Reload {};

using EditCommand =
    std::variant<CreateNetwork, RemoveNetwork, Attach, Detach, Publish, Unpublish, Apply, Reload>;

using Command = std::variant<LookCommand, EditCommand>;

struct NetCommandLine {
  bool help = false;
  bool version = false;
  bool json = false;
  bool dry_run = false;
  /// Nothing: the back end in use, or the one that fits.
  std::optional<BackendChoice> firewall;
  std::string state_directory;
  std::optional<std::string> proxy_program;
  Command command;
  /// The words of the command, for people: `publish web c1 8080:80`, shortened.
  std::string text;
};

/// `arguments` without the program's name. Options may stand before, between and after the words,
/// and are never abbreviated. The error names what is wrong and what is accepted.
Result<NetCommandLine> parse_net_command_line(std::span<const char* const> arguments);

/// What --help prints.
std::string net_help_text();

}  // namespace fairlead
