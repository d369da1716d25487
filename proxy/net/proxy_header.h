// The PROXY protocol: how one proxy tells the next who the client is.
//
// Source: haproxy/haproxy doc/proxy-protocol.txt, sections 2.1 (version 1, a line of text) and 2.2
// (version 2, binary). Pure: bytes in, values out.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "proxy/mapping/endpoint.h"
#include "proxy/mapping/error.h"
#include "proxy/mapping/protocol.h"

namespace fairlead {

/// Both ends of what a client sends, as the client has them: itself, and the address it wrote to.
struct AddressPair {
  Endpoint client;
  Endpoint host;

  bool operator==(const AddressPair&) const = default;
};

/// Which header is sent towards the backend (`--proxy-protocol`).
enum class ProxyProtocol : std::uint8_t { none, v1, v2 };

/// Longest header that read_proxy_header() takes. The protocol has no limit of its own for version
/// 2, whose extensions (TLVs) may fill 64 KiB; what senders really add, such as the name in a
/// certificate, is some hundred bytes. nginx takes as much.
inline constexpr std::size_t kProxyHeaderBytesMax = 4096;

/// The header for a connection (or, with UDP, a datagram) of `transport`. Addresses of two families
/// become IPv6, the IPv4 one in its mapped form.
/// REQUIRES: v1 with TCP, or v2 with TCP or UDP. There is nothing else.
std::string encode_proxy_header(ProxyProtocol version, Protocol transport,
                                const AddressPair& addresses);

struct ProxyHeader {
  /// What follows is the client's.
  std::size_t size_bytes = 0;
  /// Nothing when the header says that the addresses of the connection itself are to be used
  /// (UNKNOWN, LOCAL, UNSPEC), or tells those of another transport (UNIX sockets, datagrams at the
  /// beginning of a stream).
  std::optional<AddressPair> addresses;

  bool operator==(const ProxyHeader&) const = default;
};

/// The header, of either version, that `bytes` begin with; with UDP, that a datagram begins with,
/// of version 2. Nothing while it is not complete: then all of `bytes` belong to it. The error says
/// what is wrong; the connection must then be ended (sections 2.1 and 2.2). Extensions are skipped
/// unread, and so is a checksum among them.
Result<std::optional<ProxyHeader>> read_proxy_header(std::string_view bytes, Protocol transport);

}  // namespace fairlead
