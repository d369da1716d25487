// The sockets that published ports are served from: made here, or passed in by a daemon.

#pragma once

#include <expected>
#include <string>
#include <string_view>

#include "proxy/mapping/endpoint.h"
#include "proxy/mapping/error.h"
#include "proxy/mapping/protocol.h"
#include "proxy/net/file_descriptor.h"

namespace fairlead {

/// Bound (TCP, SCTP: and listening, with the longest backlog the kernel allows), non-blocking,
/// close-on-exec. TCP: TCP_NODELAY and keepalive (15 s idle, 15 s between probes, 9 probes, as Go's
/// net package) are set, and accepted sockets inherit them. UDP: each datagram comes with the
/// address it was sent to (IP_PKTINFO, IPV6_RECVPKTINFO).
struct ListeningSocket {
  FileDescriptor fd;
  Protocol protocol = Protocol::tcp;
  /// Where it is bound, as getsockname(2) has it.
  Endpoint local;
  /// `::` that takes IPv4 clients, too: only ever a socket that was passed in.
  bool dual_stack = false;
};

/// Why a socket could not be made.
struct ListenFailure {
  /// The system call, as Go's net package names it: `socket`, `bind`, `listen`, `setsockopt`.
  std::string_view step;
  int error_number = 0;
};

/// Binds a new socket. IPv6 takes IPv6 only (as Go's tcp6), so that `0.0.0.0` and `::` can be
/// published side by side. TCP has SO_REUSEADDR, or a restart would wait for TIME_WAIT to end; UDP
/// has not, or two proxies could be given one port.
std::expected<ListeningSocket, ListenFailure> open_listening_socket(Protocol protocol,
                                                                    const Endpoint& endpoint);

/// Whether a failure to bind an IPv6 address means that the host does not speak IPv6.
bool means_no_ipv6(const ListenFailure& failure);

/// `listen on 0.0.0.0:80/tcp: bind: address already in use`, with a hint where there is one.
Error listen_error(Protocol protocol, const Endpoint& endpoint, const ListenFailure& failure);

/// The same in docker-proxy's words, to the byte: `failed to listen on 0.0.0.0:80: listen tcp4
/// 0.0.0.0:80: bind: address already in use`.
Error docker_listen_error(Protocol protocol, const Endpoint& endpoint,
                          const ListenFailure& failure);

/// Takes over a socket that another process made. A duplicate is kept; the original is closed,
/// whatever the outcome. It is never bound again and its IPV6_V6ONLY stays as it is; TCP and SCTP
/// that is bound but not listening is listened on, and the options are set that the struct
/// promises. The error says what the descriptor is and what it should have been.
Result<ListeningSocket> adopt_listening_socket(int fd, Protocol expected);

/// What a passed descriptor is a socket of. The error names the descriptor.
Result<Protocol> passed_socket_protocol(int fd);

}  // namespace fairlead
