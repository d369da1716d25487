#include "proxy/net/proxy_header.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace fairlead {
namespace {

using namespace std::string_literals;
using ::testing::HasSubstr;

constexpr auto kTcp = Protocol::tcp;
constexpr auto kUdp = Protocol::udp;
const std::string kSignature = "\r\n\r\n\0\r\nQUIT\n"s;

Endpoint endpoint(const char* ip, int port) {
  return {*IpAddress::parse(ip), static_cast<std::uint16_t>(port)};
}

const AddressPair kV4Pair{endpoint("192.168.0.1", 56324), endpoint("192.168.0.11", 443)};
const AddressPair kV6Pair{endpoint("2001:db8::1", 65535), endpoint("2001:db8::2", 1)};
const std::string kV4Block = "\xc0\xa8\x00\x01\xc0\xa8\x00\x0b\xdc\x04\x01\xbb"s;
const std::string kV6Block =
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"s
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\xff\xff\0\x01"s;

/// A version 2 header as bytes: what follows the signature.
std::string v2(int command, int family, std::string_view rest) {
  std::string bytes = kSignature;
  bytes += static_cast<char>(command);
  bytes += static_cast<char>(family);
  bytes += static_cast<char>(rest.size() >> 8);
  bytes += static_cast<char>(rest.size() & 0xff);
  return bytes.append(rest);
}

/// The header with which `bytes` begin. REQUIRES: there is one.
ProxyHeader header_of(std::string_view bytes, Protocol transport = kTcp) {
  const auto read = read_proxy_header(bytes, transport);
  if (!read) {
    ADD_FAILURE() << read.error().message;
    return {};
  }
  if (!*read) {
    ADD_FAILURE() << "not complete";
    return {};
  }
  return **read;
}

std::string refusal(std::string_view bytes, Protocol transport = kTcp) {
  const auto read = read_proxy_header(bytes, transport);
  return read ? "accepted" : read.error().message;
}

TEST(ProxyHeaderWritten, Version1IsALine) {
  EXPECT_EQ(encode_proxy_header(ProxyProtocol::v1, kTcp, kV4Pair),
            "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n");
  EXPECT_EQ(encode_proxy_header(ProxyProtocol::v1, kTcp, kV6Pair),
            "PROXY TCP6 2001:db8::1 2001:db8::2 65535 1\r\n");
}

TEST(ProxyHeaderWritten, Version2IsBinary) {
  EXPECT_EQ(encode_proxy_header(ProxyProtocol::v2, kTcp, kV4Pair), v2(0x21, 0x11, kV4Block));
  EXPECT_EQ(encode_proxy_header(ProxyProtocol::v2, kTcp, kV6Pair), v2(0x21, 0x21, kV6Block));
  EXPECT_EQ(encode_proxy_header(ProxyProtocol::v2, kUdp, kV4Pair), v2(0x21, 0x12, kV4Block));
  EXPECT_EQ(encode_proxy_header(ProxyProtocol::v2, kUdp, kV6Pair), v2(0x21, 0x22, kV6Block));
}

TEST(ProxyHeaderWritten, TwoFamiliesBecomeIpv6) {
  const AddressPair mixed{endpoint("192.0.2.1", 7), endpoint("::", 8)};
  EXPECT_EQ(encode_proxy_header(ProxyProtocol::v1, kTcp, mixed),
            "PROXY TCP6 ::ffff:192.0.2.1 :: 7 8\r\n");
  const std::string bytes = encode_proxy_header(ProxyProtocol::v2, kTcp, mixed);
  EXPECT_EQ(bytes, v2(0x21, 0x21,
                      "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\x00\x02\x01"s + std::string(16, '\0') +
                          "\0\x07\0\x08"s));
  EXPECT_EQ(header_of(bytes).addresses, mixed);
}

TEST(ProxyHeaderRead, WhatWasWritten) {
  for (const ProxyProtocol version : {ProxyProtocol::v1, ProxyProtocol::v2}) {
    for (const AddressPair& pair : {kV4Pair, kV6Pair}) {
      const std::string bytes = encode_proxy_header(version, kTcp, pair);
      EXPECT_EQ(header_of(bytes), (ProxyHeader{bytes.size(), pair}));
      EXPECT_EQ(header_of(bytes + "GET /"), (ProxyHeader{bytes.size(), pair}));
      EXPECT_EQ(header_of(bytes + bytes), (ProxyHeader{bytes.size(), pair}));
    }
  }
  const std::string datagram = encode_proxy_header(ProxyProtocol::v2, kUdp, kV6Pair);
  EXPECT_EQ(header_of(datagram + "query", kUdp), (ProxyHeader{datagram.size(), kV6Pair}));
}

TEST(ProxyHeaderRead, IsIncompleteAtEveryByteBeforeItsLast) {
  const std::string long_v2 = v2(0x21, 0x11, kV4Block + std::string(300, 't'));
  for (const std::string& bytes :
       {encode_proxy_header(ProxyProtocol::v1, kTcp, kV4Pair),
        encode_proxy_header(ProxyProtocol::v2, kTcp, kV6Pair), "PROXY UNKNOWN\r\n"s, long_v2}) {
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      const auto read = read_proxy_header(std::string_view(bytes).substr(0, size), kTcp);
      ASSERT_TRUE(read) << size << ": " << read.error().message;
      EXPECT_FALSE(*read) << size;
    }
    EXPECT_EQ(header_of(bytes).size_bytes, bytes.size());
  }
}

TEST(ProxyHeaderRead, Version1Unknown) {
  EXPECT_EQ(header_of("PROXY UNKNOWN\r\n"), (ProxyHeader{15, {}}));
  // "must ignore anything presented before the CRLF"
  EXPECT_EQ(header_of("PROXY UNKNOWN ffff::1 nonsense  65536\r\nrest"), (ProxyHeader{39, {}}));
  const std::string longest = "PROXY UNKNOWN " + std::string(91, 'f') + "\r\n";
  EXPECT_EQ(header_of(longest), (ProxyHeader{107, {}}));
}

TEST(ProxyHeaderRead, Version1Extremes) {
  EXPECT_EQ(header_of("PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n").addresses,
            (AddressPair{endpoint("255.255.255.255", 65535), endpoint("0.0.0.0", 0)}));
  const std::string all = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
  EXPECT_EQ(header_of("PROXY TCP6 " + all + " " + all + " 65535 65535\r\n").size_bytes, 104U);
  // A client of a dual-stack socket, as some senders write it.
  EXPECT_EQ(header_of("PROXY TCP6 ::ffff:192.0.2.1 ::FFFF:192.0.2.2 1 2\r\n").addresses,
            (AddressPair{endpoint("192.0.2.1", 1), endpoint("192.0.2.2", 2)}));
}

TEST(ProxyHeaderRead, Version1Refusals) {
  const std::string begins = "it begins as no PROXY header does";
  for (const std::string& bytes : {"GET / HTTP/1.1\r\n"s, "proxy TCP4"s, "PROXY\r\n"s, "PROXYTCP4"s,
                                   "\r\nPROXY"s, "\n"s, "\0"s}) {
    EXPECT_EQ(refusal(bytes), begins) << bytes;
  }
  const std::string family = "its family is not TCP4 or TCP6";
  EXPECT_EQ(refusal("PROXY \r\n"), family);
  EXPECT_EQ(refusal("PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n"), family);
  EXPECT_EQ(refusal("PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n"), family);
  EXPECT_EQ(refusal("PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n"), family);
  EXPECT_EQ(refusal("PROXY UNKNOWNS\r\n"), family);
  const std::string words = "it has not two addresses and two ports";
  EXPECT_EQ(refusal("PROXY TCP4\r\n"), words);
  EXPECT_EQ(refusal("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n"), words);
  EXPECT_EQ(refusal("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n"), words);
  EXPECT_EQ(refusal("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n"), words);
  const std::string address = "an address is not one of its family";
  EXPECT_EQ(refusal("PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n"), address);
  EXPECT_EQ(refusal("PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n"), address);
  EXPECT_EQ(refusal("PROXY TCP4 1.2.3.4 ::1 1 2\r\n"), address);
  EXPECT_EQ(refusal("PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n"), address);
  EXPECT_EQ(refusal("PROXY TCP6 ::1::2 ::1 1 2\r\n"), address);
  EXPECT_EQ(refusal("PROXY TCP4  1.2.3.4 1 2\r\n"), address);
  const std::string port = "a port is not a number from 0 to 65535";
  for (const char* bad :
       {"65536", "-1", "+1", "01", "00", "1.", "0x1", "", "99999999999999999999"}) {
    EXPECT_EQ(refusal("PROXY TCP4 1.2.3.4 1.2.3.4 1 "s + bad + "\r\n"), port) << bad;
    EXPECT_EQ(refusal("PROXY TCP4 1.2.3.4 1.2.3.4 "s + bad + " 1\r\n"), port) << bad;
  }
}

TEST(ProxyHeaderRead, Version1EndsInCrLfOnly) {
  const std::string ending = "its line does not end in CR LF";
  EXPECT_EQ(refusal("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n"), ending);
  EXPECT_EQ(refusal("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rx"), ending);
  EXPECT_EQ(refusal("PROXY UNKNOWN\r\r\n"), ending);
  EXPECT_EQ(refusal("PROXY UNKNOWN\n\r\n"), ending);
  const std::string too_long = "its line does not end within 107 bytes";
  EXPECT_EQ(refusal("PROXY UNKNOWN " + std::string(93, 'x')), too_long);
  EXPECT_EQ(refusal("PROXY UNKNOWN " + std::string(92, 'x') + "\r\n"), too_long);
  EXPECT_EQ(refusal("PROXY UNKNOWN " + std::string(92, 'x') + "\r"), too_long);
  EXPECT_EQ(refusal("PROXY UNKNOWN " + std::string(5'000, 'x')), too_long);
}

TEST(ProxyHeaderRead, Version2ThatTellsNoAddresses) {
  EXPECT_EQ(header_of(v2(0x20, 0x00, "")), (ProxyHeader{16, {}}));
  // LOCAL: "discard the protocol block including the family".
  EXPECT_EQ(header_of(v2(0x20, 0x11, kV4Block)), (ProxyHeader{28, {}}));
  EXPECT_EQ(header_of(v2(0x20, 0xff, "xyz")), (ProxyHeader{19, {}}));
  EXPECT_EQ(header_of(v2(0x21, 0x00, "")), (ProxyHeader{16, {}}));
  EXPECT_EQ(header_of(v2(0x21, 0x00, kV4Block)), (ProxyHeader{28, {}}));
  EXPECT_EQ(header_of(v2(0x21, 0x10, "")), (ProxyHeader{16, {}}));
  EXPECT_EQ(header_of(v2(0x21, 0x01, "")), (ProxyHeader{16, {}}));
  EXPECT_EQ(header_of(v2(0x21, 0x31, std::string(216, 'u'))), (ProxyHeader{232, {}}));
  // Another transport than that of the connection.
  EXPECT_EQ(header_of(v2(0x21, 0x12, kV4Block)), (ProxyHeader{28, {}}));
  EXPECT_EQ(header_of(v2(0x20, 0x12, kV4Block), kUdp), (ProxyHeader{28, {}}));
  EXPECT_EQ(header_of(v2(0x21, 0x31, std::string(216, 'u')), kUdp), (ProxyHeader{232, {}}));
}

TEST(ProxyHeaderRead, Version2SkipsExtensions) {
  const std::string extensions = "\x04\x00\x02xx\x20\x01\x00"s + std::string(256, 's');
  const std::string bytes = v2(0x21, 0x11, kV4Block + extensions);
  EXPECT_EQ(header_of(bytes + "GET"), (ProxyHeader{bytes.size(), kV4Pair}));
  const std::string longest = v2(0x21, 0x21, kV6Block + std::string(4096 - 16 - 36, 's'));
  EXPECT_EQ(header_of(longest), (ProxyHeader{4096, kV6Pair}));
}

TEST(ProxyHeaderRead, Version2Refusals) {
  EXPECT_EQ(refusal(kSignature + "\x11\x11\0\x0c"s + kV4Block), "its version is 1");
  EXPECT_EQ(refusal(v2(0x31, 0x11, kV4Block)), "its version is 3");
  EXPECT_EQ(refusal(v2(0x22, 0x11, kV4Block)), "its command is 2");
  EXPECT_EQ(refusal(v2(0x2f, 0x11, kV4Block)), "its command is 15");
  for (const int family : {0x41, 0xf1, 0x13, 0x1f}) {
    EXPECT_EQ(refusal(v2(0x21, family, kV4Block)), "its address family or transport is unknown");
  }
  EXPECT_EQ(refusal(v2(0x21, 0x11, kV4Block.substr(1))), "it is too short for its addresses");
  EXPECT_EQ(refusal(v2(0x21, 0x21, kV6Block.substr(1))), "it is too short for its addresses");
  EXPECT_EQ(refusal(v2(0x21, 0x21, kV4Block)), "it is too short for its addresses");
  const std::string too_long = "it is longer than 4096 bytes";
  EXPECT_EQ(refusal(v2(0x21, 0x11, std::string(4081, 'x'))), too_long);
  EXPECT_EQ(refusal(kSignature + "\x20\0\xff\xff"s), too_long);
  EXPECT_THAT(refusal("\r\n\r\n\0\r\nQUIT\r"s), HasSubstr("begins as no"));
}

TEST(ProxyHeaderRead, ADatagramMayBeForAClientOnAStream) {
  EXPECT_EQ(header_of(v2(0x21, 0x12, kV4Block), kUdp), (ProxyHeader{28, kV4Pair}));
  EXPECT_EQ(header_of(v2(0x21, 0x11, kV4Block), kUdp), (ProxyHeader{28, kV4Pair}));
  EXPECT_EQ(header_of(v2(0x21, 0x21, kV6Block), kUdp), (ProxyHeader{52, kV6Pair}));
}

TEST(ProxyHeaderRead, DatagramsHaveVersion2Only) {
  EXPECT_THAT(refusal("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n", kUdp), HasSubstr("begins as no"));
}

}  // namespace
}  // namespace fairlead
