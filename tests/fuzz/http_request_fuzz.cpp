// Requests for metrics, as they come in two pieces.

#include "proxy/metrics/http_reply.h"
#include "tests/fuzz/fuzzed_bytes.h"

using namespace fairlead;

namespace {

constexpr std::string_view kFigures = "figures\n";

std::optional<std::string> reply_to(std::string_view request) {
  return http_reply(request, [] { return std::string(kFigures); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes = text_of(data + 1, size - 1);
  const auto reply = reply_to(bytes);
  if (!reply) {
    // It is waited for: it must not be for ever.
    demand(bytes.size() < kRequestBytesMax);
    return 0;
  }
  demand(reply->starts_with("HTTP/1.1 "));
  const std::size_t body = reply->find("\r\n\r\n");
  demand(body != std::string::npos);
  const bool served = reply->starts_with("HTTP/1.1 200 ");
  demand(served == reply->ends_with("\r\n\r\nfigures\n"));
  if (served) demand(bytes.starts_with("GET /metrics"));
  // Nothing that was asked goes into the reply.
  demand(reply->size() < 300);
  // What has come first has been waited with or answered in the same way.
  const auto earlier = reply_to(bytes.substr(0, bytes.size() * data[0] / 256));
  demand(!earlier || *earlier == *reply || bytes.size() >= kRequestBytesMax);
  return 0;
}
