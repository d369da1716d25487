#include "proxy/options/go_flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace fairlead {
namespace {

constexpr const char* kUsage =
    "Usage of prog:\n"
    "  -count int\n"
    "    \tcount things (default -1)\n"
    "  -dry\n"
    "    \tdo nothing\n"
    "  -name string\n"
    "    \tname it (default \"it\")\n"
    "  -other string\n"
    "    \tother name\n"
    "  -q\tbe quiet\n"
    "  -wet\n"
    "    \tdo it (default true)\n"
    "  -word value\n"
    "    \ta word (default zero)\n";

/// A command line with one flag of every kind.
struct Program {
  std::int64_t count = -1;
  bool dry = false;
  std::string name = "it";
  std::string other;
  bool quiet = false;
  bool wet = true;
  std::string word;
  std::string secret;

  std::expected<void, FlagsExit> run(const std::vector<const char*>& arguments) {
    GoFlags flags;
    flags.add_string("other", "other name", other);
    flags.add_int("count", "count things", count);
    flags.add_bool("dry", "do nothing", dry);
    flags.add_bool("wet", "do it", wet);
    flags.add_string("name", "name it", name);
    flags.add_bool("q", "be quiet", quiet);
    flags.add_value("word", "a word", "zero", [this](std::string_view value) -> Result<void> {
      if (value == "bad") return failed("a bad word");
      word = value;
      return {};
    });
    flags.add_hidden("secret", [this](std::string_view value) -> Result<void> {
      secret = value;
      return {};
    });
    return flags.parse("prog", arguments);
  }
};

/// The first line on stderr, or empty. Checks that the usage follows and the exit code is 2.
std::string error_line(const std::vector<const char*>& arguments) {
  const auto parsed = Program().run(arguments);
  if (parsed) return "";
  const std::string& text = parsed.error().stderr_text;
  const std::size_t end = text.find('\n');
  EXPECT_EQ(text.substr(end + 1), kUsage);
  EXPECT_EQ(parsed.error().exit_code, 2);
  return text.substr(0, end);
}

TEST(GoFlags, TakesEveryFormOfAFlag) {
  for (const std::vector<const char*>& arguments :
       {std::vector<const char*>{"-name", "x", "-count", "7"},
        {"--name", "x", "--count", "7"},
        {"-name=x", "-count=7"},
        {"--name=x", "--count=7"}}) {
    Program program;
    ASSERT_TRUE(program.run(arguments));
    EXPECT_EQ(program.name, "x");
    EXPECT_EQ(program.count, 7);
  }
}

TEST(GoFlags, AValueMayBeAnything) {
  Program program;
  ASSERT_TRUE(program.run({"-name", "-q", "-other", "--", "-word="}));
  EXPECT_EQ(program.name, "-q");
  EXPECT_FALSE(program.quiet);
  EXPECT_EQ(program.other, "--");
  EXPECT_EQ(program.word, "");

  ASSERT_TRUE(program.run({"-name=a=b", "-other", ""}));
  EXPECT_EQ(program.name, "a=b");
  EXPECT_EQ(program.other, "");
}

TEST(GoFlags, ABooleanTakesAValueOnlyAfterEquals) {
  Program program;
  ASSERT_TRUE(program.run({"-dry", "false", "-name", "unseen"}));
  EXPECT_TRUE(program.dry);
  EXPECT_EQ(program.name, "it") << "`false` is no flag and ends the flags";

  for (const char* text : {"1", "t", "T", "true", "TRUE", "True"}) {
    Program each;
    ASSERT_TRUE(each.run({("-dry=" + std::string(text)).c_str()})) << text;
    EXPECT_TRUE(each.dry) << text;
  }
  for (const char* text : {"0", "f", "F", "false", "FALSE", "False"}) {
    Program each;
    ASSERT_TRUE(each.run({("--wet=" + std::string(text)).c_str()})) << text;
    EXPECT_FALSE(each.wet) << text;
  }
  for (const char* text : {"", "yes", "no", "on", "2", "tRUE", "true ", "-1"}) {
    EXPECT_EQ(error_line({("-dry=" + std::string(text)).c_str()}),
              "invalid boolean value \"" + std::string(text) + "\" for -dry: parse error");
  }
}

TEST(GoFlags, StopsAtTheFirstWordThatIsNoFlag) {
  for (const char* stop : {"--", "-", "word", "", "=", "a-b"}) {
    Program program;
    ASSERT_TRUE(program.run({"-q", stop, "-name", "x", "-nonsense"})) << stop;
    EXPECT_TRUE(program.quiet);
    EXPECT_EQ(program.name, "it") << stop;
  }
}

TEST(GoFlags, TheLastOneWins) {
  Program program;
  ASSERT_TRUE(program.run({"-count", "1", "--count=2", "-dry", "-dry=false"}));
  EXPECT_EQ(program.count, 2);
  EXPECT_FALSE(program.dry);
}

TEST(GoFlags, ErrorsAreGosToTheByte) {
  EXPECT_EQ(error_line({"-x"}), "flag provided but not defined: -x");
  EXPECT_EQ(error_line({"--x=1"}), "flag provided but not defined: -x");
  EXPECT_EQ(error_line({"-nam", "x"}), "flag provided but not defined: -nam");
  EXPECT_EQ(error_line({"-NAME", "x"}), "flag provided but not defined: -NAME");
  EXPECT_EQ(error_line({"-name"}), "flag needs an argument: -name");
  EXPECT_EQ(error_line({"--count"}), "flag needs an argument: -count");
  EXPECT_EQ(error_line({"---name", "x"}), "bad flag syntax: ---name");
  EXPECT_EQ(error_line({"---"}), "bad flag syntax: ---");
  EXPECT_EQ(error_line({"-=x"}), "bad flag syntax: -=x");
  EXPECT_EQ(error_line({"--=x"}), "bad flag syntax: --=x");
  EXPECT_EQ(error_line({"-count", "abc"}), "invalid value \"abc\" for flag -count: parse error");
  EXPECT_EQ(error_line({"-count="}), "invalid value \"\" for flag -count: parse error");
  EXPECT_EQ(error_line({"-count", "9223372036854775808"}),
            "invalid value \"9223372036854775808\" for flag -count: value out of range");
  EXPECT_EQ(error_line({"-word", "bad"}), "invalid value \"bad\" for flag -word: a bad word");
  EXPECT_EQ(error_line({"-count", "a\"\\\n\x01\xff\u00e9"}),
            "invalid value \"a\\\"\\\\\\n\\x01\\xff\u00e9\" for flag -count: parse error");
  EXPECT_EQ(error_line({"-q", "-x", "-y"}), "flag provided but not defined: -x");
}

TEST(GoFlags, HelpIsTheUsageOnStderrAndExitsWith0) {
  for (const char* help : {"-h", "--h", "-help", "--help", "-help=1", "-h=false"}) {
    const auto parsed = Program().run({"-q", help, "-x"});
    ASSERT_FALSE(parsed) << help;
    EXPECT_EQ(parsed.error(), (FlagsExit{kUsage, 0})) << help;
  }
}

TEST(GoFlags, AHiddenFlagWorksAndIsNotShown) {
  Program program;
  ASSERT_TRUE(program.run({"-secret", "s"}));
  EXPECT_EQ(program.secret, "s");
  EXPECT_EQ(error_line({"-secret"}), "flag needs an argument: -secret");
}

TEST(GoInt, TakesEveryFormOfANumber) {
  const struct {
    const char* text;
    std::int64_t value;
  } cases[] = {
      {"0", 0},
      {"-0", 0},
      {"+5", 5},
      {"-5", -5},
      {"80", 80},
      {"0120", 80},
      {"0o120", 80},
      {"0O120", 80},
      {"0x50", 80},
      {"0X5f", 95},
      {"0x5F", 95},
      {"0b1010000", 80},
      {"0B1", 1},
      {"-0x50", -80},
      {"00", 0},
      {"1_000", 1000},
      {"0x_50", 80},
      {"0_120", 80},
      {"0b_1", 1},
      {"0x5_0", 80},
      {"9223372036854775807", std::numeric_limits<std::int64_t>::max()},
      {"-9223372036854775808", std::numeric_limits<std::int64_t>::min()},
      {"0x7fffffffffffffff", std::numeric_limits<std::int64_t>::max()},
      {"-0x8000000000000000", std::numeric_limits<std::int64_t>::min()},
  };
  for (const auto& [text, value] : cases) EXPECT_EQ(parse_go_int(text), value) << text;
}

TEST(GoInt, RefusesEverythingElse) {
  for (const char* text :
       {"",     "-",    "+",     "+-5", "--5", "5 ",  " 5",    "1e3",  "1.0",  "abc",
        "0x",   "0b",   "0o",    "08",  "0o8", "0b2", "0xg",   "_1",   "1_",   "1__0",
        "_0x1", "0_x1", "0x__1", "-_1", "١",   "5\n", "0x1p4", "\xff", "1,000"}) {
    EXPECT_EQ(parse_go_int(text).error().message, "parse error") << text;
  }
  for (const char* text : {"9223372036854775808", "-9223372036854775809", "18446744073709551615",
                           "18446744073709551616", "99999999999999999999999", "0xffffffffffffffff1",
                           // Go meets the overflow first.
                           "99999999999999999999999x"}) {
    EXPECT_EQ(parse_go_int(text).error().message, "value out of range") << text;
  }
}

TEST(GoQuoted, EscapesWhatGoDoes) {
  EXPECT_EQ(go_quoted(""), "\"\"");
  EXPECT_EQ(go_quoted("a b"), "\"a b\"");
  EXPECT_EQ(go_quoted("\a\b\f\n\r\t\v\\\""), R"("\a\b\f\n\r\t\v\\\"")");
  EXPECT_EQ(go_quoted(std::string_view("\0\x1f\x7f", 3)), R"("\x00\x1f\x7f")");
  EXPECT_EQ(go_quoted("\u00e9\u20ac\U0001f600"), "\"\u00e9\u20ac\U0001f600\"");
  EXPECT_EQ(go_quoted("\u0085\u00a0\u00ad\u200b\U000e0001"),
            R"("\u0085\u00a0\u00ad\u200b\U000e0001")");
  EXPECT_EQ(go_quoted("\xc3"), R"("\xc3")");
  EXPECT_EQ(go_quoted("\xc0\xaf"), R"("\xc0\xaf")");
  EXPECT_EQ(go_quoted("\xed\xa0\x80"), R"("\xed\xa0\x80")");
}

TEST(FlagName, IsWhatStandsBetweenDashAndEquals) {
  EXPECT_EQ(flag_name("-proto"), "proto");
  EXPECT_EQ(flag_name("--proto=tcp"), "proto");
  for (const char* text : {"", "-", "--", "---x", "-=x", "proto", "x-y"}) {
    EXPECT_EQ(flag_name(text), "") << text;
  }
}

}  // namespace
}  // namespace fairlead
