// The three command lines: of a proxy run by hand, of one that a daemon runs, and of fairlead-net;
// and the variables of a service manager. The first byte chooses.

#include "netsetup/command/command_line.h"
#include "proxy/options/command_line.h"
#include "proxy/options/config_file.h"
#include "proxy/options/docker_command_line.h"
#include "proxy/process/listen_fds.h"
#include "tests/fuzz/fuzzed_bytes.h"

using namespace fairlead;

namespace {

/// What the first reading accepts can be applied.
void read_by_hand(std::string_view text) {
  const std::vector<std::string> words = words_of(text);
  const auto line = parse_command_line(arguments_of(words));
  if (!line) {
    demand(!line.error().message.empty());
    return;
  }
  const ConfigSource nothing{"/dev/null", {}};
  demand(resolve_options(nothing, FileMappings::used, line->assignments).has_value());
}

/// In the grammar of Go's flag package: read to the end or refused with one of the two exit codes
/// that Go has for it.
void read_of_daemon(std::string_view text) {
  const std::vector<std::string> words = words_of(text);
  const std::vector<const char*> arguments = arguments_of(words);
  is_docker_command_line(arguments);
  const auto line = parse_docker_command_line("docker-proxy", arguments);
  if (!line) {
    demand(line.error().exit_code == 0 || line.error().exit_code == 2);
    demand(!line.error().stderr_text.empty());
    return;
  }
  if (const auto mapping = line->mapping()) {
    const auto again = Mapping::parse(mapping->to_string());
    demand(again && *again == *mapping);
  }
}

/// Taken, or refused with a reason.
void read_of_net(std::string_view text) {
  const std::vector<std::string> words = words_of(text);
  const auto line = parse_net_command_line(arguments_of(words));
  if (!line) demand(!line.error().message.empty());
}

/// LISTEN_PID and LISTEN_FDS.
void read_listen_fds(std::string_view text) {
  const std::vector<std::string> words = words_of(text);
  if (words.size() < 2) return;
  const auto descriptors = listen_fds(words[0].c_str(), words[1].c_str(), 1);
  if (!descriptors) {
    demand(descriptors.error().message.starts_with("LISTEN_"));
    return;
  }
  for (const int descriptor : *descriptors) demand(descriptor > 2);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return read_as_one_of({read_by_hand, read_of_daemon, read_of_net, read_listen_fds}, data, size);
}
