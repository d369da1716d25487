#include "proxy/net/listening_socket.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>

#include "proxy/net/socket_address.h"

namespace fairlead {
namespace {

using ::testing::StartsWith;

int option(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT_EQ(::getsockopt(fd, level, name, &value, &size), 0);
  return value;
}

Endpoint local(int fd) {
  SocketAddress address;
  socklen_t size = SocketAddress::capacity();
  EXPECT_EQ(::getsockname(fd, address.get(), &size), 0);
  return address.endpoint();
}

/// Bound to a free port of a loopback address, blocking, inheritable: as a careless parent would.
FileDescriptor bound(int type, Family family, bool dual_stack = false) {
  FileDescriptor fd(::socket(family == Family::v4 ? AF_INET : AF_INET6, type, 0));
  const int v6_only = dual_stack ? 0 : 1;
  if (family == Family::v6) {
    EXPECT_EQ(::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only), 0);
  }
  const SocketAddress address(
      Endpoint{dual_stack ? IpAddress::any(family) : IpAddress::loopback(family), 0});
  EXPECT_EQ(::bind(fd.get(), address.get(), address.size()), 0);
  return fd;
}

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

void expect_ready(const ListeningSocket& socket) {
  const int fd = socket.fd.get();
  EXPECT_NE(::fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
  if (socket.protocol == Protocol::tcp) {
    EXPECT_EQ(option(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
    EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    EXPECT_EQ(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 15);
    EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 15);
    EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_KEEPCNT), 9);
  }
}

ListeningSocket open_loopback(Protocol protocol, Family family) {
  auto socket = open_listening_socket(protocol, {IpAddress::loopback(family), 0});
  EXPECT_TRUE(socket);
  return std::move(*socket);
}

TEST(ListeningSocket, TcpIsReadyToAccept) {
  for (const Family family : {Family::v4, Family::v6}) {
    const ListeningSocket socket = open_loopback(Protocol::tcp, family);
    expect_ready(socket);
    EXPECT_EQ(option(socket.fd.get(), SOL_SOCKET, SO_REUSEADDR), 1);
    if (family == Family::v6) {
      EXPECT_EQ(option(socket.fd.get(), IPPROTO_IPV6, IPV6_V6ONLY), 1);
    }
  }
}

TEST(ListeningSocket, AcceptedSocketsInheritTheOptions) {
  const ListeningSocket socket = open_loopback(Protocol::tcp, Family::v4);
  const SocketAddress address(local(socket.fd.get()));
  const FileDescriptor client(::socket(AF_INET, SOCK_STREAM, 0));
  ASSERT_EQ(::connect(client.get(), address.get(), address.size()), 0);
  const FileDescriptor accepted(::accept(socket.fd.get(), nullptr, nullptr));
  ASSERT_TRUE(accepted);
  EXPECT_EQ(option(accepted.get(), IPPROTO_TCP, TCP_NODELAY), 1);
  EXPECT_EQ(option(accepted.get(), SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_EQ(option(accepted.get(), IPPROTO_TCP, TCP_KEEPIDLE), 15);
  EXPECT_EQ(option(accepted.get(), IPPROTO_TCP, TCP_KEEPINTVL), 15);
  EXPECT_EQ(option(accepted.get(), IPPROTO_TCP, TCP_KEEPCNT), 9);
}

TEST(ListeningSocket, UdpTellsWhereDatagramsWereSentTo) {
  const ListeningSocket v4 = open_loopback(Protocol::udp, Family::v4);
  expect_ready(v4);
  EXPECT_EQ(option(v4.fd.get(), IPPROTO_IP, IP_PKTINFO), 1);
  EXPECT_EQ(option(v4.fd.get(), SOL_SOCKET, SO_REUSEADDR), 0);

  const ListeningSocket v6 = open_loopback(Protocol::udp, Family::v6);
  EXPECT_EQ(option(v6.fd.get(), IPPROTO_IPV6, IPV6_RECVPKTINFO), 1);
  EXPECT_EQ(option(v6.fd.get(), IPPROTO_IPV6, IPV6_V6ONLY), 1);
  EXPECT_EQ(option(v6.fd.get(), SOL_SOCKET, SO_REUSEADDR), 0);
}

TEST(ListeningSocket, BothWildcardsCanBeHadSideBySide) {
  const auto v4 = open_listening_socket(Protocol::tcp, {IpAddress::any(Family::v4), 0});
  ASSERT_TRUE(v4);
  const Endpoint v6{IpAddress::any(Family::v6), local(v4->fd.get()).port};
  EXPECT_TRUE(open_listening_socket(Protocol::tcp, v6));
}

TEST(ListeningSocket, APortInUseIsAnErrorInBothWordings) {
  for (const Protocol protocol : {Protocol::tcp, Protocol::udp}) {
    const ListeningSocket first = open_loopback(protocol, Family::v4);
    const Endpoint endpoint = local(first.fd.get());
    const auto second = open_listening_socket(protocol, endpoint);
    ASSERT_FALSE(second);
    const std::string where = endpoint.to_string();
    const std::string name(protocol_name(protocol));
    EXPECT_EQ(listen_error(protocol, endpoint, second.error()).message,
              "listen on " + where + "/" + name +
                  ": bind: address already in use (by another process: see ss -lntup)");
    EXPECT_EQ(docker_listen_error(protocol, endpoint, second.error()).message,
              "failed to listen on " + where + ": listen " + name + "4 " + where +
                  ": bind: address already in use");
  }
}

TEST(ListeningSocket, DockersWordingToTheByte) {
  const Endpoint v4{IpAddress::any(Family::v4), 80};
  const Endpoint v6{IpAddress::any(Family::v6), 80};
  EXPECT_EQ(docker_listen_error(Protocol::tcp, v4, {"bind", EADDRINUSE}).message,
            "failed to listen on 0.0.0.0:80: listen tcp4 0.0.0.0:80: bind: address already in use");
  EXPECT_EQ(docker_listen_error(Protocol::udp, v6, {"bind", EACCES}).message,
            "failed to listen on [::]:80: listen udp6 [::]:80: bind: permission denied");
  EXPECT_EQ(docker_listen_error(Protocol::sctp, v4, {"socket", EPROTONOSUPPORT}).message,
            "failed to listen on 0.0.0.0:80: protocol not supported");
}

TEST(ListeningSocket, ErrorsCarryAHint) {
  const Endpoint endpoint{IpAddress::any(Family::v4), 80};
  EXPECT_EQ(listen_error(Protocol::sctp, endpoint, {"socket", EPROTONOSUPPORT}).message,
            "listen on 0.0.0.0:80/sctp: socket: protocol not supported (this kernel has no SCTP)");
  EXPECT_EQ(listen_error(Protocol::tcp, endpoint, {"bind", EACCES}).message,
            "listen on 0.0.0.0:80/tcp: bind: permission denied (ports below "
            "net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE)");
  const auto elsewhere =
      open_listening_socket(Protocol::tcp, {IpAddress::parse("203.0.113.77").value(), 80});
  ASSERT_FALSE(elsewhere);
  EXPECT_EQ(elsewhere.error().error_number, EADDRNOTAVAIL);
}

TEST(AdoptedSocket, ListeningTcpIsDuplicatedAndPrepared) {
  FileDescriptor original = bound(SOCK_STREAM, Family::v4);
  ASSERT_EQ(::listen(original.get(), 5), 0);
  const Endpoint endpoint = local(original.get());
  const int number = original.release();

  const auto socket = adopt_listening_socket(number, Protocol::tcp);
  ASSERT_TRUE(socket) << socket.error().message;
  EXPECT_NE(socket->fd.get(), number);
  EXPECT_FALSE(is_open(number));
  EXPECT_EQ(socket->local, endpoint);
  EXPECT_FALSE(socket->dual_stack);
  expect_ready(*socket);
}

TEST(AdoptedSocket, BoundTcpIsListenedOn) {
  FileDescriptor original = bound(SOCK_STREAM, Family::v6);
  const Endpoint endpoint = local(original.get());
  const auto socket = adopt_listening_socket(original.release(), Protocol::tcp);
  ASSERT_TRUE(socket) << socket.error().message;
  EXPECT_EQ(socket->local, endpoint) << "never bound again";
  expect_ready(*socket);
}

TEST(AdoptedSocket, DualStackStaysDualStack) {
  for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
    const Protocol protocol = type == SOCK_STREAM ? Protocol::tcp : Protocol::udp;
    FileDescriptor original = bound(type, Family::v6, /*dual_stack=*/true);
    const auto socket = adopt_listening_socket(original.release(), protocol);
    ASSERT_TRUE(socket) << socket.error().message;
    EXPECT_TRUE(socket->dual_stack);
    EXPECT_EQ(option(socket->fd.get(), IPPROTO_IPV6, IPV6_V6ONLY), 0);
    EXPECT_EQ(socket->local.ip, IpAddress::any(Family::v6));
    if (protocol == Protocol::udp) {
      EXPECT_EQ(option(socket->fd.get(), IPPROTO_IPV6, IPV6_RECVPKTINFO), 1);
      EXPECT_EQ(option(socket->fd.get(), IPPROTO_IP, IP_PKTINFO), 1);
    }
  }
}

TEST(AdoptedSocket, UdpWithoutPacketInformationGetsIt) {
  FileDescriptor original = bound(SOCK_DGRAM, Family::v4);
  EXPECT_EQ(option(original.get(), IPPROTO_IP, IP_PKTINFO), 0);
  const auto socket = adopt_listening_socket(original.release(), Protocol::udp);
  ASSERT_TRUE(socket) << socket.error().message;
  EXPECT_EQ(option(socket->fd.get(), IPPROTO_IP, IP_PKTINFO), 1);
  expect_ready(*socket);
}

std::string refusal(int fd, Protocol expected) {
  const auto socket = adopt_listening_socket(fd, expected);
  EXPECT_FALSE(is_open(fd)) << "closed whatever the outcome";
  return socket ? "" : socket.error().message;
}

TEST(AdoptedSocket, TheWrongKindIsRefused) {
  FileDescriptor udp = bound(SOCK_DGRAM, Family::v4);
  std::string name = "descriptor " + std::to_string(udp.get());
  EXPECT_EQ(refusal(udp.release(), Protocol::tcp), name + " is a socket of udp; tcp is needed");

  FileDescriptor tcp = bound(SOCK_STREAM, Family::v6);
  name = "descriptor " + std::to_string(tcp.get());
  EXPECT_EQ(refusal(tcp.release(), Protocol::udp), name + " is a socket of tcp; udp is needed");

  const int unix_socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  EXPECT_EQ(refusal(unix_socket, Protocol::tcp),
            "descriptor " + std::to_string(unix_socket) +
                " is a socket of address family 1; accepted: IPv4 and IPv6");

  const int file = ::open("/dev/null", O_RDWR);
  EXPECT_EQ(refusal(file, Protocol::tcp),
            "descriptor " + std::to_string(file) + " is not a socket");
  EXPECT_EQ(refusal(file, Protocol::tcp), "descriptor " + std::to_string(file) + " is not open");
}

TEST(AdoptedSocket, AnUnboundOneIsRefused) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_THAT(refusal(fd, Protocol::tcp), testing::EndsWith("the socket is not bound to a port"));
}

TEST(AdoptedSocket, AConnectedOneIsRefused) {
  const ListeningSocket listener = open_loopback(Protocol::tcp, Family::v4);
  const SocketAddress address(local(listener.fd.get()));
  const int client = ::socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_EQ(::connect(client, address.get(), address.size()), 0);
  EXPECT_THAT(refusal(client, Protocol::tcp), StartsWith("listen on descriptor"));
}

}  // namespace
}  // namespace fairlead
