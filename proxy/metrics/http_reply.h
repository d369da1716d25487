// As much of an HTTP server as a scrape takes: GET of one resource, then the end of the connection
// (RFC 9112). A library for HTTP brings loops and threads of its own, which a process of one loop
// that may hardly make a system call has no place for.

#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace fairlead {

/// Longest request, its header fields included.
inline constexpr std::size_t kRequestBytesMax = 8UL * 1024;
inline constexpr std::string_view kMetricsTarget = "/metrics";

/// What to send and then close the connection. Nothing: the request has not come completely.
/// `exposition` is called when it is what was asked for.
std::optional<std::string> http_reply(std::string_view request,
                                      const std::function<std::string()>& exposition);

}  // namespace fairlead
