#include <unistd.h>

#include <boost/program_options.hpp>
#include <filesystem>
#include <iostream>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "docker/proxy_setting.h"
#include "docker/running_daemon.h"
#include "proxy/mapping/error.h"
#include "proxy/version.h"

namespace fairlead {
namespace {

namespace po = boost::program_options;

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

int refuse(int exit_code, const std::string& message) {
  std::cerr << "fairlead-docker: " << message << '\n';
  return exit_code;
}

/// fairlead-proxy as it is installed beside this program: /usr/bin for /usr/sbin.
std::string installed_proxy() {
  std::error_code ignored;
  const auto own_directory = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  return (own_directory.parent_path() / "bin/fairlead-proxy").string();
}

/// The file that the running daemon reads, or would read.
std::string daemon_json() {
  const auto daemon = find_running_daemon(kDefaultPidFile);
  return (daemon ? daemon->option("config-file") : std::nullopt).value_or(kDefaultDaemonJson);
}

po::options_description visible_options() {
  constexpr unsigned kHelpWidth = 100;
  po::options_description options("Options", kHelpWidth);
  options.add_options()(
      "config", po::value<std::string>()->value_name("FILE"),
      "the daemon's configuration (default: the one that the running dockerd has been given, else "
      "/etc/docker/daemon.json)")("proxy", po::value<std::string>()->value_name("PATH"),
                                  "the proxy to use (default: the fairlead-proxy installed with "
                                  "this program)")("version,v", "print the version and quit")(
      "help,h", "print this text and quit");
  return options;
}

std::string help_text() {
  std::ostringstream text;
  text << "fairlead-docker tells a Docker daemon which proxy to start for published ports.\n\n"
          "Usage:\n"
          "  fairlead-docker enable [OPTION]...   use fairlead-proxy from the daemon's next start "
          "on\n"
          "  fairlead-docker disable [OPTION]...  put back what was there before\n"
          "  fairlead-docker status [OPTION]...   say what is set, and whether a restart is due\n\n"
       << visible_options();
  return text.str();
}

int run(const std::string& verb, const ProxySetting& setting) {
  Result<std::string> done = failed("");
  if (verb == "enable") {
    done = setting.enable();
  } else if (verb == "disable") {
    done = setting.disable();
  } else if (verb == "status") {
    done = setting.status();
  } else {
    return refuse(kExitUsage, "\"" + verb + "\": accepted: enable, disable, status");
  }
  if (!done) return refuse(kExitFailed, done.error().message);
  std::cout << *done;
  return 0;
}

int run(std::span<const char* const> arguments) {
  po::options_description all;
  all.add(visible_options()).add_options()("verb", po::value<std::vector<std::string>>());
  po::positional_options_description positional;
  positional.add("verb", -1);
  po::variables_map values;
  using Style = po::command_line_style::style_t;
  constexpr int kStyle =
      static_cast<int>(Style::unix_style) & ~static_cast<int>(Style::allow_guessing);
  try {
    const std::vector<std::string> words(arguments.begin(), arguments.end());
    po::store(
        po::command_line_parser(words).options(all).positional(positional).style(kStyle).run(),
        values);
  } catch (const po::error& error) {
    return refuse(kExitUsage, std::string(error.what()) + "; see --help");
  }
  if (values.contains("help")) {
    std::cout << help_text();
    return 0;
  }
  if (values.contains("version")) {
    std::cout << "fairlead-docker (commit " << kCommit << ") version " << kVersion << '\n';
    return 0;
  }
  const auto text = [&values](const char* name, const std::string& otherwise) {
    return values.contains(name) ? values[name].as<std::string>() : otherwise;
  };
  const auto verbs = values.contains("verb") ? values["verb"].as<std::vector<std::string>>()
                                             : std::vector<std::string>{};
  if (verbs.size() != 1)
    return refuse(kExitUsage, "one of enable, disable, status is needed; see --help");
  return run(verbs.front(), {text("config", daemon_json()), text("proxy", installed_proxy())});
}

}  // namespace
}  // namespace fairlead

int main(int argc, char** argv) {
  const std::span<const char* const> arguments(argv, static_cast<std::size_t>(argc));
  return fairlead::run(arguments.subspan(arguments.empty() ? 0 : 1));
}
