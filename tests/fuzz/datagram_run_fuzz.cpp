// Runs of datagrams. Three bytes are a datagram: two for its size, one for how many the kernel
// merged. The first byte of all chooses a prefix.

#include <algorithm>

#include "proxy/relay/datagram_run.h"
#include "tests/fuzz/fuzzed_bytes.h"

using namespace fairlead;

namespace {

std::array<std::byte, kDatagramBytesMax> memory;

/// A run must be one that UDP_SEGMENT takes.
void check(const DatagramRun& run, std::string_view prefix) {
  std::size_t bytes = 0;
  for (const iovec& piece : run.pieces()) bytes += piece.iov_len;
  demand(bytes == run.payload_bytes() + run.datagrams() * prefix.size());
  if (run.datagrams() < 2) return;
  demand(run.datagrams() <= DatagramRun::kDatagramsMax && bytes <= kDatagramBytesMax);
  demand((bytes + run.segment_size() - 1) / run.segment_size() == run.datagrams());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view prefix = data[0] % 2 == 0 ? "" : "0123456789abcdef0123456789ab";
  DatagramRun run(prefix);
  for (std::size_t i = 1; i + 3 <= size; i += 3) {
    const std::uint32_t segment = data[i] * 256U + data[i + 1];
    // With a prefix the sender splits what was merged.
    const std::uint32_t merged = prefix.empty() ? 1U + data[i + 2] % 64U : 1U;
    const auto all =
        std::min(std::uint32_t{kDatagramBytesMax}, static_cast<std::uint32_t>(segment * merged));
    const Message message{memory.data(), all, std::min(segment, all)};
    if (!run.add(message)) {
      check(run, prefix);
      run.clear();
      demand(run.add(message));
    }
    check(run, prefix);
  }
  return 0;
}
