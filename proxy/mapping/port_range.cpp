#include "proxy/mapping/port_range.h"

#include <optional>

#include "proxy/mapping/decimal.h"

namespace fairlead {
namespace {

std::optional<std::uint16_t> parse_port(std::string_view text) {
  const auto port = parse_decimal<std::uint16_t>(text);
  return port == 0 ? std::nullopt : port;
}

std::unexpected<Error> no_port(std::string_view whole, std::string_view part) {
  std::string message = "\"" + std::string(whole) + "\": ";
  message += part.empty() ? "a port is missing" : "\"" + std::string(part) + "\" is no port";
  return failed(message + "; accepted: 1 to 65535, or FIRST-LAST");
}

}  // namespace

Result<PortRange> PortRange::parse(std::string_view text) {
  const std::size_t dash = text.find('-');
  const std::string_view first_text = text.substr(0, dash);
  const std::string_view last_text =
      dash == std::string_view::npos ? first_text : text.substr(dash + 1);

  const auto first = parse_port(first_text);
  if (!first) return no_port(text, first_text);
  const auto last = parse_port(last_text);
  if (!last) return no_port(text, last_text);
  if (*last < *first) {
    return failed("\"" + std::string(text) + "\": the range ends before it begins");
  }
  return PortRange{*first, *last};
}

std::string PortRange::to_string() const {
  std::string text = std::to_string(first);
  if (last != first) text += "-" + std::to_string(last);
  return text;
}

}  // namespace fairlead
