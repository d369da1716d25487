#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "netsetup/command/command_line.h"
#include "netsetup/network/interface_names.h"
#include "netsetup/state/state_directory.h"
#include "proxy/metrics/metrics_address.h"
#include "proxy/process/socket_file.h"

namespace fairlead {
namespace {

using ::testing::HasSubstr;

Result<NetCommandLine> parse(std::initializer_list<const char*> words) {
  return parse_net_command_line(std::span(words.begin(), words.size()));
}

std::string refusal(std::initializer_list<const char*> words) {
  const auto line = parse(words);
  return line ? "accepted" : line.error().message;
}

template <typename Kind, typename T>
const T& command_of(const NetCommandLine& line) {
  return std::get<T>(std::get<Kind>(line.command));
}

TEST(NetCommandLine, OptionsMayStandAnywhere) {
  const std::vector<std::vector<const char*>> orders = {
      {"--json", "--firewall", "none", "network", "rm", "web"},
      {"network", "--json", "rm", "--firewall=none", "web"},
      {"network", "rm", "web", "--json", "--firewall", "none"}};
  for (const auto& words : orders) {
    const NetCommandLine line = parse_net_command_line(words).value();
    EXPECT_EQ((command_of<EditCommand, RemoveNetwork>(line).network), "web");
    EXPECT_TRUE(line.json);
    EXPECT_EQ(line.firewall, BackendChoice::none);
    EXPECT_EQ(line.state_directory, "/run/fairlead");
    EXPECT_EQ(line.text, "network rm web");
  }
}

TEST(NetCommandLine, ReadsEverythingOfANetwork) {
  const NetCommandLine line = parse({"network",
                                     "create",
                                     "web",
                                     "--subnet",
                                     "10.1.0.0/24",
                                     "--subnet",
                                     "fd00:1::/64",
                                     "--gateway",
                                     "10.1.0.9",
                                     "--ip-range",
                                     "10.1.0.128/25",
                                     "--bridge",
                                     "br9",
                                     "--mtu",
                                     "1400",
                                     "--internal",
                                     "--no-icc",
                                     "--no-masquerade",
                                     "--allow-networks",
                                     "a,b",
                                     "--host-binding",
                                     "192.0.2.1",
                                     "--mode",
                                     "dnat",
                                     "--forwarding",
                                     "interface"})
                                  .value();
  const Network& network = command_of<EditCommand, CreateNetwork>(line).network;
  EXPECT_EQ(network.subnets.size(), 2U);
  EXPECT_EQ(network.gateways.size(), 1U);
  EXPECT_EQ(network.ip_range->to_string(), "10.1.0.128/25");
  EXPECT_EQ(network.bridge, "br9");
  EXPECT_EQ(network.mtu, 1400U);
  EXPECT_TRUE(network.internal);
  EXPECT_FALSE(network.icc || network.masquerade || network.adopted);
  EXPECT_EQ(network.allow_networks, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(network.host_binding->to_string(), "192.0.2.1");
  EXPECT_EQ(network.mode, Mode::dnat);
  EXPECT_EQ(network.forwarding, Forwarding::interface);
}

TEST(NetCommandLine, ReadsContainersAndPorts) {
  const NetCommandLine attach = parse({"attach", "web", "c1", "--netns", "pid:12", "--ip",
                                       "10.1.0.7", "--ip", "fd00::7", "--mac", "02:00:00:00:00:01"})
                                    .value();
  const Attach& attached = command_of<EditCommand, Attach>(attach);
  EXPECT_EQ(attached.container.netns, "/proc/12/ns/net");
  EXPECT_EQ(attached.container.addresses.size(), 2U);
  EXPECT_EQ(attached.container.ifname, "");
  const NetCommandLine publish =
      parse({"publish", "web", "c1", "8080:80", "[::1]:1-9:1-9/udp"}).value();
  EXPECT_EQ((command_of<EditCommand, Publish>(publish).ports.size()), 2U);
  const NetCommandLine unpublish = parse({"unpublish", "web", "c1", "--all"}).value();
  EXPECT_TRUE((command_of<EditCommand, Unpublish>(unpublish).ports.empty()));
  const NetCommandLine apply = parse({"apply", "-"}).value();
  EXPECT_EQ((command_of<EditCommand, Apply>(apply).file), "-");
}

TEST(NetCommandLine, AnyNumberOfPortsWithOptionsAmongThem) {
  std::vector<std::string> words = {"publish", "web", "c1"};
  for (int port = 1; port <= 1000; ++port) {
    words.push_back(std::to_string(port) + ":1");
    words.insert(words.end(), {"--firewall", port == 1000 ? "nftables" : "none"});
  }
  std::vector<const char*> arguments;
  arguments.reserve(words.size());
  for (const std::string& word : words) arguments.push_back(word.c_str());
  const NetCommandLine line = parse_net_command_line(arguments).value();
  EXPECT_EQ((command_of<EditCommand, Publish>(line).ports.size()), 1000U);
  EXPECT_EQ(line.firewall, BackendChoice::nftables);
}

TEST(NetCommandLine, SaysWhatIsWrong) {
  EXPECT_EQ(refusal({}), "no command; see --help");
  EXPECT_EQ(refusal({"network"}), "\"network\" is no command; see --help");
  EXPECT_EQ(refusal({"network", "make", "x"}), "\"network make\" is no command; see --help");
  EXPECT_EQ(refusal({"network rm"}), "\"network rm\" is no command; see --help");
  EXPECT_EQ(refusal({"network", "create"}), "usage: fairlead-net network create NAME");
  EXPECT_EQ(refusal({"publish", "web", "c1"}),
            "usage: fairlead-net publish NETWORK CONTAINER PORT...");
  EXPECT_EQ(refusal({"attach", "web", "c1", "--netns", "name:c1", "--mtu", "9"}),
            "--mtu is an option of network create, not of attach");
  EXPECT_EQ(refusal({"unpublish", "web", "c1"}), "unpublish: give either PORTs or --all");
  EXPECT_EQ(refusal({"unpublish", "web", "c1", "1:1", "--all"}),
            "unpublish: give either PORTs or --all");
  EXPECT_EQ(refusal({"status", "--interval", "2"}), "--interval: only with --watch");
  EXPECT_EQ(refusal({"status", "--watch", "--interval", "3601"}),
            "--interval \"3601\": accepted: 1 to 3600");
  EXPECT_EQ(refusal({"status", "--watch", "--json"}), "give one of --watch and --json");
  EXPECT_EQ(refusal({"network", "create", "w", "--mtu", "70000"}),
            "--mtu \"70000\": accepted: 68 to 65535");
  EXPECT_EQ(refusal({"network", "create", "w", "--bridge", "a", "--adopt", "b"}),
            "--adopt \"b\": give one of --bridge and --adopt, once");
  EXPECT_THAT(refusal({"publish", "web", "c1", "65536:80"}), HasSubstr("\"65536:80\": "));
  EXPECT_THAT(refusal({"status", "--jsn"}), HasSubstr("--jsn"));
  EXPECT_THAT(refusal({"status", "--js"}), HasSubstr("--js"));
  EXPECT_THAT(refusal({"status", "--firewall"}), HasSubstr("--firewall"));
}

TEST(NetCommandLine, PlaceholdersOfBoostsErrorsAreNoOptions) {
  for (const char* word :
       {"--%original_token%ish=80", "--a%option%b=1", "--icc=%original_token%", "-%option%",
        "-x%option%", "--%canonical_option%", "--%prefix%", "--%value%=%value%"}) {
    EXPECT_EQ(refusal({"status", word}),
              "unrecognised option '" + std::string(word) + "'; see --help");
  }
  EXPECT_THAT(refusal({"status", "--json=%original_token%"}), HasSubstr("'--json'"));
  EXPECT_EQ(refusal({"status", "--state-dir=/run/%option%"}), "accepted");
}

TEST(NetCommandLine, AStateDirectoryHasRoomForTheSocketsOfProxies) {
  const std::string longest = "/" + std::string(kStateDirectoryMax - 1, 'x');
  EXPECT_EQ(refusal({"status", "--state-dir", longest.c_str()}), "accepted");
  const std::string longer = longest + "x";
  EXPECT_THAT(refusal({"status", "--state-dir", longer.c_str()}),
              HasSubstr("accepted: an absolute path, 79 bytes long at most"));
  EXPECT_TRUE(MetricsAddress::parse("unix:" + longest + "/metrics/"));
  // --handover of fairlead-proxy takes no longer one.
  Container container;
  container.host_ifname = std::string(kInterfaceNameLimit, 'x');
  EXPECT_EQ(StateDirectory(longest).handover_path(container).size(), kSocketPathMax);
}

TEST(NetCommandLine, HelpNamesEveryCommandAndOption) {
  const std::string help = net_help_text();
  for (const auto* word : {"network create NAME", "attach NETWORK", "--subnet", "--allow-networks",
                           "--state-dir", "--all", "--netns"}) {
    EXPECT_THAT(help, HasSubstr(word));
  }
  EXPECT_TRUE(parse({"--help"}).value().help);
  EXPECT_TRUE(parse({"--version"}).value().version);
}

}  // namespace
}  // namespace fairlead
