#include "proxy/options/command_line.h"

#include <algorithm>
#include <boost/program_options.hpp>
#include <sstream>

#include "proxy/options/config_file.h"
#include "proxy/options/placeholder.h"

namespace fairlead {
namespace {

namespace po = boost::program_options;

constexpr unsigned kHelpWidth = 100;

/// `publish,p`, as Boost takes names.
std::string boost_name(const OptionDefinition& option) {
  std::string name(option.name);
  if (option.letter != 0) name += std::string(",") + option.letter;
  return name;
}

po::options_description all_options() {
  po::options_description all(kHelpWidth);
  const auto definitions = option_definitions();
  for (auto first = definitions.begin(); first != definitions.end();) {
    po::options_description group(std::string(first->group), kHelpWidth);
    const auto end = std::find_if(
        first, definitions.end(),
        [first](const OptionDefinition& option) { return option.group != first->group; });
    for (; first != end; ++first) {
      auto* value = po::value<std::string>()->value_name(std::string(first->value_name));
      group.add_options()(boost_name(*first).c_str(), value, std::string(first->help).c_str());
    }
    all.add(group);
  }

  const std::string config_help = std::string("read options from this file instead of ") +
                                  kDefaultConfigFile + " or the one " + kConfigVariable +
                                  " names; each line is `option = value` with the long names above";
  po::options_description other("Other", kHelpWidth);
  other.add_options()("config", po::value<std::string>()->value_name("FILE"), config_help.c_str())(
      "version,v", "print version information and quit")("help,h", "print this text and quit");
  all.add(other);
  return all;
}

Result<CommandLine> take(const po::parsed_options& parsed) {
  CommandLine line;
  Options scratch;
  for (const po::option& option : parsed.options) {
    if (option.string_key.empty()) {
      return failed("\"" + option.value.front() + "\": not an option; see --help");
    }
    if (option.string_key == "help") {
      line.help = true;
    } else if (option.string_key == "version") {
      line.version = true;
    } else if (option.string_key == "config") {
      if (option.value.front().empty())
        return failed("--config \"\": accepted: the path of a file");
      line.config_file = option.value.front();
    } else {
      const OptionDefinition* definition = find_option(option.string_key);
      const std::string& value = option.value.front();
      if (const auto set = definition->set(scratch, value); !set) {
        // The error of a mapping quotes it already.
        const std::string quoted = definition->name == kPublishOption ? "" : " \"" + value + "\":";
        return failed("--" + option.string_key + quoted + " " + set.error().message);
      }
      line.assignments.push_back({option.string_key, value});
    }
  }
  return line;
}

/// Whether Boost would take what is in the word for a value.
bool has_value(std::string_view word) {
  if (!word.starts_with("--")) return word.starts_with("-p");
  const std::size_t equals = word.find('=');
  if (equals == std::string_view::npos) return false;
  const std::string_view name = word.substr(2, equals - 2);
  return name == "config" || find_option(name) != nullptr;
}

}  // namespace

Result<CommandLine> parse_command_line(std::span<const char* const> arguments) {
  using Style = po::command_line_style::style_t;
  constexpr int kStyle =
      static_cast<int>(Style::unix_style) & ~static_cast<int>(Style::allow_guessing);
  try {
    const po::options_description options = all_options();
    const std::vector<std::string> words(arguments.begin(), arguments.end());
    const auto word = std::ranges::find_if(words, [](std::string_view each) {
      return is_like_a_placeholder(each) && !has_value(each);
    });
    if (word != words.end()) {
      return failed("unrecognised option '" + *word + "'; see --help");
    }
    return take(po::command_line_parser(words).options(options).style(kStyle).run());
  } catch (const po::error& error) {
    return failed(std::string(error.what()) + "; see --help");
  }
}

std::string help_text() {
  std::ostringstream text;
  text
      << "fairlead-proxy publishes container ports: it listens on ports of this host and relays to "
         "containers.\n\n"
         "Usage:\n"
         "  fairlead-proxy -p MAPPING [-p MAPPING]... [OPTION]...\n"
         "  fairlead-proxy -proto tcp|udp|sctp -host-ip IP -host-port PORT -container-ip IP\n"
         "                 -container-port PORT [-use-listen-fd] [-OPTION VALUE]...\n"
         "The second form is docker-proxy's, for a daemon that starts one proxy for each port.\n"
      << all_options()
      << "\nExamples:\n"
         "  fairlead-proxy -p 8080:172.17.0.2:80\n"
         "      serve port 8080 of every address of this host, IPv4 and IPv6\n"
         "  fairlead-proxy -p 127.0.0.1:5353:172.17.0.3:53/udp -p "
         "127.0.0.1:5353:172.17.0.3:53/tcp\n"
         "      serve a name server to this host alone\n"
         "  fairlead-proxy -p '[2001:db8::1]:8000-8099:[fd00::2]:9000-9099' --log-format json\n"
         "      serve a hundred ports of one IPv6 address\n"
         "\nSIGUSR1 logs the counters; SIGINT and SIGTERM end the proxy.\n";
  return text.str();
}

}  // namespace fairlead
