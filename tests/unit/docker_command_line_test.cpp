#include "proxy/options/docker_command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace fairlead {
namespace {

using ::testing::ElementsAre;
using ::testing::StartsWith;

using Arguments = std::vector<const char*>;

DockerCommandLine parse(const Arguments& arguments) {
  auto line = parse_docker_command_line("docker-proxy", arguments);
  EXPECT_TRUE(line) << line.error().stderr_text;
  return line ? *line : DockerCommandLine{};
}

std::string refusal(const Arguments& arguments) {
  const auto line = parse_docker_command_line("docker-proxy", arguments);
  return line ? "" : line.error().stderr_text.substr(0, line.error().stderr_text.find('\n'));
}

TEST(DockerCommandLine, IsToldFromTheOneByHand) {
  for (const Arguments& arguments : {Arguments{"-proto", "tcp"},
                                     {"--host-ip=::"},
                                     {"-host-port", "1"},
                                     {"-container-ip", "x"},
                                     {"-container-port"},
                                     {"-use-listen-fd"},
                                     {"-engine", "epoll", "-proto", "tcp"},
                                     {"-v"},
                                     {"--v"},
                                     {"-version"},
                                     {"--version"},
                                     {"-v=true"},
                                     {"--version=0"}}) {
    EXPECT_TRUE(is_docker_command_line(arguments)) << arguments[0];
  }
  for (const Arguments& arguments : {Arguments{},
                                     {"-p", "80:10.0.0.2:80"},
                                     {"--help"},
                                     {"-h"},
                                     {"-p", "80:10.0.0.2:80", "-v"},
                                     {"proto"},
                                     {"--engine", "epoll"},
                                     {"-protocol"}}) {
    EXPECT_FALSE(is_docker_command_line(arguments));
  }
}

TEST(DockerCommandLine, AsTheDaemonGivesIt) {
  const auto line = parse({"-proto", "udp", "-host-ip", "::", "-host-port", "5353", "-container-ip",
                           "172.17.0.2", "-container-port", "53", "-use-listen-fd"});
  EXPECT_TRUE(line.use_listen_fd);
  EXPECT_FALSE(line.version);
  EXPECT_EQ(line.mapping(), Mapping::parse("[::]:5353:172.17.0.2:53/udp"));
}

TEST(DockerCommandLine, DefaultsAreDockerProxys) {
  const auto line =
      parse({"-host-port", "0x50", "-container-ip", "172.17.0.2", "-container-port=0120"});
  EXPECT_FALSE(line.use_listen_fd);
  EXPECT_EQ(line.mapping(), Mapping::parse("0.0.0.0:80:172.17.0.2:80/tcp"));
}

TEST(DockerCommandLine, AnEmptyHostAddressIsTheIpv6Wildcard) {
  const auto line = parse(
      {"-host-ip", "", "-host-port", "80", "-container-ip", "172.17.0.2", "-container-port", "80"});
  EXPECT_EQ(line.mapping(), Mapping::parse("[::]:80:172.17.0.2:80/tcp"));
}

TEST(DockerCommandLine, AMappedHostAddressIsIpv4) {
  const auto line = parse({"-host-ip", "::ffff:127.0.0.1", "-host-port", "80", "-container-ip",
                           "fd00::2", "-container-port", "80"});
  EXPECT_EQ(line.mapping(), Mapping::parse("127.0.0.1:80:[fd00::2]:80/tcp"));
}

TEST(DockerCommandLine, AWrongAddressIsAUsageError) {
  EXPECT_EQ(refusal({"-host-ip", "localhost"}),
            "invalid value \"localhost\" for flag -host-ip: invalid IP address: localhost");
  for (const char* text : {"1.2.3.4/24", "fe80::1%eth0", "[::1]", "01.2.3.4", " 1.2.3.4"}) {
    EXPECT_THAT(refusal({"-container-ip", text}), StartsWith("invalid value")) << text;
  }
}

TEST(DockerCommandLine, WhatCannotBeServedIsASetUpError) {
  const struct {
    Arguments arguments;
    const char* error;
  } cases[] = {
      {{"-proto", "TCP"}, "unsupported protocol TCP"},
      {{"-proto", ""}, "unsupported protocol "},
      {{"-host-port", "-1"}, "-host-port -1: accepted: 1 to 65535"},
      {{"-host-port", "0"}, "-host-port 0: accepted: 1 to 65535"},
      {{"-host-port", "65536"}, "-host-port 65536: accepted: 1 to 65535"},
      {{"-container-port", "0"}, "-container-port 0: accepted: 1 to 65535"},
      {{"-container-port", "70000"}, "-container-port 70000: accepted: 1 to 65535"},
      {{"-host-ip", "239.0.0.1"}, "-host-ip 239.0.0.1: accepted: an address of this host"},
      {{"-container-ip", ""}, "-container-ip \"\": accepted: the address of a container"},
      {{"-container-ip", "0.0.0.0"}, "-container-ip 0.0.0.0: accepted: the address of a container"},
      {{"-container-ip", "ff02::1"}, "-container-ip ff02::1: accepted: the address of a container"},
      {{"-container-ip", "127.0.0.1"},
       "\"0.0.0.0:80:127.0.0.1:80/tcp\" leads to itself at 80/tcp and would relay for ever"},
  };
  for (const auto& [more, error] : cases) {
    Arguments arguments{"-host-port", "80", "-container-ip", "172.17.0.2", "-container-port", "80"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto mapping = parse(arguments).mapping();
    ASSERT_FALSE(mapping) << error;
    EXPECT_EQ(mapping.error().message, error);
  }
  EXPECT_FALSE(parse({"-proto", "tcp"}).mapping()) << "the default ports are -1";
}

TEST(DockerCommandLine, TakesFairleadsOptionsAsFlags) {
  const auto line = parse({"-proto", "tcp", "-engine", "epoll", "--log-level=debug", "-udp-timeout",
                           "5", "-config", "/x", "-config=/y"});
  EXPECT_THAT(line.assignments,
              ElementsAre(Assignment{"engine", "epoll"}, Assignment{"log-level", "debug"},
                          Assignment{"udp-timeout", "5"}));
  EXPECT_EQ(line.config_file, "/y");

  EXPECT_EQ(refusal({"-engine", "foo"}),
            "invalid value \"foo\" for flag -engine: accepted: auto, io_uring, epoll");
  EXPECT_EQ(refusal({"-config", ""}),
            "invalid value \"\" for flag -config: accepted: the path of a file");
  EXPECT_EQ(refusal({"-publish", "80:10.0.0.2:80"}), "flag provided but not defined: -publish");
  EXPECT_EQ(refusal({"-p", "80:10.0.0.2:80"}), "flag provided but not defined: -p");
}

TEST(DockerCommandLine, TheVersionIsAskedForOnlyByAWholeCommandLineWithoutErrors) {
  EXPECT_TRUE(parse({"-v"}).version);
  EXPECT_TRUE(parse({"-proto", "tcp", "--version"}).version);
  EXPECT_FALSE(parse({"-v", "-version=false"}).version) << "both are one variable";
  EXPECT_EQ(refusal({"-v", "-x"}), "flag provided but not defined: -x");
}

TEST(DockerCommandLine, TheUsageIsDockerProxysToTheByte) {
  const Arguments arguments{"-proto", "tcp", "-help"};
  const auto line = parse_docker_command_line("/usr/bin/docker-proxy", arguments);
  ASSERT_FALSE(line);
  EXPECT_EQ(line.error().exit_code, 0);
  EXPECT_EQ(line.error().stderr_text,
            "Usage of /usr/bin/docker-proxy:\n"
            "  -container-ip value\n"
            "    \tcontainer ip (default 0.0.0.0)\n"
            "  -container-port int\n"
            "    \tcontainer port (default -1)\n"
            "  -host-ip value\n"
            "    \thost ip (default 0.0.0.0)\n"
            "  -host-port int\n"
            "    \thost port (default -1)\n"
            "  -proto string\n"
            "    \tproxy protocol (default \"tcp\")\n"
            "  -use-listen-fd\n"
            "    \tuse a supplied listen fd\n"
            "  -v\tprint version information and quit\n"
            "  -version\n"
            "    \tprint version information and quit\n");
}

}  // namespace
}  // namespace fairlead
