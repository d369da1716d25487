#include "proxy/options/config_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/program_options.hpp>
#include <cerrno>
#include <sstream>

#include "proxy/net/file_descriptor.h"

namespace fairlead {
namespace {

namespace po = boost::program_options;

/// More than anyone writes; stops a path that leads to a device.
constexpr std::size_t kSizeLimitBytes = 16UL * 1024 * 1024;

/// Nothing when there is no such file and there need not be one. No stream: a proxy without a file
/// should not pay for the machinery of one.
Result<std::optional<std::string>> read_file(const ConfigSource& source) {
  const FileDescriptor file(::open(source.path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    const int reason = errno;
    if (source.named_by.empty() && (reason == ENOENT || reason == ENOTDIR)) return std::nullopt;
    Error error = errno_error("open " + source.path, reason);
    if (!source.named_by.empty()) error.message += " (" + std::string(source.named_by) + ")";
    return std::unexpected(error);
  }
  std::string text;
  std::array<char, 4096> piece;
  while (true) {
    const ssize_t count = ::read(file.get(), piece.data(), piece.size());
    if (count == 0) return text;
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed("read " + source.path, errno);
    text.append(piece.data(), static_cast<std::size_t>(count));
    if (text.size() > kSizeLimitBytes) return failed("read " + source.path + ": file too large");
  }
}

/// One line, so that an error can say which: Boost's own errors do not.
Result<void> apply_line(Options& options, const std::string& line, FileMappings mappings) {
  if (const std::size_t start = line.find_first_not_of(" \t");
      start != line.npos && line[start] == '[') {
    return failed("sections are not used here");
  }
  static const po::options_description kNoneKnown;
  std::istringstream stream(line);
  po::parsed_options parsed(nullptr);
  try {
    parsed = po::parse_config_file(stream, kNoneKnown, /*allow_unregistered=*/true);
  } catch (const po::error&) {
    return failed("accepted: `option = value`, `# comment`");
  }
  for (const po::option& option : parsed.options) {
    const OptionDefinition* definition = find_option(option.string_key);
    if (definition == nullptr) {
      std::string names;
      for (const OptionDefinition& known : option_definitions()) {
        names += (names.empty() ? "" : ", ") + std::string(known.name);
      }
      return failed("\"" + option.string_key + "\" is no option; accepted: " + names);
    }
    if (definition->name == kPublishOption && mappings == FileMappings::ignored) continue;
    const std::string& value = option.value.front();
    if (const auto set = definition->set(options, value); !set) {
      const std::string quoted = definition->name == kPublishOption ? "" : " \"" + value + "\":";
      return failed(option.string_key + quoted + " " + set.error().message);
    }
  }
  return {};
}

}  // namespace

ConfigSource config_source(const std::optional<std::string>& named, const char* from_environment) {
  if (named) return {*named, "--config"};
  if (from_environment != nullptr && *from_environment != '\0')
    return {from_environment, kConfigVariable};
  return {kDefaultConfigFile, {}};
}

Result<void> apply_config(Options& options, const std::string& text, const std::string& path,
                          FileMappings mappings) {
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    ++number;
    std::string line = text.substr(begin, end - begin);
    if (line.ends_with('\r')) line.pop_back();
    begin = end + 1;
    if (const auto applied = apply_line(options, line, mappings); !applied) {
      return failed(path + ":" + std::to_string(number) + ": " + applied.error().message);
    }
  }
  return {};
}

Result<void> read_config_file(Options& options, const ConfigSource& source, FileMappings mappings) {
  const auto text = read_file(source);
  if (!text) return std::unexpected(text.error());
  const std::optional<std::string>& contents = *text;
  if (!contents) return {};
  return apply_config(options, *contents, source.path, mappings);
}

Result<Options> resolve_options(const ConfigSource& source, FileMappings mappings,
                                std::span<const Assignment> assignments) {
  Options options;
  if (const auto read = read_config_file(options, source, mappings); !read) {
    return std::unexpected(read.error());
  }
  if (std::ranges::find(assignments, kPublishOption, &Assignment::name) != assignments.end()) {
    options.mappings.clear();
  }
  for (const Assignment& assignment : assignments) {
    const OptionDefinition* definition = find_option(assignment.name);
    if (const auto set = definition->set(options, assignment.value); !set) {
      return failed("--" + assignment.name + ": " + set.error().message);
    }
  }
  const DialSettings& dial = options.relay.dial;
  if (dial.source != Source::gateway && dial.netns.kind == ContainerNetns::Kind::host) {
    return failed("the source \"client\" or \"container\" needs a container-netns");
  }
  return options;
}

}  // namespace fairlead
