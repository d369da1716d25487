#include "proxy/metrics/http_reply.h"

#include <fmt/format.h>

namespace fairlead {
namespace {

std::string reply(std::string_view status, std::string_view fields, std::string_view body) {
  return fmt::format(
      "HTTP/1.1 {}\r\n{}Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
      "Content-Length: {}\r\nConnection: close\r\n\r\n{}",
      status, fields, body.size(), body);
}

/// Up to the next space, which is taken off, too.
std::string_view take_word(std::string_view& line) {
  const std::size_t end = line.find(' ');
  const std::string_view word = line.substr(0, end);
  line = end == std::string_view::npos ? std::string_view() : line.substr(end + 1);
  return word;
}

}  // namespace

std::optional<std::string> http_reply(std::string_view request,
                                      const std::function<std::string()>& exposition) {
  if (!request.contains("\r\n\r\n")) {
    if (request.size() < kRequestBytesMax) return std::nullopt;
    return reply("431 Request Header Fields Too Large", "", "the request is too long\n");
  }
  std::string_view line = request.substr(0, request.find("\r\n"));
  const std::string_view method = take_word(line);
  const std::string_view target = take_word(line);
  if (!line.starts_with("HTTP/1.")) return reply("400 Bad Request", "", "accepted: HTTP/1.1\n");
  if (target.substr(0, target.find('?')) != kMetricsTarget) {
    return reply("404 Not Found", "", fmt::format("accepted: {}\n", kMetricsTarget));
  }
  if (method != "GET") return reply("405 Method Not Allowed", "Allow: GET\r\n", "accepted: GET\n");
  return reply("200 OK", "", exposition());
}

}  // namespace fairlead
