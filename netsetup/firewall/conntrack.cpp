#include "netsetup/firewall/conntrack.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <bitset>
#include <cerrno>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

// Its enumerations end in commas and its macros cast as C does.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#pragma GCC diagnostic pop

#include "proxy/net/own_addresses.h"

namespace fairlead {
namespace {

using Handle = std::unique_ptr<nfct_handle, decltype(&::nfct_close)>;
using Flow = std::unique_ptr<nf_conntrack, decltype(&::nfct_destroy)>;

/// The flows looked for, and those found.
class Search {
 public:
  explicit Search(std::span<const PublishedPort> ports) : own_addresses_(own_addresses()) {
    for (const PublishedPort& port : ports) {
      if (port.protocol != Protocol::udp) continue;
      for (std::uint32_t number = port.host_ports.first; number <= port.host_ports.last; ++number) {
        ports_[port.host_ip].set(number);
      }
    }
  }

  bool empty() const { return ports_.empty(); }
  const std::vector<Flow>& found() const { return found_; }

  /// nfct_callback_register's.
  static int look_at(nf_conntrack_msg_type /*type*/, nf_conntrack* flow, void* search) {
    static_cast<Search*>(search)->look_at(flow);
    return NFCT_CB_CONTINUE;
  }

 private:
  void look_at(const nf_conntrack* flow) {
    if (::nfct_get_attr_u8(flow, ATTR_ORIG_L4PROTO) != IPPROTO_UDP) return;
    const bool v4 = ::nfct_get_attr_u8(flow, ATTR_ORIG_L3PROTO) == AF_INET;
    const auto* bytes = static_cast<const std::uint8_t*>(
        ::nfct_get_attr(flow, v4 ? ATTR_ORIG_IPV4_DST : ATTR_ORIG_IPV6_DST));
    if (bytes == nullptr) return;
    const IpAddress to =
        IpAddress::from_bytes(v4 ? Family::v4 : Family::v6, {bytes, v4 ? 4U : 16U});
    if (!is_published(to, ntohs(::nfct_get_attr_u16(flow, ATTR_ORIG_PORT_DST)))) return;
    if (Flow copy(::nfct_clone(flow), &::nfct_destroy); copy) found_.push_back(std::move(copy));
  }

  bool is_published(const IpAddress& to, std::uint16_t port) const {
    if (has(to, port)) return true;
    // Whoever passes through this host to the same port elsewhere is none of ours.
    return (has(std::nullopt, port) || has(IpAddress::any(to.family()), port)) &&
           (to.is_loopback() || std::ranges::find(own_addresses_, to) != own_addresses_.end());
  }

  bool has(const std::optional<IpAddress>& host_ip, std::uint16_t port) const {
    const auto ports = ports_.find(host_ip);
    return ports != ports_.end() && ports->second.test(port);
  }

  std::map<std::optional<IpAddress>, std::bitset<65536>> ports_;
  std::vector<IpAddress> own_addresses_;
  std::vector<Flow> found_;
};

}  // namespace

Result<void> forget_udp(std::span<const PublishedPort> ports) {
  Search search(ports);
  if (search.empty()) return {};
  const Handle handle(::nfct_open(CONNTRACK, 0), &::nfct_close);
  if (!handle) return failed("conntrack: open", errno);
  ::nfct_callback_register(handle.get(), NFCT_T_ALL, &Search::look_at, &search);
  for (const std::uint32_t family : {std::uint32_t{AF_INET}, std::uint32_t{AF_INET6}}) {
    if (::nfct_query(handle.get(), NFCT_Q_DUMP, &family) < 0)
      return failed("conntrack: list", errno);
  }
  ::nfct_callback_unregister(handle.get());
  for (const Flow& flow : search.found()) {
    // It may have ended by itself meanwhile.
    if (::nfct_query(handle.get(), NFCT_Q_DESTROY, flow.get()) < 0 && errno != ENOENT) {
      return failed("conntrack: delete a flow", errno);
    }
  }
  return {};
}

}  // namespace fairlead
