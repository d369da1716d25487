// What the kernel answers to fairlead-net about links, addresses, routes and sockets. The input
// chooses what is in the answers; libnl puts them together, so that what is tested is what we read
// out of them and not libnl, which believes the kernel in the lengths within a route.

#include <linux/inet_diag.h>
#include <linux/rtnetlink.h>
#include <netlink/handlers.h>
#include <netlink/route/link/bridge.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <span>
#include <utility>

#include "netsetup/links/host_routes.h"
#include "netsetup/links/links.h"
#include "netsetup/proxies/listening_sockets.h"
#include "tests/fuzz/fuzzed_bytes.h"

using namespace fairlead;

namespace {

/// Numbers and bytes of the input, zeros when it has come to its end.
class Choices {
 public:
  explicit Choices(std::string_view bytes) : bytes_(bytes) {}

  bool empty() const { return bytes_.empty(); }
  std::uint8_t byte() {
    if (bytes_.empty()) return 0;
    const auto first = static_cast<std::uint8_t>(bytes_.front());
    bytes_.remove_prefix(1);
    return first;
  }
  std::string text(std::size_t size_max) {
    const std::string_view taken = bytes_.substr(0, std::min<std::size_t>(byte(), size_max));
    bytes_.remove_prefix(taken.size());
    return std::string(taken);
  }

 private:
  std::string_view bytes_;
};

NetlinkAddress address(Choices& choices) {
  constexpr std::array kFamilies{AF_INET, AF_INET6, AF_UNSPEC, AF_LLC};
  const int family = kFamilies[choices.byte() % kFamilies.size()];
  const std::string bytes = choices.text(16);
  NetlinkAddress built(nl_addr_build(family, bytes.data(), bytes.size()));
  nl_addr_set_prefixlen(built.get(), choices.byte());
  return built;
}

/// Null where libnl refuses what was chosen.
MessageHandle link_message(Choices& choices) {
  const bool is_bridge = choices.byte() % 2 == 0;
  const LinkHandle link(is_bridge ? rtnl_link_bridge_alloc() : rtnl_link_alloc());
  rtnl_link_set_ifindex(link.get(), choices.byte());
  if (choices.byte() % 4 != 0) rtnl_link_set_name(link.get(), choices.text(15).c_str());
  rtnl_link_set_flags(link.get(), choices.byte());
  rtnl_link_set_master(link.get(), choices.byte());
  rtnl_link_set_link(link.get(), choices.byte());
  const NetlinkAddress mac = address(choices);
  rtnl_link_set_addr(link.get(), mac.get());
  nl_msg* built = nullptr;
  rtnl_link_build_add_request(link.get(), 0, &built);
  return MessageHandle(built);
}

MessageHandle address_message(Choices& choices) {
  const AddressHandle entry(rtnl_addr_alloc());
  rtnl_addr_set_ifindex(entry.get(), choices.byte());
  const NetlinkAddress local = address(choices);
  rtnl_addr_set_local(entry.get(), local.get());
  rtnl_addr_set_prefixlen(entry.get(), choices.byte());
  rtnl_addr_set_scope(entry.get(), choices.byte() % 2 == 0 ? RT_SCOPE_UNIVERSE : choices.byte());
  nl_msg* built = nullptr;
  rtnl_addr_build_add_request(entry.get(), 0, &built);
  return MessageHandle(built);
}

MessageHandle route_message(Choices& choices) {
  const RouteHandle route(rtnl_route_alloc());
  rtnl_route_set_family(route.get(), choices.byte() % 2 == 0 ? AF_INET : choices.byte());
  const NetlinkAddress destination = address(choices);
  rtnl_route_set_dst(route.get(), destination.get());
  rtnl_route_set_type(route.get(), choices.byte() % 12);
  rtnl_route_set_table(route.get(), choices.byte());
  for (int hops = choices.byte() % 4; hops > 0; --hops) {
    rtnl_nexthop* hop = rtnl_route_nh_alloc();
    rtnl_route_nh_set_ifindex(hop, choices.byte());
    rtnl_route_add_nexthop(route.get(), hop);
  }
  nl_msg* built = nullptr;
  rtnl_route_build_add_request(route.get(), 0, &built);
  return MessageHandle(built);
}

/// As a dump of several messages.
std::string answer(std::string_view input) {
  Choices choices(input);
  std::string bytes;
  const auto append = [&bytes](nlmsghdr header, std::string_view payload) {
    header.nlmsg_len = static_cast<std::uint32_t>(sizeof(header) + payload.size());
    header.nlmsg_flags = NLM_F_MULTI;
    bytes.append(reinterpret_cast<const char*>(&header), sizeof(header)).append(payload);
    bytes.resize(NLMSG_ALIGN(bytes.size()));
  };
  while (!choices.empty()) {
    constexpr std::array kBuilders{link_message, address_message, route_message};
    const MessageHandle message = kBuilders[choices.byte() % kBuilders.size()](choices);
    if (!message) continue;
    const nlmsghdr* header = nlmsg_hdr(message.get());
    append(*header, {static_cast<const char*>(nlmsg_data(header)),
                     static_cast<std::size_t>(nlmsg_datalen(header))});
  }
  nlmsghdr done{};
  done.nlmsg_type = NLMSG_DONE;
  append(done, std::string_view("\0\0\0\0", 4));
  return bytes;
}

// libnl's own nl_send() and nl_recv(), which it lets its users replace.

std::string unread;

int send_nowhere(nl_sock* /*socket*/, nl_msg* message) {
  return static_cast<int>(nlmsg_hdr(message)->nlmsg_len);
}

int receive_answer(nl_sock* /*socket*/, sockaddr_nl* from, unsigned char** buffer,
                   ucred** /*credentials*/) {
  std::memset(from, 0, sizeof(*from));
  const std::string bytes = std::exchange(unread, {});
  if (bytes.empty()) return 0;
  *buffer = static_cast<unsigned char*>(std::malloc(bytes.size()));
  std::memcpy(*buffer, bytes.data(), bytes.size());
  return static_cast<int>(bytes.size());
}

Result<SocketHandle> scripted_socket() {
  SocketHandle socket(nl_socket_alloc());
  nl_cb* callbacks = nl_socket_get_cb(socket.get());
  nl_cb_overwrite_send(callbacks, send_nowhere);
  nl_cb_overwrite_recv(callbacks, receive_answer);
  nl_cb_put(callbacks);
  nl_socket_disable_seq_check(socket.get());
  return socket;
}

void read_link_answers(std::string_view input) {
  const Links links(scripted_socket, {});
  const std::string all = answer(input);
  Network network;
  network.bridge = "fl-a";

  unread = all;
  links.exists(network.bridge);
  unread = all;
  if (const auto read = links.read_bridge(network)) demand(!network.subnets.empty());
  unread = all;
  links.problems(network);
  unread = all;
  if (const auto routes = host_routes(scripted_socket)) {
    for (const HostRoute& route : *routes) demand(route.destination.length() > 0);
  }
  unread = all;
  if (const auto leading_out = uplinks(scripted_socket)) {
    for (const std::string& interface : *leading_out) demand(!interface.empty());
  }
  unread = all;
  other_bridges({network.bridge}, scripted_socket);
}

/// The input is what follows the header.
void read_socket_answer(std::string_view input) {
  const MessageHandle message(nlmsg_alloc_size(NLMSG_SPACE(input.size())));
  nlmsg_put(message.get(), 0, 0, TCPDIAG_GETSOCK, 0, 0);
  nlmsg_append(message.get(), const_cast<char*>(input.data()), input.size(), 0);
  const auto socket = read_socket(*nlmsg_hdr(message.get()));
  if (socket && socket->address) demand(!socket->address->to_string().empty());
}

}  // namespace

/// libnl loses the link that it has found where what follows it in the answer is wrong. Who lost an
/// object of libnl's cannot be told from its stack, so none is looked for.
// NOLINTNEXTLINE(readability-identifier-naming)
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libnl-3\nleak:libnl-route-3\n";
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return read_as_one_of({read_link_answers, read_socket_answer}, data, size);
}
