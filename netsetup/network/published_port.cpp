#include "netsetup/network/published_port.h"

namespace fairlead {
namespace {

constexpr std::string_view kSyntax =
    "[HOST-IP:]HOST-PORT[-END]:CONTAINER-PORT[-END][/tcp|udp|sctp], IPv6 addresses in brackets";

std::string quoted(std::string_view text) { return "\"" + std::string(text) + "\""; }

Result<IpAddress> parse_host(std::string_view field) {
  const bool bracketed = field.starts_with('[') && field.ends_with(']');
  const std::string_view text = bracketed ? field.substr(1, field.size() - 2) : field;
  const auto address = IpAddress::parse(text);
  if (!address || bracketed != text.contains(':'))
    return failed(quoted(field) + " is no IP address");
  if (address->is_multicast()) return failed("the host address is a multicast address");
  return *address;
}

Result<PublishedPort> parse_port(std::string_view text) {
  PublishedPort port;
  if (const std::size_t slash = text.rfind('/'); slash != std::string_view::npos) {
    const std::string_view name = text.substr(slash + 1);
    const auto protocol = parse_protocol(name);
    if (!protocol) return failed(quoted(name) + " is no protocol");
    port.protocol = *protocol;
    text = text.substr(0, slash);
  }

  const std::size_t container_colon = text.rfind(':');
  if (container_colon == std::string_view::npos) return failed("a part is missing");
  const auto container_ports = PortRange::parse(text.substr(container_colon + 1));
  if (!container_ports) return std::unexpected(container_ports.error());
  port.container_ports = *container_ports;
  text = text.substr(0, container_colon);

  if (const std::size_t host_colon = text.rfind(':'); host_colon != std::string_view::npos) {
    const auto host_ip = parse_host(text.substr(0, host_colon));
    if (!host_ip) return std::unexpected(host_ip.error());
    port.host_ip = *host_ip;
    text = text.substr(host_colon + 1);
  }
  const auto host_ports = PortRange::parse(text);
  if (!host_ports) return std::unexpected(host_ports.error());
  port.host_ports = *host_ports;

  if (port.host_ports.size() != port.container_ports.size()) {
    return failed(std::to_string(port.host_ports.size()) + " host ports cannot lead to " +
                  std::to_string(port.container_ports.size()) + " container ports");
  }
  return port;
}

}  // namespace

Result<PublishedPort> PublishedPort::parse(std::string_view text) {
  auto port = parse_port(text);
  if (port) return port;
  return failed(quoted(text) + ": " + port.error().message + "; accepted: " + std::string(kSyntax));
}

std::string PublishedPort::to_string() const {
  std::string text;
  if (host_ip) text = host_ip->is_v4() ? host_ip->to_string() : "[" + host_ip->to_string() + "]";
  if (host_ip) text += ":";
  text += host_ports.to_string() + ":" + container_ports.to_string() + "/";
  return text + std::string(protocol_name(protocol));
}

bool PublishedPort::overlaps(const PublishedPort& other) const {
  return protocol == other.protocol && host_ports.overlaps(other.host_ports) &&
         host_addresses_overlap(host_ip, other.host_ip);
}

bool PublishedPort::shares_sockets(const PublishedPort& other) const {
  const auto on_all = [](const std::optional<IpAddress>& ip) {
    return !ip || ip->is_unspecified();
  };
  return protocol == other.protocol &&
         (host_ip == other.host_ip || (on_all(host_ip) && on_all(other.host_ip)));
}

bool host_addresses_overlap(const std::optional<IpAddress>& a, const std::optional<IpAddress>& b) {
  if (!a || !b || *a == *b) return true;
  return a->family() == b->family() && (a->is_unspecified() || b->is_unspecified());
}

}  // namespace fairlead
