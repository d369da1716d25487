#include "docker/daemon_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fairlead {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr const char* kKey = "userland-proxy-path";

DaemonText parsed(const std::string& text) {
  auto result = DaemonText::parse(text);
  EXPECT_TRUE(result) << result.error().message;
  return *result;
}

std::string refusal(const std::string& text) {
  const auto result = DaemonText::parse(text);
  return result ? "" : result.error().message;
}

TEST(DaemonText, ANewMemberIsWrittenAsTheOthersAre) {
  DaemonText one_line = parsed(R"({ "debug" : true })");
  one_line.set(kKey, R"("/p")");
  EXPECT_EQ(one_line.text(), R"({ "debug" : true, "userland-proxy-path": "/p" })");

  DaemonText lines = parsed("{\n\t\"debug\": true,\n\t\"mtu\": 1400\n}\n");
  lines.set(kKey, R"("/p")");
  EXPECT_EQ(lines.text(),
            "{\n\t\"debug\": true,\n\t\"mtu\": 1400,\n\t\"userland-proxy-path\": \"/p\"\n}\n");

  DaemonText none = parsed("{}\n");
  EXPECT_TRUE(none.empty());
  none.set(kKey, R"("/p")");
  EXPECT_EQ(none.text(), "{\"userland-proxy-path\": \"/p\"}\n");
}

TEST(DaemonText, AValueIsReplacedWhereItStands) {
  DaemonText text = parsed("{\"userland-proxy-path\" :\n\"\\/old\" , \"z\": 1.50e3}");
  EXPECT_EQ(text.find(kKey), "\"\\/old\"");
  text.set(kKey, R"("/p")");
  EXPECT_EQ(text.text(), "{\"userland-proxy-path\" :\n\"/p\" , \"z\": 1.50e3}");
}

TEST(DaemonText, FindsMembersOfTheObjectItselfAlone) {
  const DaemonText text = parsed(
      R"({"a": {"userland-proxy-path": "no"}, "b": ["}", "\"", {"c": "]"}], "d": "userland-proxy-path"})");
  EXPECT_EQ(text.find(kKey), std::nullopt);
  EXPECT_EQ(text.find("b"), R"(["}", "\"", {"c": "]"}])");
  EXPECT_EQ(text.find("d"), R"("userland-proxy-path")");
}

TEST(DaemonText, KnowsAKeyThatIsWrittenWithEscapes) {
  EXPECT_EQ(parsed(R"({"userland\u002dproxy-path":null})").find(kKey), "null");
}

class RemovalIsTheOppositeOfSetting : public ::testing::TestWithParam<const char*> {};

TEST_P(RemovalIsTheOppositeOfSetting, ToTheByte) {
  DaemonText text = parsed(GetParam());
  text.set(kKey, R"("/usr/bin/fairlead-proxy")");
  EXPECT_EQ(text.find(kKey), R"("/usr/bin/fairlead-proxy")");
  EXPECT_NE(text.text(), GetParam());
  text.remove(kKey);
  EXPECT_EQ(text.text(), GetParam());
}

INSTANTIATE_TEST_SUITE_P(
    Every, RemovalIsTheOppositeOfSetting,
    ::testing::Values(
        "{}", " {\n\n}\n", "{\"a\":1}", "{ \"a\" : 1 }\n", "{\r\n  \"a\": [],\r\n  \"b\": {}\r\n}",
        "\xef\xbb\xbf{\n  \"log-opts\": {\"max-size\": \"10m\"},\n\n  \"mtu\": 1e3}\n\n",
        "{\"a\":-0.5,\"b\":\"\\\\\",\"c\":\"{\\\"\"}", "{\"a\" : true\n,\"b\" : null\n}"));

TEST(DaemonText, RemovesAMemberFromAnyPlace) {
  const auto without = [](const std::string& text, const char* key) {
    DaemonText document = parsed(text);
    document.remove(key);
    return document.text();
  };
  const std::string text = "{\n  \"a\": 1,\n  \"b\": 2,\n  \"c\": 3\n}";
  EXPECT_EQ(without(text, "a"), "{\n  \"b\": 2,\n  \"c\": 3\n}");
  EXPECT_EQ(without(text, "b"), "{\n  \"a\": 1,\n  \"c\": 3\n}");
  EXPECT_EQ(without(text, "c"), "{\n  \"a\": 1,\n  \"b\": 2\n}");
  EXPECT_EQ(without(text, "d"), text);
}

TEST(DaemonText, RefusesWhatDockerRefusesAndSaysWhere) {
  EXPECT_THAT(refusal("{\n  \"a\": 1 // one\n}"), StartsWith("2:10: a comment"));
  EXPECT_THAT(refusal("{\n  # one\n}"), StartsWith("2:3: a comment"));
  EXPECT_THAT(refusal("{\"a\": /* one */ 1}"), StartsWith("1:7: a comment"));
  EXPECT_THAT(refusal("{\n\"a\": 1,\n}"), StartsWith("3:1: no JSON"));
  EXPECT_THAT(refusal("{\"a\": tru}"), StartsWith("1:10: no JSON"));
  EXPECT_THAT(refusal("{\"a\": 1"), StartsWith("1:8: no JSON"));
  EXPECT_THAT(refusal("{} {}"), StartsWith("1:4: no JSON"));
  EXPECT_THAT(refusal("{\"a\": 1e999}"), StartsWith("1:1: a number is too large"));
  EXPECT_THAT(refusal("[]"), HasSubstr("accepted: an object"));
  EXPECT_THAT(refusal(" \n"), HasSubstr("the file is empty"));
  EXPECT_THAT(refusal("{\"a\": 1, \"a\": 1}"), HasSubstr("\"a\" stands there twice"));
  EXPECT_EQ(refusal("{\"a\": {\"b\": 1}, \"b\": 1}"), "");
}

}  // namespace
}  // namespace fairlead
