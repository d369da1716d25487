#include "proxy/options/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace fairlead {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

CommandLine parse(const std::vector<const char*>& arguments) {
  auto line = parse_command_line(arguments);
  EXPECT_TRUE(line) << line.error().message;
  return line ? *line : CommandLine{};
}

std::string refusal(const std::vector<const char*>& arguments) {
  const auto line = parse_command_line(arguments);
  return line ? "" : line.error().message;
}

TEST(CommandLine, TakesEveryFormOfPublish) {
  for (const std::vector<const char*>& arguments :
       {std::vector<const char*>{"-p", "80:10.0.0.2:80"},
        {"-p80:10.0.0.2:80"},
        {"--publish", "80:10.0.0.2:80"},
        {"--publish=80:10.0.0.2:80"}}) {
    EXPECT_THAT(parse(arguments).assignments, ElementsAre(Assignment{"publish", "80:10.0.0.2:80"}));
  }
}

TEST(CommandLine, KeepsTheOrder) {
  const auto line = parse(
      {"-p", "80:10.0.0.2:80", "--engine", "epoll", "-p", "81:10.0.0.2:81/udp", "--engine=auto"});
  EXPECT_THAT(
      line.assignments,
      ElementsAre(Assignment{"publish", "80:10.0.0.2:80"}, Assignment{"engine", "epoll"},
                  Assignment{"publish", "81:10.0.0.2:81/udp"}, Assignment{"engine", "auto"}));
}

TEST(CommandLine, HelpVersionAndConfig) {
  EXPECT_TRUE(parse({"--help"}).help);
  EXPECT_TRUE(parse({"-h"}).help);
  EXPECT_TRUE(parse({"--version"}).version);
  EXPECT_TRUE(parse({"-p", "80:10.0.0.2:80", "-v"}).version);
  EXPECT_EQ(parse({"--config", "/x"}).config_file, "/x");
  EXPECT_EQ(parse({"--config=/x", "--config=/y"}).config_file, "/y");
  EXPECT_FALSE(parse({}).config_file);
}

TEST(CommandLine, RefusesWhatIsNoOption) {
  EXPECT_THAT(refusal({"--foo"}), HasSubstr("'--foo'"));
  EXPECT_THAT(refusal({"-x"}), HasSubstr("'-x'"));
  EXPECT_THAT(refusal({"80:10.0.0.2:80"}), StartsWith("\"80:10.0.0.2:80\": not an option"));
  EXPECT_THAT(refusal({"-p", "80:10.0.0.2:80", "--", "-v"}), StartsWith("\"-v\": not an option"));
  EXPECT_THAT(refusal({"--engine"}), HasSubstr("'--engine'"));
  EXPECT_THAT(refusal({"--help=yes"}), HasSubstr("--help"));
}

TEST(CommandLine, PlaceholdersOfBoostsErrorsAreNoOptions) {
  for (const char* word :
       {"--%original_token%", "--a%option%b=1", "--x=%original_token%", "-%option%", "-v%option%",
        "--version=%original_token%", "--%canonical_option%", "--%prefix%", "--%value%=%value%"}) {
    EXPECT_EQ(refusal({word}), "unrecognised option '" + std::string(word) + "'; see --help");
  }
  EXPECT_EQ(refusal({"--handover=/run/%i.sock", "--config=%value%", "-p80:10.0.0.2:80"}), "");
  EXPECT_THAT(refusal({"--engine=%value%"}), StartsWith("--engine \"%value%\": accepted: "));
  EXPECT_THAT(refusal({"-p%option%"}), StartsWith("--publish \"%option%\": "));
}

TEST(CommandLine, DoesNotGuessAbbreviations) {
  for (const char* text :
       {"--eng=epoll", "--engin=epoll", "--pub=80:10.0.0.2:80", "--vers", "--conf=x"}) {
    EXPECT_NE(refusal({text}), "") << text;
  }
}

TEST(CommandLine, ErrorNamesOptionValueAndWhatIsAccepted) {
  EXPECT_EQ(refusal({"--engine", "foo"}), "--engine \"foo\": accepted: auto, io_uring, epoll");
  EXPECT_EQ(refusal({"--relay="}),
            "the argument for option '--relay' should follow immediately "
            "after the equal sign; see --help");
  EXPECT_EQ(refusal({"--relay", "fast"}), "--relay \"fast\": accepted: auto, copy, splice");
  EXPECT_EQ(refusal({"--log-level", "warning"}),
            "--log-level \"warning\": accepted: trace, debug, info, warn, error, off");
  EXPECT_EQ(refusal({"--log-format", "xml"}), "--log-format \"xml\": accepted: text, json");
  EXPECT_THAT(refusal({"-p", "80"}),
              StartsWith("--publish \"80\": a part is missing; accepted: [HOST-IP:]"));
  for (const char* text : {"0", "86401", "-1", "1.5", "1s", "x", " 1", "99999999999999999999"}) {
    EXPECT_EQ(refusal({"--udp-timeout", text}), "--udp-timeout \"" + std::string(text) +
                                                    "\": accepted: whole seconds from 1 to 86400");
  }
  for (const char* text : {"86401", "-1", "x"}) {
    EXPECT_EQ(
        refusal({"--connect-timeout", text}),
        "--connect-timeout \"" + std::string(text) + "\": accepted: whole seconds from 0 to 86400");
  }
  EXPECT_EQ(refusal({"--connect-timeout", "0"}), "");
  for (const char* option : {"--max-connections", "--max-udp-sessions"}) {
    EXPECT_EQ(refusal({option, "1"}), "");
    EXPECT_EQ(refusal({option, "1000000000"}), "");
    for (const char* text : {"0", "-1", "1000000001", "many", "0x10", "18446744073709551617"}) {
      EXPECT_EQ(refusal({option, text}),
                std::string(option) + " \"" + text + "\": accepted: a number from 1 to 1000000000");
    }
  }
  EXPECT_EQ(refusal({"--config", ""}), "--config \"\": accepted: the path of a file");
}

TEST(CommandLine, HelpNamesEveryOption) {
  const std::string help = help_text();
  for (const OptionDefinition& option : option_definitions()) {
    EXPECT_THAT(help, HasSubstr("--" + std::string(option.name)));
    EXPECT_THAT(help, HasSubstr(std::string(option.group) + ":"));
  }
  EXPECT_THAT(help, HasSubstr("Examples:"));
}

}  // namespace
}  // namespace fairlead
