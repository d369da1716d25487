#include "netsetup/command/command_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <boost/program_options.hpp>
#include <sstream>
#include <string_view>

#include "netsetup/links/network_namespace.h"
#include "netsetup/state/state_directory.h"
#include "proxy/mapping/decimal.h"
#include "proxy/options/placeholder.h"

namespace fairlead {
namespace {

namespace po = boost::program_options;

constexpr unsigned kHelpWidth = 100;
constexpr std::size_t kTextLimit = 200;

constexpr std::string_view kEvery = "";
constexpr std::string_view kCreate = "network create";
constexpr std::string_view kAttach = "attach";
constexpr std::string_view kUnpublish = "unpublish";
constexpr std::string_view kStatus = "status";

/// What options say, before it is known what for.
struct Draft {
  NetCommandLine line;
  Network network;
  Container container;
  bool all = false;
  bool watch = false;
  std::optional<std::uint32_t> interval_s;
};

using Setter = Result<void> (*)(Draft&, const std::string&);

struct NetOption {
  std::string_view name;
  /// Empty: it has no value.
  std::string_view value_name;
  /// The command it belongs to; kEvery: all of them.
  std::string_view command;
  std::string_view help;
  Setter set;
};

Result<IpAddress> parse_ip(const std::string& text) {
  if (const auto address = IpAddress::parse(text)) return *address;
  return failed("accepted: an IPv4 or IPv6 address");
}

/// Sets `target` to what `parsed` holds.
template <typename Target, typename Value>
Result<void> assign(Target& target, const Result<Value>& parsed) {
  if (!parsed) return std::unexpected(parsed.error());
  target = *parsed;
  return {};
}

template <typename Target, typename Value>
Result<void> assign(Target& target, const std::optional<Value>& parsed, std::string_view accepted) {
  if (!parsed) return failed("accepted: " + std::string(accepted));
  const Value& value = *parsed;
  target = value;
  return {};
}

template <typename Value>
Result<void> append(std::vector<Value>& target, const Result<Value>& parsed) {
  if (!parsed) return std::unexpected(parsed.error());
  target.push_back(*parsed);
  return {};
}

Result<void> append_names(std::vector<std::string>& names, std::string_view text) {
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    names.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return {};
}

Result<void> set_mtu(Draft& draft, const std::string& text) {
  return assign(draft.network.mtu, parse_decimal<std::uint16_t>(text), "68 to 65535");
}

Result<void> set_bridge(Draft& draft, const std::string& text, bool adopted) {
  if (!draft.network.bridge.empty()) return failed("give one of --bridge and --adopt, once");
  draft.network.bridge = text;
  draft.network.adopted = adopted;
  return {};
}

constexpr auto kOptions = std::to_array<NetOption>({
    {"json", "", kEvery, "print JSON",
     [](Draft& draft, const std::string&) -> Result<void> {
       draft.line.json = true;
       return {};
     }},
    {"dry-run", "", kEvery, "print what would be done: links, kernel settings, rules, proxies",
     [](Draft& draft, const std::string&) -> Result<void> {
       draft.line.dry_run = true;
       return {};
     }},
    {"firewall", "auto|nftables|iptables|none", kEvery,
     "what carries the rules; by default what has carried them so far, and auto for the first "
     "network",
     [](Draft& draft, const std::string& text) {
       return assign(draft.line.firewall, parse_backend_choice(text),
                     "auto, nftables, iptables, none");
     }},
    {"state-dir", "DIR", kEvery, "where the state is kept, by default /run/fairlead",
     [](Draft& draft, const std::string& text) -> Result<void> {
       if (!text.starts_with('/') || text.size() > kStateDirectoryMax) {
         return failed(
             fmt::format("accepted: an absolute path, {} bytes long at most", kStateDirectoryMax));
       }
       draft.line.state_directory = text;
       return {};
     }},
    {"proxy", "PATH", kEvery,
     "the fairlead-proxy to start, by default the one installed with this program",
     [](Draft& draft, const std::string& text) -> Result<void> {
       if (!text.starts_with('/')) return failed("accepted: an absolute path");
       draft.line.proxy_program = text;
       return {};
     }},

    {"subnet", "CIDR", kCreate,
     "once for IPv4, once for IPv6; by default a free IPv4 /24 of 10.210.0.0/16, 10.211.0.0/16, "
     "172.31.0.0/16",
     [](Draft& draft, const std::string& text) {
       return append(draft.network.subnets, Subnet::parse(text));
     }},
    {"gateway", "IP", kCreate, "the host's address in a subnet, by default its first",
     [](Draft& draft, const std::string& text) {
       return append(draft.network.gateways, parse_ip(text));
     }},
    {"ip-range", "CIDR", kCreate, "where automatic addresses are taken from",
     [](Draft& draft, const std::string& text) {
       return assign(draft.network.ip_range, Subnet::parse(text));
     }},
    {"bridge", "IFNAME", kCreate, "name of the bridge to make, by default fl-NAME",
     [](Draft& draft, const std::string& text) { return set_bridge(draft, text, false); }},
    {"adopt", "IFNAME", kCreate, "use this bridge, which is there and stays as it is",
     [](Draft& draft, const std::string& text) { return set_bridge(draft, text, true); }},
    {"mtu", "N", kCreate, "of the bridge and of both ends of every link", set_mtu},
    {"internal", "", kCreate, "no way in or out but from the host; publishes no ports",
     [](Draft& draft, const std::string&) -> Result<void> {
       draft.network.internal = true;
       return {};
     }},
    {"no-icc", "", kCreate, "containers reach one another by published ports alone",
     [](Draft& draft, const std::string&) -> Result<void> {
       draft.network.icc = false;
       return {};
     }},
    {"no-masquerade", "", kCreate, "packets leave the host with the containers' own addresses",
     [](Draft& draft, const std::string&) -> Result<void> {
       draft.network.masquerade = false;
       return {};
     }},
    {"allow-networks", "NAME,...", kCreate, "networks whose containers may connect to this one's",
     [](Draft& draft, const std::string& text) {
       return append_names(draft.network.allow_networks, text);
     }},
    {"host-binding", "IP", kCreate, "host address of ports that are published without one",
     [](Draft& draft, const std::string& text) {
       return assign(draft.network.host_binding, parse_ip(text));
     }},
    {"mode", "proxy|dnat|both", kCreate,
     "what serves published ports: fairlead-proxy, the kernel, or each what it does better (both, "
     "the default)",
     [](Draft& draft, const std::string& text) {
       return assign(draft.network.mode, parse_mode(text), "proxy, dnat, both");
     }},
    {"forwarding", "all|interface", kCreate,
     "make the host a router altogether (all, the default), or on the interfaces concerned",
     [](Draft& draft, const std::string& text) {
       return assign(draft.network.forwarding, parse_forwarding(text), "all, interface");
     }},

    {"netns", "PATH|pid:N|name:NAME", kAttach, "the container's network namespace",
     [](Draft& draft, const std::string& text) {
       return assign(draft.container.netns, namespace_path(text));
     }},
    {"ifname", "IFNAME", kAttach, "name of the link inside the container, by default eth0",
     [](Draft& draft, const std::string& text) -> Result<void> {
       draft.container.ifname = text;
       return {};
     }},
    {"ip", "IP", kAttach, "an address, once for each family; by default the next free one",
     [](Draft& draft, const std::string& text) {
       return append(draft.container.addresses, parse_ip(text));
     }},
    {"mac", "MAC", kAttach, "by default one made from the address",
     [](Draft& draft, const std::string& text) {
       return assign(draft.container.mac, MacAddress::parse(text));
     }},

    {"all", "", kUnpublish, "every port of the container",
     [](Draft& draft, const std::string&) -> Result<void> {
       draft.all = true;
       return {};
     }},

    {"watch", "", kStatus, "published ports with their rates, again and again until Ctrl-C",
     [](Draft& draft, const std::string&) -> Result<void> {
       draft.watch = true;
       return {};
     }},
    {"interval", "SECONDS", kStatus, "between two looks of --watch, 1 to 3600, by default 1",
     [](Draft& draft, const std::string& text) -> Result<void> {
       draft.interval_s = parse_decimal<std::uint32_t>(text);
       if (draft.interval_s && *draft.interval_s >= 1 && *draft.interval_s <= 3600) return {};
       return failed("accepted: 1 to 3600");
     }},

    {"version", "", kEvery, "print version information and quit",
     [](Draft& draft, const std::string&) -> Result<void> {
       draft.line.version = true;
       return {};
     }},
    {"help", "", kEvery, "print this text and quit",
     [](Draft& draft, const std::string&) -> Result<void> {
       draft.line.help = true;
       return {};
     }},
});

// Commands.

using Words = std::vector<std::string>;
using Maker = Result<Command> (*)(Draft&, const Words&);

struct CommandForm {
  /// One word or two.
  std::string_view name;
  std::string_view operands;
  std::size_t operands_min;
  std::size_t operands_max;
  Maker make;
};

Result<std::vector<PublishedPort>> parse_ports(const Words& operands) {
  std::vector<PublishedPort> ports;
  for (std::size_t i = 2; i < operands.size(); ++i) {
    const auto port = PublishedPort::parse(operands[i]);
    if (!port) return std::unexpected(port.error());
    ports.push_back(*port);
  }
  return ports;
}

Result<Command> make_attach(Draft& draft, const Words& operands) {
  if (draft.container.netns.empty()) return failed("attach: --netns is missing; see --help");
  draft.container.name = operands[1];
  return EditCommand(Attach{operands[0], draft.container});
}

Result<Command> make_publish(Draft& /*draft*/, const Words& operands) {
  auto ports = parse_ports(operands);
  if (!ports) return std::unexpected(ports.error());
  return EditCommand(Publish{operands[0], operands[1], std::move(*ports)});
}

Result<Command> make_unpublish(Draft& draft, const Words& operands) {
  auto ports = parse_ports(operands);
  if (!ports) return std::unexpected(ports.error());
  if (ports->empty() != draft.all) return failed("unpublish: give either PORTs or --all");
  return EditCommand(Unpublish{operands[0], operands[1], std::move(*ports)});
}

Result<Command> make_status(Draft& draft, const Words& /*operands*/) {
  if (draft.interval_s && !draft.watch) return failed("--interval: only with --watch");
  if (draft.watch && draft.line.json) return failed("give one of --watch and --json");
  ShowStatus status;
  if (draft.watch) status.watch_interval = std::chrono::seconds(draft.interval_s.value_or(1));
  return LookCommand(status);
}

Result<Command> make_create(Draft& draft, const Words& operands) {
  draft.network.name = operands[0];
  if (draft.network.adopted && !draft.network.subnets.empty()) {
    return failed("--subnet: an adopted bridge has its own");
  }
  if (draft.network.adopted && !draft.network.gateways.empty()) {
    return failed("--gateway: an adopted bridge has its own");
  }
  return EditCommand(CreateNetwork{draft.network});
}

constexpr std::size_t kAnyNumber = 1'000'000;

constexpr auto kCommands = std::to_array<CommandForm>({
    {kCreate, "NAME", 1, 1, make_create},
    {"network ls", "", 0, 0,
     [](Draft&, const Words&) -> Result<Command> { return LookCommand(ListNetworks{}); }},
    {"network inspect", "NAME", 1, 1,
     [](Draft&, const Words& words) -> Result<Command> {
       return LookCommand(InspectNetwork{words[0]});
     }},
    {"network rm", "NAME", 1, 1,
     [](Draft&, const Words& words) -> Result<Command> {
       return EditCommand(RemoveNetwork{words[0]});
     }},
    {kAttach, "NETWORK CONTAINER --netns PATH|pid:N|name:NAME", 2, 2, make_attach},
    {"detach", "NETWORK CONTAINER", 2, 2,
     [](Draft&, const Words& words) -> Result<Command> {
       return EditCommand(Detach{words[0], words[1]});
     }},
    {"publish", "NETWORK CONTAINER PORT...", 3, kAnyNumber, make_publish},
    {kUnpublish, "NETWORK CONTAINER PORT...|--all", 2, kAnyNumber, make_unpublish},
    {"apply", "FILE", 1, 1,
     [](Draft&, const Words& words) -> Result<Command> { return EditCommand(Apply{words[0]}); }},
    {"reload", "", 0, 0,
     [](Draft&, const Words&) -> Result<Command> { return EditCommand(Reload{}); }},
    {kStatus, "", 0, 0, make_status},
    {"check", "", 0, 0,
     [](Draft&, const Words&) -> Result<Command> { return LookCommand(Check{}); }},
});

Result<const CommandForm*> find_command(const Words& words) {
  if (words.empty()) return failed("no command; see --help");
  std::string name = words[0];
  // One word that has a space in it is no command of two.
  const bool is_word = !name.contains(' ');
  if (name == "network" && words.size() > 1) name += " " + words[1];
  for (const CommandForm& form : kCommands) {
    if (is_word && form.name == name) return &form;
  }
  return failed("\"" + name + "\" is no command; see --help");
}

po::options_description describe_options() {
  po::options_description all(kHelpWidth);
  for (const std::string_view command : {kCreate, kAttach, kUnpublish, kStatus, kEvery}) {
    const std::string title = command.empty() ? "Every command" : std::string(command);
    po::options_description group(title, kHelpWidth);
    for (const NetOption& option : kOptions) {
      if (option.command != command) continue;
      const std::string name(option.name);
      const std::string help(option.help);
      if (option.value_name.empty()) {
        group.add_options()(name.c_str(), help.c_str());
      } else {
        auto* value = po::value<std::string>()->value_name(std::string(option.value_name));
        group.add_options()(name.c_str(), value, help.c_str());
      }
    }
    all.add(group);
  }
  return all;
}

/// Sets what the options say; the words that are none are what is left.
Result<Words> take_options(const po::parsed_options& parsed, Draft& draft,
                           std::vector<const NetOption*>& given) {
  Words words;
  for (const po::option& option : parsed.options) {
    if (option.string_key.empty()) {
      words.push_back(option.value.front());
      continue;
    }
    const auto* found = std::ranges::find(kOptions, option.string_key, &NetOption::name);
    const std::string value = option.value.empty() ? "" : option.value.front();
    if (auto set = found->set(draft, value); !set) {
      // What a parser says of its text quotes it already.
      const std::string& reason = set.error().message;
      const std::string quoted = reason.contains('"') ? "" : " \"" + value + "\":";
      return failed(fmt::format("--{}{} {}", option.string_key, quoted, reason));
    }
    given.push_back(found);
  }
  return words;
}

/// Boost moves all the words that are left at each one that it takes: with ten thousand ports that
/// is a tenth of a second, unless it is given a few at a time. No option is cut off from its value.
po::parsed_options parse_in_pieces(const Words& words, const po::options_description& options) {
  using Style = po::command_line_style::style_t;
  constexpr int kStyle =
      static_cast<int>(Style::unix_style) & ~static_cast<int>(Style::allow_guessing);
  constexpr std::ptrdiff_t kPiece = 64;
  po::parsed_options parsed(&options);
  for (auto begin = words.begin(); begin != words.end();) {
    auto end = begin + std::min(kPiece, words.end() - begin);
    while (end != words.end() && std::prev(end)->starts_with('-')) ++end;
    const auto piece =
        po::command_line_parser(Words(begin, end)).options(options).style(kStyle).run();
    parsed.options.insert(parsed.options.end(), piece.options.begin(), piece.options.end());
    begin = end;
  }
  return parsed;
}

Result<NetCommandLine> take(const po::parsed_options& parsed) {
  Draft draft;
  draft.line.state_directory = kDefaultStateDirectory;
  draft.container.ifname.clear();
  std::vector<const NetOption*> given;
  auto words = take_options(parsed, draft, given);
  if (!words) return std::unexpected(words.error());
  if (draft.line.help || draft.line.version) return std::move(draft.line);

  const auto form = find_command(*words);
  if (!form) return std::unexpected(form.error());
  for (const NetOption* option : given) {
    if (option->command.empty() || option->command == (*form)->name) continue;
    return failed(fmt::format("--{} is an option of {}, not of {}", option->name, option->command,
                              (*form)->name));
  }
  draft.line.text = fmt::format("{}", fmt::join(*words, " ")).substr(0, kTextLimit);
  words->erase(words->begin(), words->begin() + ((*form)->name.contains(' ') ? 2 : 1));
  if (words->size() < (*form)->operands_min || words->size() > (*form)->operands_max) {
    return failed(fmt::format("usage: fairlead-net {} {}", (*form)->name, (*form)->operands));
  }
  auto command = (*form)->make(draft, *words);
  if (!command) return std::unexpected(command.error());
  draft.line.command = std::move(*command);
  return std::move(draft.line);
}

/// Whether Boost would take what is in the word for a value.
bool has_value(std::string_view word) {
  const std::size_t equals = word.find('=');
  return word.starts_with("--") && equals != std::string_view::npos &&
         std::ranges::find(kOptions, word.substr(2, equals - 2), &NetOption::name) !=
             std::end(kOptions);
}

}  // namespace

Result<NetCommandLine> parse_net_command_line(std::span<const char* const> arguments) {
  try {
    const po::options_description options = describe_options();
    const Words words(arguments.begin(), arguments.end());
    const auto word = std::ranges::find_if(words, [](std::string_view each) {
      return is_like_a_placeholder(each) && !has_value(each);
    });
    if (word != words.end()) {
      return failed("unrecognised option '" + *word + "'; see --help");
    }
    return take(parse_in_pieces(words, options));
  } catch (const po::error& error) {
    return failed(std::string(error.what()) + "; see --help");
  }
}

std::string net_help_text() {
  std::ostringstream text;
  text << "fairlead-net makes the network that containers live in, and publishes their ports.\n\n"
          "Usage:\n";
  for (const CommandForm& form : kCommands) {
    text << "  fairlead-net " << form.name << (form.operands.empty() ? "" : " ") << form.operands
         << " [OPTION]...\n";
  }
  text << "PORT is [HOST-IP:]HOST-PORT[-END]:CONTAINER-PORT[-END][/tcp|udp|sctp].\n"
       << describe_options()
       << "\nExamples:\n"
          "  fairlead-net network create web\n"
          "  ip netns add c1; fairlead-net attach web c1 --netns name:c1\n"
          "  fairlead-net publish web c1 8080:80 127.0.0.1:5353:53/udp\n"
          "  fairlead-net status\n"
          "  fairlead-net network rm web\n"
          "\nExit codes: 0; 1 what was asked for could not be done, or check has found something "
          "wrong; 2 wrong command line.\n";
  return text.str();
}

}  // namespace fairlead
