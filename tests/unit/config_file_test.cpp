#include "proxy/options/config_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <vector>

#include "tests/unit/temporary_directory.h"

namespace fairlead {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::StartsWith;

Options apply(const std::string& text, FileMappings mappings = FileMappings::used) {
  Options options;
  const auto applied = apply_config(options, text, "f", mappings);
  EXPECT_TRUE(applied) << applied.error().message;
  return options;
}

std::string refusal(const std::string& text, FileMappings mappings = FileMappings::used) {
  Options options;
  const auto applied = apply_config(options, text, "f", mappings);
  return applied ? "" : applied.error().message;
}

TEST(ConfigFile, SetsEveryOption) {
  const Options options = apply(
      "# a comment\n"
      "\n"
      "engine = epoll\n"
      "relay=splice\n"
      "  udp-timeout =  5  # a comment\n"
      "connect-timeout\t=\t7\n"
      "max-connections = 10\r\n"
      "max-udp-sessions = 20\n"
      "log-level = debug\n"
      "log-format = json\n"
      "publish = 80:10.0.0.2:80\n"
      "publish = [::1]:81:[fd00::2]:81/udp");
  EXPECT_EQ(options.engine, EngineChoice::epoll);
  EXPECT_EQ(options.relay.mode, RelayMode::splice);
  EXPECT_EQ(options.relay.udp_timeout_ms, 5000);
  EXPECT_EQ(options.relay.connect_timeout_ms, 7000);
  EXPECT_EQ(options.relay.connections_max, 10U);
  EXPECT_EQ(options.relay.sessions_max, 20U);
  EXPECT_EQ(options.log_level, LogLevel::debug);
  EXPECT_EQ(options.log_format, LogFormat::json);
  EXPECT_THAT(options.mappings, ElementsAre(Mapping::parse("80:10.0.0.2:80").value(),
                                            Mapping::parse("[::1]:81:[fd00::2]:81/udp").value()));
}

TEST(ConfigFile, ListsOfAddressesAdd) {
  const Options options = apply(
      "allow = 10.0.0.0/8,fd00::/8\n"
      "allow = 8080/tcp=192.0.2.1\n"
      "deny = 10.1.0.0/16\n"
      "accept-proxy-protocol = 192.0.2.1\n"
      "accept-proxy-protocol = 192.0.2.2\n");
  EXPECT_EQ(options.relay.access_rules.size(), 4U);
  EXPECT_EQ(options.relay.access_rules[2].ports, (PortRange{8080, 8080}));
  EXPECT_EQ(options.relay.front_ends.size(), 2U);
  EXPECT_THAT(refusal("deny = 10.0.0.1/8\n"),
              StartsWith("f:1: deny \"10.0.0.1/8\": \"10.0.0.1/8\""));
}

TEST(ConfigFile, AnEmptyFileSetsNothing) {
  for (const char* text : {"", "\n", "\n\n  \n", "# nothing"}) {
    const Options options = apply(text);
    EXPECT_EQ(options.engine, EngineChoice::automatic);
    EXPECT_THAT(options.mappings, IsEmpty());
  }
}

TEST(ConfigFile, MappingsAreForProxiesRunByHand) {
  EXPECT_THAT(apply("publish = 80:10.0.0.2:80\n", FileMappings::ignored).mappings, IsEmpty());
  EXPECT_EQ(refusal("publish = nonsense\n", FileMappings::ignored), "");
  EXPECT_EQ(refusal("engine = nonsense\n", FileMappings::ignored),
            "f:1: engine \"nonsense\": accepted: auto, io_uring, epoll");
}

TEST(ConfigFile, ErrorNamesFileAndLine) {
  EXPECT_EQ(refusal("\nengine = foo\n"), "f:2: engine \"foo\": accepted: auto, io_uring, epoll");
  EXPECT_EQ(refusal("engine =\n"), "f:1: engine \"\": accepted: auto, io_uring, epoll");
  EXPECT_THAT(
      refusal("engine = auto\n\nengin = auto\n"),
      StartsWith("f:3: \"engin\" is no option; accepted: publish, engine, relay, workers, "));
  EXPECT_THAT(refusal("Engine = auto\n"), StartsWith("f:1: \"Engine\" is no option"));
  EXPECT_THAT(refusal("--engine = auto\n"), StartsWith("f:1: \"--engine\" is no option"));
  EXPECT_THAT(refusal("config = x\n"), StartsWith("f:1: \"config\" is no option"));
  EXPECT_EQ(refusal("engine\n"), "f:1: accepted: `option = value`, `# comment`");
  EXPECT_EQ(
      refusal("= x\n"),
      "f:1: \"\" is no option; accepted: publish, engine, relay, workers, "
      "connect-timeout, udp-timeout, idle-timeout, half-closed-timeout, container-netns, source, "
      "proxy-protocol, accept-proxy-protocol, allow, deny, max-connections, "
      "max-connections-per-client, max-udp-sessions, drain, handover-drain, handover, user, "
      "metrics, log-level, "
      "log-format");
  EXPECT_EQ(refusal("[tcp]\nengine = auto\n"), "f:1: sections are not used here");
  EXPECT_THAT(refusal("publish = 80\n"), StartsWith("f:1: publish \"80\": a part is missing"));
}

TEST(ConfigSource, NamedThenEnvironmentThenDefault) {
  EXPECT_EQ(config_source("/x", "/y").path, "/x");
  EXPECT_EQ(config_source("/x", "/y").named_by, "--config");
  EXPECT_EQ(config_source({}, "/y").path, "/y");
  EXPECT_EQ(config_source({}, "/y").named_by, "FAIRLEAD_PROXY_CONFIG");
  EXPECT_EQ(config_source({}, "").path, kDefaultConfigFile);
  EXPECT_EQ(config_source({}, nullptr).path, kDefaultConfigFile);
  EXPECT_EQ(config_source({}, nullptr).named_by, "");
}

TEST(ConfigFile, ASourceNeedsANamespace) {
  const auto resolve = [](const std::vector<Assignment>& assignments) {
    const auto options = resolve_options({"/nonexistent/f", {}}, FileMappings::used, assignments);
    return options ? "" : options.error().message;
  };
  const std::string refused = "the source \"client\" or \"container\" needs a container-netns";
  EXPECT_EQ(resolve({{"source", "client"}}), refused);
  EXPECT_EQ(resolve({{"source", "container"}}), refused);
  EXPECT_EQ(resolve({{"source", "client"}, {"container-netns", "auto"}}), "");
  EXPECT_EQ(resolve({{"source", "gateway"}}), "");
}

class ConfigFileOnDisk : public ::testing::Test {
 protected:
  std::string write(const std::string& text) {
    const std::string path = directory_ + "/proxy.conf";
    std::ofstream(path) << text;
    return path;
  }

  const TemporaryDirectory temporary_;
  const std::string& directory_ = temporary_.path();
};

TEST_F(ConfigFileOnDisk, TheCommandLineWins) {
  const ConfigSource source{write("engine = epoll\nrelay = copy\npublish = 80:10.0.0.2:80\n"),
                            "--config"};
  const std::vector<Assignment> engine{{"engine", "io_uring"}};
  const auto options = resolve_options(source, FileMappings::used, engine);
  ASSERT_TRUE(options);
  EXPECT_EQ(options->engine, EngineChoice::io_uring);
  EXPECT_EQ(options->relay.mode, RelayMode::copy);
  EXPECT_EQ(options->mappings.size(), 1U);
}

TEST_F(ConfigFileOnDisk, MappingsOfTheCommandLineReplaceThoseOfTheFile) {
  const ConfigSource source{write("publish = 80:10.0.0.2:80\npublish = 81:10.0.0.2:81\n"),
                            "--config"};
  const std::vector<Assignment> publish{{"publish", "82:10.0.0.2:82"}};
  const auto options = resolve_options(source, FileMappings::used, publish);
  ASSERT_TRUE(options);
  EXPECT_THAT(options->mappings, ElementsAre(Mapping::parse("82:10.0.0.2:82").value()));
}

TEST_F(ConfigFileOnDisk, AddressesOfTheCommandLineAddToThoseOfTheFile) {
  const ConfigSource source{write("allow = 10.0.0.0/8\naccept-proxy-protocol = 192.0.2.1\n"),
                            "--config"};
  const std::vector<Assignment> added{
      {"allow", "192.0.2.0/24"}, {"deny", "192.0.2.1"}, {"accept-proxy-protocol", "192.0.2.2"}};
  const auto options = resolve_options(source, FileMappings::used, added);
  ASSERT_TRUE(options);
  EXPECT_EQ(options->relay.access_rules.size(), 3U);
  EXPECT_EQ(options->relay.front_ends.size(), 2U);
}

TEST_F(ConfigFileOnDisk, OnlyTheDefaultFileMayBeMissing) {
  Options options;
  const std::string path = directory_ + "/none";
  EXPECT_TRUE(read_config_file(options, {path, ""}, FileMappings::used));
  EXPECT_TRUE(read_config_file(options, {write("") + "/none", ""}, FileMappings::used));
  EXPECT_EQ(read_config_file(options, {path, "--config"}, FileMappings::used).error().message,
            "open " + path + ": no such file or directory (--config)");
}

TEST_F(ConfigFileOnDisk, WhatCannotBeReadIsAnError) {
  Options options;
  EXPECT_EQ(read_config_file(options, {directory_, ""}, FileMappings::used).error().message,
            "read " + directory_ + ": is a directory");
  EXPECT_EQ(
      read_config_file(options, {"/dev/zero", "--config"}, FileMappings::used).error().message,
      "read /dev/zero: file too large");
}

TEST_F(ConfigFileOnDisk, NoFileAtAllIsNamedByDevNull) {
  Options options;
  EXPECT_TRUE(read_config_file(options, {"/dev/null", "--config"}, FileMappings::used));
}

}  // namespace
}  // namespace fairlead
