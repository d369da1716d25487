#include "proxy/mapping/mapping.h"

#include <algorithm>
#include <vector>

namespace fairlead {
namespace {

constexpr std::string_view kSyntax =
    "[HOST-IP:]HOST-PORT[-END]:CONTAINER-IP:CONTAINER-PORT[-END][/tcp|udp|sctp], IPv6 addresses in "
    "brackets";

std::string quoted(std::string_view text) { return "\"" + std::string(text) + "\""; }

/// The fields between colons; a colon inside brackets does not count.
std::vector<std::string_view> split_fields(std::string_view text) {
  std::vector<std::string_view> fields;
  std::size_t begin = 0;
  bool in_brackets = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '[') in_brackets = true;
    if (text[i] == ']') in_brackets = false;
    if (text[i] == ':' && !in_brackets) {
      fields.push_back(text.substr(begin, i - begin));
      begin = i + 1;
    }
  }
  fields.push_back(text.substr(begin));
  return fields;
}

/// `192.0.2.1` or `[2001:db8::1]`.
Result<IpAddress> parse_address(std::string_view field) {
  const bool bracketed = field.size() >= 2 && field.front() == '[' && field.back() == ']';
  const std::string_view text = bracketed ? field.substr(1, field.size() - 2) : field;
  const auto address = IpAddress::parse(text);
  if (!address || bracketed != (text.find(':') != std::string_view::npos)) {
    return failed(quoted(field) + " is no IP address");
  }
  return *address;
}

std::string address_text(const IpAddress& address) {
  return address.is_v4() ? address.to_string() : "[" + address.to_string() + "]";
}

Result<Mapping> parse_mapping(std::string_view text) {
  Mapping mapping;
  if (const std::size_t slash = text.rfind('/'); slash != std::string_view::npos) {
    const std::string_view name = text.substr(slash + 1);
    const auto protocol = parse_protocol(name);
    if (!protocol) return failed(quoted(name) + " is no protocol");
    mapping.protocol = *protocol;
    text = text.substr(0, slash);
  }

  const auto fields = split_fields(text);
  if (fields.size() < 3) return failed("a part is missing");
  if (fields.size() > 4) return failed("too many parts");
  const std::size_t offset = fields.size() - 3;

  if (offset == 1) {
    const auto host_ip = parse_address(fields[0]);
    if (!host_ip) return std::unexpected(host_ip.error());
    if (host_ip->is_multicast()) return failed("the host address is a multicast address");
    mapping.host_ip = *host_ip;
  }
  const auto host_ports = PortRange::parse(fields[offset]);
  if (!host_ports) return std::unexpected(host_ports.error());
  mapping.host_ports = *host_ports;

  const auto container_ip = parse_address(fields[offset + 1]);
  if (!container_ip) return std::unexpected(container_ip.error());
  if (container_ip->is_unspecified() || container_ip->is_multicast()) {
    return failed("the container address " + container_ip->to_string() +
                  " is not that of one host");
  }
  mapping.container_ip = *container_ip;
  const auto container_ports = PortRange::parse(fields[offset + 2]);
  if (!container_ports) return std::unexpected(container_ports.error());
  mapping.container_ports = *container_ports;

  if (host_ports->size() != container_ports->size()) {
    return failed(std::to_string(host_ports->size()) + " host ports cannot lead to " +
                  std::to_string(container_ports->size()) + " container ports");
  }
  return mapping;
}

/// Whether a socket bound to `listening` (nothing: both wildcards) takes what is sent to `address`.
bool listens_on(const std::optional<IpAddress>& listening, const IpAddress& address) {
  return !listening || *listening == address ||
         (listening->is_unspecified() && listening->family() == address.family());
}

bool addresses_overlap(const Mapping& a, const Mapping& b) {
  if (!a.host_ip || !b.host_ip) return true;
  return listens_on(a.host_ip, *b.host_ip) || listens_on(b.host_ip, *a.host_ip);
}

/// Whether what `from` sends to its container arrives at `to`.
bool leads_to(const Mapping& from, const Mapping& to, std::span<const IpAddress> own_addresses) {
  const IpAddress& target = from.container_ip;
  const bool wildcard = !to.host_ip || to.host_ip->is_unspecified();
  const bool own =
      target.is_loopback() || std::ranges::find(own_addresses, target) != own_addresses.end();
  return (own || !wildcard) && listens_on(to.host_ip, target);
}

/// Ports of one protocol that a mapping listens on, or leads to.
struct Claim {
  const Mapping* mapping;
  PortRange ports;
  bool listens;
};

Result<void> check_pair(const Claim& a, const Claim& b, std::span<const IpAddress> own_addresses) {
  const PortRange shared{std::max(a.ports.first, b.ports.first),
                         std::min(a.ports.last, b.ports.last)};
  const std::string ports =
      shared.to_string() + "/" + std::string(protocol_name(a.mapping->protocol));
  if (a.listens && b.listens) {
    if (!addresses_overlap(*a.mapping, *b.mapping)) return {};
    return failed(quoted(a.mapping->to_string()) + " and " + quoted(b.mapping->to_string()) +
                  " both listen on " + ports);
  }
  const Mapping& from = a.listens ? *b.mapping : *a.mapping;
  const Mapping& to = a.listens ? *a.mapping : *b.mapping;
  if (!leads_to(from, to, own_addresses)) return {};
  if (&from == &to) {
    return failed(quoted(from.to_string()) + " leads to itself at " + ports +
                  " and would relay for ever");
  }
  return failed(quoted(from.to_string()) + " leads to " + ports + ", where " +
                quoted(to.to_string()) + " listens: lead it to the container instead");
}

}  // namespace

Result<Mapping> Mapping::parse(std::string_view text) {
  auto mapping = parse_mapping(text);
  if (mapping) return mapping;
  return failed(quoted(text) + ": " + mapping.error().message +
                "; accepted: " + std::string(kSyntax));
}

std::string Mapping::to_string() const {
  std::string text;
  if (host_ip) text = address_text(*host_ip) + ":";
  text += host_ports.to_string() + ":" + address_text(container_ip) + ":";
  return text + container_ports.to_string() + "/" + std::string(protocol_name(protocol));
}

Result<void> check_mappings(std::span<const Mapping> mappings,
                            std::span<const IpAddress> own_addresses) {
  std::vector<Claim> claims;
  claims.reserve(mappings.size() * 2);
  for (const Mapping& mapping : mappings) {
    claims.push_back({&mapping, mapping.host_ports, true});
    claims.push_back({&mapping, mapping.container_ports, false});
  }
  // In order of their first port, so that each is compared only with those it shares ports with.
  std::ranges::stable_sort(claims, [](const Claim& a, const Claim& b) {
    if (a.mapping->protocol != b.mapping->protocol)
      return a.mapping->protocol < b.mapping->protocol;
    return a.ports.first < b.ports.first;
  });
  for (std::size_t i = 0; i < claims.size(); ++i) {
    const Claim& a = claims[i];
    for (std::size_t j = i + 1; j < claims.size(); ++j) {
      const Claim& b = claims[j];
      if (b.mapping->protocol != a.mapping->protocol || b.ports.first > a.ports.last) break;
      if (!a.listens && !b.listens) continue;
      if (auto checked = check_pair(a, b, own_addresses); !checked) return checked;
    }
  }
  return {};
}

}  // namespace fairlead
