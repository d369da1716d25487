// PROXY headers. The first byte chooses the transport.

#include "proxy/net/proxy_header.h"
#include "tests/fuzz/fuzzed_bytes.h"

using namespace fairlead;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Protocol transport = data[0] % 2 == 0 ? Protocol::tcp : Protocol::udp;
  const std::string_view bytes = text_of(data + 1, size - 1);
  const auto read = read_proxy_header(bytes, transport);
  if (!read) return 0;
  const std::optional<ProxyHeader>& header = *read;
  if (!header) {
    // A connection that sends this is waited for: it must not be for ever.
    demand(bytes.size() < kProxyHeaderBytesMax);
    return 0;
  }
  demand(header->size_bytes <= bytes.size() && header->size_bytes <= kProxyHeaderBytesMax);
  // What follows does not change it, and without its last byte it is not complete.
  demand(read_proxy_header(bytes.substr(0, header->size_bytes), transport).value() == header);
  demand(!read_proxy_header(bytes.substr(0, header->size_bytes - 1), transport).value());
  if (header->addresses) {
    const std::string encoded =
        encode_proxy_header(ProxyProtocol::v2, transport, *header->addresses);
    demand(read_proxy_header(encoded, transport).value()->addresses == header->addresses);
  }
  return 0;
}
