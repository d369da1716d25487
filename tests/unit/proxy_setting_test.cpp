#include "docker/proxy_setting.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <system_error>
#include <thread>

#include "docker/running_daemon.h"
#include "docker/text_file.h"
#include "tests/unit/temporary_directory.h"

namespace fairlead {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

std::string contents(const std::string& path) {
  const auto text = read_text_file(path);
  return text ? text->value_or("") : "";
}

class ProxySettingTest : public ::testing::Test {
 protected:
  ProxySettingTest() {
    setting_.config = directory_ / "etc/daemon.json";
    setting_.proxy = directory_ / "fairlead-proxy";
    // So that no daemon of the host is looked at.
    write("fairlead-proxy", "#!/bin/sh\n");
    std::filesystem::permissions(setting_.proxy, std::filesystem::perms::owner_all);
  }

  void write(const std::filesystem::path& name, const std::string& text) {
    std::filesystem::create_directories((directory_ / name).parent_path());
    std::ofstream(directory_ / name) << text;
  }
  void write_config(const std::string& text) { write("etc/daemon.json", text); }
  std::string config() const { return contents(setting_.config); }

  std::string enable() const { return told(setting_.enable()); }
  std::string disable() const { return told(setting_.disable()); }
  std::string refusal() const {
    const auto enabled = setting_.enable();
    return enabled ? "" : enabled.error().message;
  }

  std::set<std::string> files() const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_)) {
      names.insert(entry.path().lexically_relative(directory_));
    }
    return names;
  }

  const TemporaryDirectory temporary_;
  const std::filesystem::path directory_ = temporary_.path();
  ProxySetting setting_;

 private:
  static std::string told(const Result<std::string>& result) {
    EXPECT_TRUE(result) << result.error().message;
    return result.value_or("");
  }
};

/// A pidfile that leads nowhere keeps the host's daemon out of it.
constexpr const char* kConfig =
    "{\n  \"pidfile\": \"/nonexistent\",\n  \"log-opts\": {\"max-size\": \"10m\"},\n  \"unknown\": "
    "1.0\n}\n";

TEST_F(ProxySettingTest, DisablePutsBackEveryByte) {
  write_config(kConfig);
  EXPECT_THAT(enable(), HasSubstr("userland-proxy-path is " + setting_.proxy));
  EXPECT_THAT(config(),
              AllOf(StartsWith("{\n  \"pidfile\""), HasSubstr("\"unknown\": 1.0,\n  \"userland-")));
  EXPECT_THAT(disable(), HasSubstr("Docker's own proxy is used"));
  EXPECT_EQ(config(), kConfig);
  EXPECT_EQ(files(), (std::set<std::string>{"etc", "etc/daemon.json", "fairlead-proxy"}));
}

TEST_F(ProxySettingTest, DisablePutsBackTheValueThatStoodThere) {
  const std::string before =
      "{\"userland-proxy-path\":\"\\/opt\\/proxy\",\"pidfile\":\"/nonexistent\"}";
  write_config(before);
  enable();
  EXPECT_THAT(config(), HasSubstr("\"" + setting_.proxy + "\""));
  disable();
  EXPECT_EQ(config(), before);
}

TEST_F(ProxySettingTest, AFileAndADirectoryThatWereMadeGoAgain) {
  const auto before = files();
  enable();
  EXPECT_EQ(config(), "{\n  \"userland-proxy-path\": \"" + setting_.proxy + "\"\n}\n");
  disable();
  EXPECT_EQ(files(), before);
}

TEST_F(ProxySettingTest, AFileThatWasMadeStaysIfSomethingElseIsInIt) {
  enable();
  std::string text = config();
  text.insert(1, "\"mtu\": 1400,");
  write_config(text);
  disable();
  EXPECT_EQ(config(), "{\"mtu\": 1400\n}\n");
}

TEST_F(ProxySettingTest, RepeatedItChangesNothing) {
  write_config(kConfig);
  EXPECT_EQ(enable(), enable());
  const std::string enabled = config();
  struct stat first{};
  struct stat second{};
  ASSERT_EQ(::stat(setting_.config.c_str(), &first), 0);
  enable();
  ASSERT_EQ(::stat(setting_.config.c_str(), &second), 0);
  EXPECT_EQ(first.st_ino, second.st_ino);
  EXPECT_EQ(config(), enabled);
  disable();
  EXPECT_EQ(disable(), disable());
  EXPECT_EQ(config(), kConfig);
}

TEST_F(ProxySettingTest, AnotherProxyOfFairleadKeepsWhatStoodThereFirst) {
  write_config(kConfig);
  enable();
  write("other-proxy", "#!/bin/sh\n");
  std::filesystem::permissions(directory_ / "other-proxy", std::filesystem::perms::owner_all);
  setting_.proxy = directory_ / "other-proxy";
  enable();
  EXPECT_THAT(config(), HasSubstr("other-proxy"));
  disable();
  EXPECT_EQ(config(), kConfig);
}

TEST_F(ProxySettingTest, AValueSetBySomebodyElseStays) {
  write_config(kConfig);
  enable();
  const std::string other =
      "{\"userland-proxy-path\": \"/opt/other\", \"pidfile\": \"/nonexistent\"}";
  write_config(other);
  EXPECT_THAT(disable(), HasSubstr("userland-proxy-path is /opt/other"));
  EXPECT_EQ(config(), other);
  EXPECT_FALSE(std::filesystem::exists(setting_.config + ".fairlead"));
}

TEST_F(ProxySettingTest, ALineWrittenByHandIsTakenOut) {
  write_config("{\"pidfile\": \"/nonexistent\", \"userland-proxy-path\": \"" + setting_.proxy +
               "\"}");
  disable();
  EXPECT_EQ(config(), "{\"pidfile\": \"/nonexistent\"}");
}

TEST_F(ProxySettingTest, KeepsModeAndFollowsASymbolicLink) {
  write("real/daemon.json", kConfig);
  std::filesystem::permissions(directory_ / "real/daemon.json", std::filesystem::perms(0640));
  std::filesystem::create_directories(directory_ / "etc");
  std::filesystem::create_symlink("../real/daemon.json", setting_.config);
  enable();
  EXPECT_TRUE(std::filesystem::is_symlink(setting_.config));
  EXPECT_THAT(contents(directory_ / "real/daemon.json"), HasSubstr("userland-proxy-path"));
  EXPECT_EQ(std::filesystem::status(setting_.config).permissions(), std::filesystem::perms(0640));
}

TEST_F(ProxySettingTest, KeepsTheOwner) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to give a file away";
  write_config(kConfig);
  ASSERT_EQ(::chown(setting_.config.c_str(), 12, 34), 0);
  enable();
  struct stat facts{};
  ASSERT_EQ(::stat(setting_.config.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_uid, 12U);
  EXPECT_EQ(facts.st_gid, 34U);
}

TEST_F(ProxySettingTest, RefusesWhatWouldNotWorkAndChangesNothing) {
  write_config("{\n  // mine\n}");
  EXPECT_THAT(refusal(), StartsWith(setting_.config + ":2:3: a comment"));
  write_config("{\"userland-proxy\": false}");
  EXPECT_THAT(refusal(), HasSubstr("starts no proxy at all"));
  write_config("{\"userland-proxy-path\": 1}");
  EXPECT_THAT(refusal(), HasSubstr("accepted: a string"));
  write_config(kConfig);
  setting_.proxy = directory_ / "nothing";
  EXPECT_THAT(refusal(), HasSubstr("no such file"));
  setting_.proxy = "relative";
  EXPECT_THAT(refusal(), HasSubstr("accepted: an absolute path"));
  setting_.proxy = directory_;
  EXPECT_THAT(refusal(), HasSubstr("no executable file"));
  EXPECT_EQ(files(), (std::set<std::string>{"etc", "etc/daemon.json", "fairlead-proxy"}));
}

TEST_F(ProxySettingTest, RefusesALinkThatLeadsNowhere) {
  std::filesystem::create_directories(directory_ / "etc");
  std::filesystem::create_symlink("nothing", setting_.config);
  EXPECT_THAT(refusal(), HasSubstr("no file, nor a symbolic link to one"));
  EXPECT_EQ(files(), (std::set<std::string>{"etc", "etc/daemon.json", "fairlead-proxy"}));
}

TEST_F(ProxySettingTest, SaysWhatIsWrongWithItsRecord) {
  write_config(kConfig);
  write("etc/daemon.json.fairlead", "{}");
  EXPECT_THAT(setting_.disable().error().message, HasSubstr("remove it to go on without"));
}

TEST_F(ProxySettingTest, RefusesAFileWithoutAnEnd) {
  setting_.config = "/dev/zero";
  EXPECT_THAT(refusal(), HasSubstr("larger than 1 MiB"));
}

/// A process by the name of dockerd.
class NamedDockerd {
 public:
  NamedDockerd() : pid_(::fork()) {
    if (pid_ < 0) throw std::system_error(errno, std::system_category(), "fork");
    if (pid_ > 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::prctl(PR_SET_NAME, "dockerd");
    while (true) ::pause();
  }
  NamedDockerd(const NamedDockerd&) = delete;
  NamedDockerd& operator=(const NamedDockerd&) = delete;
  ~NamedDockerd() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  std::string pid() const { return std::to_string(pid_); }

 private:
  pid_t pid_;
};

/// The kernel tells start times in ticks of 10 ms, and the times of files more finely.
TEST_F(ProxySettingTest, ADaemonThatStartsRightAfterAChangeHasStartedWithIt) {
  for (int i = 0; i < 10; ++i) {
    write_config("{\"pidfile\": \"" + (directory_ / "pid").string() + "\"}");
    const NamedDockerd daemon;
    write("pid", daemon.pid());
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!find_running_daemon(directory_ / "pid")) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "it has no name yet";
    }
    ASSERT_THAT(setting_.status().value_or(""), HasSubstr("has started with it"));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    ASSERT_THAT(enable(), HasSubstr("has not read it yet"));
  }
}

TEST(RunningDaemon, TakesTheLastOfAnOption) {
  RunningDaemon daemon;
  daemon.arguments = {"--debug", "--config-file", "/a", "--userland-proxy=false",
                      "--config-file=/b"};
  EXPECT_EQ(daemon.option("config-file"), "/b");
  EXPECT_EQ(daemon.option("userland-proxy"), "false");
  EXPECT_EQ(daemon.option("userland-proxy-path"), std::nullopt);
}

TEST_F(ProxySettingTest, AProcessOfAnotherNameIsNoDaemon) {
  write("pid", std::to_string(::getpid()) + "\n");
  EXPECT_FALSE(find_running_daemon(directory_ / "pid"));
  EXPECT_FALSE(find_running_daemon(directory_ / "nothing"));
}

}  // namespace
}  // namespace fairlead
