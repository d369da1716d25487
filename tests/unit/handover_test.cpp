// What a proxy makes of the answer of the one that it takes over from.

#include "proxy/process/handover.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/temporary_directory.h"

namespace fairlead {
namespace {

using Announced = std::array<std::uint8_t, 2>;

/// Sends these to the first that connects to its path, without descriptors.
class OtherProxy {
 public:
  explicit OtherProxy(std::vector<Announced> answers) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path().copy(address.sun_path, sizeof(address.sun_path) - 1);
    listener_ = FileDescriptor(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(::listen(listener_.get(), 1), 0);
    thread_ = std::thread([this, answers = std::move(answers)] {
      const FileDescriptor accepted(::accept(listener_.get(), nullptr, nullptr));
      for (const Announced& answer : answers) {
        ::send(accepted.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
      }
    });
  }
  OtherProxy(const OtherProxy&) = delete;
  OtherProxy& operator=(const OtherProxy&) = delete;
  ~OtherProxy() { thread_.join(); }

  std::string path() const { return directory_.path() + "/socket"; }

 private:
  const TemporaryDirectory directory_;
  FileDescriptor listener_;
  std::thread thread_;
};

TEST(Takeover, AnyByteButZeroAnnouncesMore) {
  const OtherProxy other({{1, 2}, {1, 255}, {1, 0}});
  const auto takeover = Takeover::ask(other.path());
  ASSERT_TRUE(takeover) << takeover.error().message;
  EXPECT_TRUE(takeover->has_value());
}

TEST(Takeover, RefusesAnotherVersion) {
  const OtherProxy other({{2, 0}});
  EXPECT_EQ(Takeover::ask(other.path()).error().message,
            "handover at " + other.path() + ": the other proxy hands over in another way");
}

TEST(Takeover, SaysThatItWasRefused) {
  const OtherProxy other({{1, 1}});
  EXPECT_EQ(Takeover::ask(other.path()).error().message,
            "handover at " + other.path() + ": the other proxy has refused it");
}

}  // namespace
}  // namespace fairlead
