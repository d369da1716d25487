#include "proxy/net/proxy_header.h"

#include <algorithm>
#include <array>
#include <span>

#include "proxy/mapping/decimal.h"

namespace fairlead {
namespace {

using namespace std::string_view_literals;

// Section 2.1.
constexpr std::string_view kV1Start = "PROXY ";
constexpr std::string_view kV1End = "\r\n";
constexpr std::size_t kV1BytesMax = 107;

// Section 2.2.
constexpr std::string_view kV2Signature = "\r\n\r\n\0\r\nQUIT\n"sv;
constexpr std::size_t kV2FixedBytes = 16;
constexpr unsigned kVersion2 = 0x2;
constexpr unsigned kLocal = 0x0;
constexpr unsigned kProxied = 0x1;
constexpr unsigned kUnspecified = 0x0;
constexpr unsigned kInet = 0x1;
constexpr unsigned kInet6 = 0x2;
constexpr unsigned kFamilyLast = 0x3;
constexpr unsigned kStream = 0x1;
constexpr unsigned kDatagram = 0x2;

unsigned transport_number(Protocol transport) {
  return transport == Protocol::udp ? kDatagram : kStream;
}

// Writing.

bool both_v4(const AddressPair& addresses) {
  return addresses.client.ip.is_v4() && addresses.host.ip.is_v4();
}

std::string v6_text(const IpAddress& ip) { return (ip.is_v4() ? "::ffff:" : "") + ip.to_string(); }

std::string encode_v1(const AddressPair& addresses) {
  const auto& [client, host] = addresses;
  std::string line(kV1Start);
  line += both_v4(addresses) ? "TCP4 " + client.ip.to_string() + " " + host.ip.to_string()
                             : "TCP6 " + v6_text(client.ip) + " " + v6_text(host.ip);
  line += " " + std::to_string(client.port) + " " + std::to_string(host.port);
  return line.append(kV1End);
}

void append_number(std::string& bytes, std::size_t number) {
  bytes += static_cast<char>(number >> 8);
  bytes += static_cast<char>(number & 0xff);
}

void append_address(std::string& bytes, const IpAddress& ip, Family family) {
  if (ip.family() != family) bytes.append("\0\0\0\0\0\0\0\0\0\0\xff\xff"sv);
  for (const std::uint8_t byte : ip.bytes()) bytes += static_cast<char>(byte);
}

std::string encode_v2(Protocol transport, const AddressPair& addresses) {
  const Family family = both_v4(addresses) ? Family::v4 : Family::v6;
  std::string block;
  for (const Endpoint& end : {addresses.client, addresses.host}) {
    append_address(block, end.ip, family);
  }
  for (const Endpoint& end : {addresses.client, addresses.host}) append_number(block, end.port);

  std::string header(kV2Signature);
  header += static_cast<char>(kVersion2 << 4 | kProxied);
  const unsigned family_number = family == Family::v4 ? kInet : kInet6;
  header += static_cast<char>(family_number << 4 | transport_number(transport));
  append_number(header, block.size());
  return header + block;
}

// Reading.

/// The next word of the line, without the one space that ends it.
std::string_view take_word(std::string_view& line) {
  const std::size_t end = std::min(line.find(' '), line.size());
  const std::string_view word = line.substr(0, end);
  line.remove_prefix(std::min(end + 1, line.size()));
  return word;
}

/// "Heading zeroes are not permitted".
std::optional<std::uint16_t> read_port(std::string_view word) {
  if (word.size() > 1 && word.front() == '0') return std::nullopt;
  return parse_decimal<std::uint16_t>(word);
}

/// What stands between `PROXY ` and the end of the line.
Result<std::optional<AddressPair>> read_v1_words(std::string_view line) {
  const std::string_view all = line;
  const std::string_view family = take_word(line);
  if (family == "UNKNOWN") return std::nullopt;
  if (family != "TCP4" && family != "TCP6") return failed("its family is not TCP4 or TCP6");
  // Before the words are taken, since taking forgives a space too many at the end.
  if (std::ranges::count(all, ' ') != 4) return failed("it has not two addresses and two ports");
  AddressPair addresses;
  for (Endpoint* end : {&addresses.client, &addresses.host}) {
    const std::string_view word = take_word(line);
    const auto ip = IpAddress::parse(word);
    const bool is_v6 = word.find(':') != std::string_view::npos;
    if (!ip || is_v6 != (family == "TCP6")) return failed("an address is not one of its family");
    end->ip = *ip;
  }
  for (Endpoint* end : {&addresses.client, &addresses.host}) {
    const auto port = read_port(take_word(line));
    if (!port) return failed("a port is not a number from 0 to 65535");
    end->port = *port;
  }
  return addresses;
}

Result<std::optional<ProxyHeader>> read_v1(std::string_view bytes) {
  const std::string_view start = bytes.substr(0, kV1BytesMax);
  const std::size_t end = start.find_first_of(kV1End);
  if (end == std::string_view::npos) {
    if (start.size() == kV1BytesMax) return failed("its line does not end within 107 bytes");
    return std::nullopt;
  }
  const std::string_view ending = start.substr(end, kV1End.size());
  if (!kV1End.starts_with(ending)) return failed("its line does not end in CR LF");
  if (ending != kV1End) {
    if (start.size() == kV1BytesMax) return failed("its line does not end within 107 bytes");
    return std::nullopt;
  }
  const auto addresses = read_v1_words(start.substr(kV1Start.size(), end - kV1Start.size()));
  if (!addresses) return std::unexpected(addresses.error());
  return ProxyHeader{end + kV1End.size(), *addresses};
}

unsigned byte_at(std::string_view bytes, std::size_t index) {
  return static_cast<std::uint8_t>(bytes[index]);
}

std::uint16_t number_at(std::string_view bytes, std::size_t index) {
  return static_cast<std::uint16_t>(byte_at(bytes, index) << 8 | byte_at(bytes, index + 1));
}

AddressPair read_block(std::string_view block, Family family) {
  const std::size_t length = IpAddress::any(family).bytes().size();
  const auto address_at = [&](std::size_t index) {
    const auto* first = reinterpret_cast<const std::uint8_t*>(block.data() + index);
    return IpAddress::from_bytes(family, {first, length});
  };
  return {{address_at(0), number_at(block, 2 * length)},
          {address_at(length), number_at(block, 2 * length + 2)}};
}

/// How many bytes the two addresses and ports of a family take.
constexpr std::size_t block_bytes(unsigned family) {
  if (family == kInet) return 12;
  if (family == kInet6) return 36;
  return 0;
}

Result<std::optional<ProxyHeader>> read_v2(std::string_view bytes, Protocol transport) {
  if (bytes.size() < kV2FixedBytes) return std::nullopt;
  const unsigned version = byte_at(bytes, 12) >> 4;
  const unsigned command = byte_at(bytes, 12) & 0xf;
  const unsigned family = byte_at(bytes, 13) >> 4;
  const unsigned protocol = byte_at(bytes, 13) & 0xf;
  const std::size_t length = number_at(bytes, 14);
  if (version != kVersion2) return failed("its version is " + std::to_string(version));
  if (command != kLocal && command != kProxied) {
    return failed("its command is " + std::to_string(command));
  }
  if (kV2FixedBytes + length > kProxyHeaderBytesMax) {
    return failed("it is longer than " + std::to_string(kProxyHeaderBytesMax) + " bytes");
  }
  // The family of LOCAL is to be ignored.
  const bool proxied = command == kProxied;
  if (proxied && (family > kFamilyLast || protocol > kDatagram)) {
    return failed("its address family or transport is unknown");
  }
  const bool told = proxied && protocol != kUnspecified && block_bytes(family) > 0;
  if (told && length < block_bytes(family)) return failed("it is too short for its addresses");
  if (bytes.size() < kV2FixedBytes + length) return std::nullopt;

  ProxyHeader header{kV2FixedBytes + length, std::nullopt};
  // A front end may have a client's queries on a stream and pass them on as datagrams: dnsdist says
  // STREAM of those that came by TCP or TLS.
  if (told && (protocol == kStream || transport == Protocol::udp)) {
    header.addresses =
        read_block(bytes.substr(kV2FixedBytes), family == kInet ? Family::v4 : Family::v6);
  }
  return header;
}

/// Whether one is the beginning of the other.
bool agree(std::string_view bytes, std::string_view start) {
  return bytes.substr(0, start.size()) == start.substr(0, bytes.size());
}

}  // namespace

std::string encode_proxy_header(ProxyProtocol version, Protocol transport,
                                const AddressPair& addresses) {
  return version == ProxyProtocol::v1 ? encode_v1(addresses) : encode_v2(transport, addresses);
}

Result<std::optional<ProxyHeader>> read_proxy_header(std::string_view bytes, Protocol transport) {
  if (agree(bytes, kV2Signature)) return read_v2(bytes, transport);
  // Version 1 has no other transport than TCP.
  if (!agree(bytes, kV1Start) || transport != Protocol::tcp) {
    return failed("it begins as no PROXY header does");
  }
  return read_v1(bytes);
}

}  // namespace fairlead
