// The socket options of every TCP socket that the proxy relays between.

#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>

namespace fairlead {

struct SocketOption {
  int level;
  int name;
  int value;
};

/// As Go's net package sets them for docker-proxy (Go 1.23: keepalive after 15 s, every 15 s, 9
/// times): a peer that vanished is found out after two and a half minutes. Sockets that are
/// accepted inherit them from their listening socket.
inline constexpr std::array<SocketOption, 5> kTcpOptions = {{
    {IPPROTO_TCP, TCP_NODELAY, 1},
    {SOL_SOCKET, SO_KEEPALIVE, 1},
    {IPPROTO_TCP, TCP_KEEPIDLE, 15},
    {IPPROTO_TCP, TCP_KEEPINTVL, 15},
    {IPPROTO_TCP, TCP_KEEPCNT, 9},
}};

}  // namespace fairlead
