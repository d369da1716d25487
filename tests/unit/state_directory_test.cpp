#include "netsetup/state/state_directory.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "netsetup/state/text_file.h"
#include "tests/unit/netsetup_samples.h"
#include "tests/unit/temporary_directory.h"

namespace fairlead {
namespace {

namespace fs = std::filesystem;

class StateDirectoryTest : public ::testing::Test {
 protected:
  const TemporaryDirectory temporary_;
  const std::string& path_ = temporary_.path();
};

TEST_F(StateDirectoryTest, AnEmptyOneIsNoError) {
  StateDirectory directory(path_ + "/nothing");
  EXPECT_EQ(directory.load().value(), State());
  EXPECT_EQ(directory.load_unfinished().value(), std::nullopt);
}

TEST_F(StateDirectoryTest, KeepsWhatWasSaved) {
  StateDirectory directory(path_);
  ASSERT_TRUE(directory.lock("test"));
  State state;
  state.networks = sample_networks(Mode::both);
  state.backend = Backend::iptables;
  state.sysctls = {{.path = "net/ipv4/ip_forward", .before = "0", .ours = "1"}};
  ASSERT_TRUE(directory.save_host(state));
  ASSERT_TRUE(directory.save_networks({}, state.networks));
  EXPECT_EQ(StateDirectory(path_).load().value(), state);

  Networks fewer = {state.networks[1]};
  ASSERT_TRUE(directory.save_networks(state.networks, fewer));
  EXPECT_EQ(StateDirectory(path_).load().value().networks, fewer);

  const Unfinished unfinished{state.networks, fewer};
  ASSERT_TRUE(directory.save_unfinished(unfinished));
  EXPECT_EQ(StateDirectory(path_).load_unfinished().value(), unfinished);
  ASSERT_TRUE(directory.remove_unfinished());
  EXPECT_EQ(StateDirectory(path_).load_unfinished().value(), std::nullopt);
}

TEST_F(StateDirectoryTest, NothingOfAHostThatHasNothingStays) {
  StateDirectory directory(path_);
  ASSERT_TRUE(directory.lock("test"));
  State state;
  state.backend = Backend::nftables;
  ASSERT_TRUE(directory.save_host(state));
  ASSERT_TRUE(directory.save_host(State()));
  EXPECT_FALSE(fs::exists(path_ + "/host.json"));
}

TEST_F(StateDirectoryTest, WhatAKilledWriterLeftIsPassedOver) {
  StateDirectory directory(path_);
  ASSERT_TRUE(directory.lock("test"));
  ASSERT_TRUE(replace_file(path_ + "/networks/web.json.new", "{\"name"));
  EXPECT_EQ(directory.load().value(), State());
}

TEST_F(StateDirectoryTest, SocketsOfProxiesThatAreGoneAreRemoved) {
  StateDirectory directory(path_);
  ASSERT_TRUE(directory.lock("test"));
  Networks networks = sample_networks(Mode::proxy);
  ASSERT_FALSE(networks[1].containers.empty());
  Container& container = networks[1].containers.front();
  container.proxy = {.pid = 17, .start_time = 1};
  const std::string own = directory.metrics_path(*container.proxy);
  const std::string handover = directory.handover_path(container);
  for (const std::string& path : {own, path_ + "/metrics/18.sock", path_ + "/metrics/18.sock.new",
                                  handover, handover + ".new", path_ + "/proxies/flv-gone"}) {
    ASSERT_TRUE(replace_file(path, ""));
  }
  ASSERT_TRUE(directory.save_networks({}, networks));
  // By which the proxy is found that a killed one was about to take over from.
  for (const std::string& path : {own, handover, handover + ".new"}) EXPECT_TRUE(fs::exists(path));
  const auto count = [&](const char* name) {
    return std::distance(fs::directory_iterator(path_ + name), fs::directory_iterator());
  };
  EXPECT_EQ(count("/metrics"), 1);
  EXPECT_EQ(count("/proxies"), 2);
  ASSERT_TRUE(directory.save_networks(networks, {}));
  EXPECT_EQ(count("/metrics"), 0);
  EXPECT_EQ(count("/proxies"), 0);
}

}  // namespace
}  // namespace fairlead
