#include "proxy/net/listening_socket.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <climits>
#include <optional>

#include "proxy/net/protocol_numbers.h"
#include "proxy/net/socket_address.h"

namespace fairlead {
namespace {

// What Go's net package sets since Go 1.23.
constexpr int kKeepaliveIdleSeconds = 15;
constexpr int kKeepaliveIntervalSeconds = 15;
constexpr int kKeepaliveProbes = 9;

bool set_option(int fd, int level, int option, int value) {
  return ::setsockopt(fd, level, option, &value, sizeof value) == 0;
}

std::optional<int> get_option(int fd, int level, int option) {
  int value = 0;
  socklen_t size = sizeof value;
  if (::getsockopt(fd, level, option, &value, &size) < 0) return std::nullopt;
  return value;
}

/// What every listening socket has, made here or passed in.
bool set_common_options(int fd, Protocol protocol, Family family, bool dual_stack) {
  switch (protocol) {
    case Protocol::tcp:
      return set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1) &&
             set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1) &&
             set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, kKeepaliveIdleSeconds) &&
             set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, kKeepaliveIntervalSeconds) &&
             set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, kKeepaliveProbes);
    case Protocol::udp:
      if (family == Family::v4 || dual_stack) {
        if (!set_option(fd, IPPROTO_IP, IP_PKTINFO, 1)) return false;
      }
      return family == Family::v4 || set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    case Protocol::sctp:
      return true;
  }
  return true;
}

/// The longest backlog: the kernel cuts it down to net.core.somaxconn.
bool start_listening(int fd) { return ::listen(fd, INT_MAX) == 0; }

/// Of IPv4 or IPv6 sockets; the IPv6 wildcard remains one.
Result<Endpoint> local_endpoint(int fd, const std::string& name) {
  SocketAddress address;
  socklen_t size = SocketAddress::capacity();
  if (::getsockname(fd, address.get(), &size) < 0) return failed("getsockname of " + name, errno);
  return address.endpoint();
}

std::string descriptor_name(int fd) { return "descriptor " + std::to_string(fd); }

/// REQUIRES: `fd` is a duplicate that belongs to the caller.
Result<ListeningSocket> prepare_adopted(FileDescriptor fd, const std::string& name,
                                        Protocol protocol) {
  auto local = local_endpoint(fd.get(), name);
  if (!local) return std::unexpected(local.error());
  if (local->port == 0) return failed(name + ": the socket is not bound to a port");

  const bool is_v6 = get_option(fd.get(), SOL_SOCKET, SO_DOMAIN) == AF_INET6;
  const bool dual_stack = is_v6 && get_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY) == 0;

  const int flags = ::fcntl(fd.get(), F_GETFL);
  if (flags < 0 || ::fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK) < 0) {
    return failed("make " + name + " non-blocking", errno);
  }
  if (!set_common_options(fd.get(), protocol, is_v6 ? Family::v6 : Family::v4, dual_stack)) {
    return failed("setsockopt on " + name, errno);
  }
  if (protocol != Protocol::udp && get_option(fd.get(), SOL_SOCKET, SO_ACCEPTCONN) == 0 &&
      !start_listening(fd.get())) {
    return failed("listen on " + name + " (" + local->to_string() + ")", errno);
  }
  return ListeningSocket{std::move(fd), protocol, *local, dual_stack};
}

}  // namespace

std::expected<ListeningSocket, ListenFailure> open_listening_socket(Protocol protocol,
                                                                    const Endpoint& endpoint) {
  const auto failure = [](std::string_view step) {
    return std::unexpected(ListenFailure{step, errno});
  };
  const Family family = endpoint.ip.family();
  FileDescriptor fd(::socket(family == Family::v4 ? AF_INET : AF_INET6,
                             socket_type(protocol) | SOCK_NONBLOCK | SOCK_CLOEXEC,
                             protocol_number(protocol)));
  if (!fd) return failure("socket");
  if (family == Family::v6 && !set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1)) {
    return failure("setsockopt");
  }
  if (protocol == Protocol::tcp && !set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1)) {
    return failure("setsockopt");
  }
  if (!set_common_options(fd.get(), protocol, family, false)) return failure("setsockopt");

  const SocketAddress address(endpoint);
  if (::bind(fd.get(), address.get(), address.size()) < 0) return failure("bind");
  if (protocol != Protocol::udp && !start_listening(fd.get())) return failure("listen");
  return ListeningSocket{std::move(fd), protocol, endpoint, false};
}

bool means_no_ipv6(const ListenFailure& failure) {
  // No IPv6 in the kernel; IPv6 switched off by net.ipv6.conf.all.disable_ipv6.
  return failure.error_number == EAFNOSUPPORT || failure.error_number == EADDRNOTAVAIL;
}

Error listen_error(Protocol protocol, const Endpoint& endpoint, const ListenFailure& failure) {
  Error error =
      errno_error("listen on " + endpoint.to_string() + "/" + std::string(protocol_name(protocol)) +
                      ": " + std::string(failure.step),
                  failure.error_number);
  switch (failure.error_number) {
    case EADDRINUSE:
      error.message += " (by another process: see ss -lntup)";
      break;
    case EADDRNOTAVAIL:
      error.message += " (no interface of this host has it)";
      break;
    case EACCES:
      if (failure.step == "bind") {
        error.message +=
            " (ports below net.ipv4.ip_unprivileged_port_start need "
            "CAP_NET_BIND_SERVICE)";
      }
      break;
    case EMFILE:
      error.message += " (the limit of open files is too low for so many ports)";
      break;
    case EPROTONOSUPPORT:
    case ESOCKTNOSUPPORT:
      if (protocol == Protocol::sctp) error.message += " (this kernel has no SCTP)";
      break;
    default:
      break;
  }
  return error;
}

Error docker_listen_error(Protocol protocol, const Endpoint& endpoint,
                          const ListenFailure& failure) {
  const std::string address = endpoint.to_string();
  std::string text = "failed to listen on " + address + ": ";
  // The SCTP library that docker-proxy uses returns the bare errno.
  if (protocol != Protocol::sctp) {
    text += "listen " + std::string(protocol_name(protocol)) + (endpoint.ip.is_v4() ? "4 " : "6 ") +
            address + ": " + std::string(failure.step) + ": ";
  }
  return Error{text + errno_text(failure.error_number)};
}

Result<Protocol> passed_socket_protocol(int fd) {
  const auto type = get_option(fd, SOL_SOCKET, SO_TYPE);
  if (!type) {
    const char* reason = errno == EBADF ? " is not open" : " is not a socket";
    return failed(descriptor_name(fd) + reason);
  }
  const auto domain = get_option(fd, SOL_SOCKET, SO_DOMAIN);
  if (domain != AF_INET && domain != AF_INET6) {
    return failed(descriptor_name(fd) + " is a socket of address family " +
                  std::to_string(domain.value_or(0)) + "; accepted: IPv4 and IPv6");
  }
  const auto number = get_option(fd, SOL_SOCKET, SO_PROTOCOL);
  for (const Protocol protocol : {Protocol::tcp, Protocol::udp, Protocol::sctp}) {
    if (type == socket_type(protocol) && number == protocol_number(protocol)) return protocol;
  }
  return failed(descriptor_name(fd) + " is a socket of type " + std::to_string(*type) +
                " and protocol " + std::to_string(number.value_or(0)) +
                "; accepted: tcp, udp and one-to-one sctp");
}

Result<ListeningSocket> adopt_listening_socket(int fd, Protocol expected) {
  const auto protocol = passed_socket_protocol(fd);
  FileDescriptor original(fd);
  if (!protocol) return std::unexpected(protocol.error());
  if (*protocol != expected) {
    return failed(descriptor_name(fd) + " is a socket of " + std::string(protocol_name(*protocol)) +
                  "; " + std::string(protocol_name(expected)) + " is needed");
  }
  FileDescriptor duplicate(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!duplicate) return failed("duplicate " + descriptor_name(fd), errno);
  original.reset();
  return prepare_adopted(std::move(duplicate), descriptor_name(fd), expected);
}

}  // namespace fairlead
