// Which network namespace sockets are made in. Each test is one thread, which enters and leaves
// namespaces, and loses its privileges, for itself alone.

#include "proxy/dial/dialler.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "proxy/net/file_descriptor.h"
#include "tests/unit/scripted_datagrams.h"

namespace fairlead {
namespace {

constexpr const char* kContainer = "10.254.77.2";

/// The address of the calling thread's `lo`, which is up.
bool set_up_loopback(const char* address) {
  const FileDescriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  sockaddr_in own{};
  own.sin_family = AF_INET;
  ::inet_pton(AF_INET, address, &own.sin_addr);
  std::memcpy(&request.ifr_addr, &own, sizeof own);
  if (::ioctl(socket.get(), SIOCSIFADDR, &request) < 0) return false;
  request.ifr_flags = IFF_UP | IFF_RUNNING | IFF_LOOPBACK;
  return ::ioctl(socket.get(), SIOCSIFFLAGS, &request) == 0;
}

/// Tells where and as what each socket was made.
class ScriptedSockets final : public ScriptedDatagrams {
 public:
  struct Made {
    std::optional<NamespaceId> netns;
    int type;
    int protocol;
  };

  int open_socket(int family, int type, int protocol) override {
    made.push_back({NetworkNamespace::id_of(kThreadNetns), type, protocol});
    return ScriptedDatagrams::open_socket(family, type, protocol);
  }

  std::vector<Made> made;
};

class DiallerTest : public testing::Test {
 protected:
  /// Dials the container once by each protocol.
  void dial(Source source) {
    std::thread([&] {
      DialSettings settings{.netns = {}, .source = source};
      settings.netns = *ContainerNetns::parse(kThreadNetns);
      if (!keep_host_namespace(settings)) return;
      host_ = settings.host->id();
      if (::unshare(CLONE_NEWNET) < 0 || !set_up_loopback(kContainer)) return;
      container_ = NetworkNamespace::id_of(kThreadNetns);
      const std::string path = "/proc/self/fd/";
      const FileDescriptor there(::open(kThreadNetns, O_RDONLY | O_CLOEXEC));
      settings.netns.path = path + std::to_string(there.get());
      if (!settings.host->enter()) return;

      ScriptedSockets engine;
      Deadlines deadlines;
      Dialler dialler(engine, deadlines, settings);
      const SocketAddress backend(Endpoint{*IpAddress::parse(kContainer), 80});
      for (const Protocol protocol : {Protocol::tcp, Protocol::udp, Protocol::sctp}) {
        dialler.open_socket(protocol, backend, {*IpAddress::parse("192.0.2.7"), 4000});
      }
      dialler.go_home();
      back_ = NetworkNamespace::id_of(kThreadNetns);
      made_ = engine.made;
    }).join();
  }

  std::optional<NamespaceId> host_, container_, back_;
  std::vector<ScriptedSockets::Made> made_;
};

TEST_F(DiallerTest, MakesEverySocketInsideAsTheContainerItself) {
  dial(Source::container);
  if (!container_) GTEST_SKIP() << "needs root, to make a network namespace";
  ASSERT_THAT(made_, testing::SizeIs(3));
  for (const auto& socket : made_) EXPECT_EQ(socket.netns, container_);
  EXPECT_EQ(made_[2].type, SOCK_STREAM);
  EXPECT_EQ(made_[2].protocol, IPPROTO_SCTP);
  EXPECT_EQ(back_, host_);
}

TEST_F(DiallerTest, MakesThoseOfSctpOutsideWhenTheSourceIsAnother) {
  dial(Source::gateway);
  if (!container_) GTEST_SKIP() << "needs root, to make a network namespace";
  ASSERT_FALSE(made_.empty());
  EXPECT_EQ(made_.front().netns, container_);
  EXPECT_EQ(made_.back().netns, host_);
  EXPECT_EQ(made_.back().protocol, IPPROTO_SCTP);
}

}  // namespace
}  // namespace fairlead
