// Which clients may use a published port (`--allow`, `--deny`).

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "proxy/mapping/error.h"
#include "proxy/mapping/port_range.h"
#include "proxy/mapping/protocol.h"
#include "proxy/mapping/subnet.h"

namespace fairlead {

/// One prefix of one option.
struct AccessRule {
  bool allows = false;
  Subnet clients;
  /// Of the host; nothing: all.
  std::optional<PortRange> ports{};
  /// Nothing: all.
  std::optional<Protocol> protocol{};

  bool operator==(const AccessRule&) const = default;
};

/// `[PORT[-END][/tcp|udp|sctp]=]CIDR[,CIDR]...`, as in `10.0.0.0/8,fd00::/8` or
/// `8080/tcp=192.0.2.1`. The error says what is accepted.
Result<std::vector<AccessRule>> parse_access_rules(bool allows, std::string_view text);

/// The rules of one published port. Of those that cover a client the one with the longest prefix
/// decides, and a denial between two that are equally long. A client that none covers is served
/// unless there are allowances: then it is not among those meant.
class AccessList {
 public:
  /// Admits everyone.
  AccessList() = default;
  AccessList(std::span<const AccessRule> rules, Protocol protocol, std::uint16_t host_port);

  bool empty() const { return rules_.empty(); }
  bool admits(const IpAddress& client) const;

 private:
  /// In the order in which they decide.
  std::vector<AccessRule> rules_;
};

}  // namespace fairlead
