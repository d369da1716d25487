// Theory of operation
//
// The table is what `nft list ruleset` shows as
//
//   table inet fairlead_return {
//     chain output {
//       type route hook output priority mangle; policy accept;
//       meta l4proto udp meta mark MARK ct mark set meta mark
//       meta l4proto udp ct mark MARK meta mark set ct mark
//     }
//   }
//
// The first rule meets what the proxy sends, the second what the service answers; a chain of type
// `route` looks for the route again when the mark has changed.

#include <netinet/in.h>
// Before the kernel's own headers, which leave out what it has declared.
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <array>
#include <cstdint>

#include "proxy/dial/netlink.h"
#include "proxy/dial/return_path.h"

namespace fairlead {
namespace {

/// NF_IP_PRI_MANGLE: after the connection tracking.
constexpr std::int32_t kMangle = -150;

constexpr const char* kTable = "fairlead_return";
constexpr const char* kChain = "output";

NetlinkMessage batch_end(int type) {
  NetlinkMessage message(::nlmsg_alloc_simple(type, NLM_F_REQUEST));
  nfgenmsg header{};
  header.res_id = htons(NFNL_SUBSYS_NFTABLES);
  ::nlmsg_append(message.get(), &header, sizeof header, NLMSG_ALIGNTO);
  return message;
}

NetlinkMessage nftables_message(int type, int flags) {
  NetlinkMessage message(
      ::nlmsg_alloc_simple(NFNL_SUBSYS_NFTABLES << 8 | type, NLM_F_REQUEST | NLM_F_CREATE | flags));
  nfgenmsg header{};
  header.nfgen_family = NFPROTO_INET;
  ::nlmsg_append(message.get(), &header, sizeof header, NLMSG_ALIGNTO);
  return message;
}

void put_u32(nl_msg& message, int type, std::uint32_t value) {
  ::nla_put_u32(&message, type, htonl(value));
}

/// An element of a rule's list: `name` and what it is told.
template <typename Fill>
void put_expression(nl_msg& message, const char* name, Fill fill) {
  nlattr* element = ::nla_nest_start(&message, NFTA_LIST_ELEM);
  ::nla_put_string(&message, NFTA_EXPR_NAME, name);
  nlattr* data = ::nla_nest_start(&message, NFTA_EXPR_DATA);
  fill();
  ::nla_nest_end(&message, data);
  ::nla_nest_end(&message, element);
}

/// `meta` and `ct` load a value into the register, or set it from there.
void put_meta(nl_msg& message, std::uint32_t key, int direction) {
  put_expression(message, "meta", [&] {
    put_u32(message, NFTA_META_KEY, key);
    put_u32(message, direction, NFT_REG_1);
  });
}

void put_ct_mark(nl_msg& message, int direction) {
  put_expression(message, "ct", [&] {
    put_u32(message, NFTA_CT_KEY, NFT_CT_MARK);
    put_u32(message, direction, NFT_REG_1);
  });
}

/// Ends the rule unless the register has this value.
template <typename T>
void put_comparison(nl_msg& message, T value) {
  put_expression(message, "cmp", [&] {
    put_u32(message, NFTA_CMP_SREG, NFT_REG_1);
    put_u32(message, NFTA_CMP_OP, NFT_CMP_EQ);
    nlattr* data = ::nla_nest_start(&message, NFTA_CMP_DATA);
    ::nla_put(&message, NFTA_DATA_VALUE, sizeof value, &value);
    ::nla_nest_end(&message, data);
  });
}

NetlinkMessage return_table() {
  NetlinkMessage message = nftables_message(NFT_MSG_NEWTABLE, NLM_F_EXCL);
  ::nla_put_string(message.get(), NFTA_TABLE_NAME, kTable);
  return message;
}

NetlinkMessage return_chain() {
  NetlinkMessage message = nftables_message(NFT_MSG_NEWCHAIN, 0);
  ::nla_put_string(message.get(), NFTA_CHAIN_TABLE, kTable);
  ::nla_put_string(message.get(), NFTA_CHAIN_NAME, kChain);
  nlattr* hook = ::nla_nest_start(message.get(), NFTA_CHAIN_HOOK);
  put_u32(*message, NFTA_HOOK_HOOKNUM, NF_INET_LOCAL_OUT);
  put_u32(*message, NFTA_HOOK_PRIORITY, static_cast<std::uint32_t>(kMangle));
  ::nla_nest_end(message.get(), hook);
  ::nla_put_string(message.get(), NFTA_CHAIN_TYPE, "route");
  return message;
}

/// A rule about UDP datagrams.
template <typename Fill>
NetlinkMessage return_rule_for_datagrams(int flags, Fill fill) {
  NetlinkMessage message = nftables_message(NFT_MSG_NEWRULE, NLM_F_APPEND | flags);
  ::nla_put_string(message.get(), NFTA_RULE_TABLE, kTable);
  ::nla_put_string(message.get(), NFTA_RULE_CHAIN, kChain);
  nlattr* expressions = ::nla_nest_start(message.get(), NFTA_RULE_EXPRESSIONS);
  put_meta(*message, NFT_META_L4PROTO, NFTA_META_DREG);
  put_comparison(*message, std::uint8_t{IPPROTO_UDP});
  fill(*message);
  ::nla_nest_end(message.get(), expressions);
  return message;
}

}  // namespace

Result<void> set_up_datagram_return_path() {
  auto socket = NetlinkSocket::open(NETLINK_NETFILTER);
  if (!socket) return std::unexpected(socket.error());
  std::array<NetlinkMessage, 6> messages = {
      batch_end(NFNL_MSG_BATCH_BEGIN),
      return_table(),
      return_chain(),
      return_rule_for_datagrams(0,
                                [](nl_msg& rule) {
                                  put_meta(rule, NFT_META_MARK, NFTA_META_DREG);
                                  put_comparison<std::uint32_t>(rule, kReturnMark);
                                  put_ct_mark(rule, NFTA_CT_SREG);
                                }),
      return_rule_for_datagrams(NLM_F_ACK,
                                [](nl_msg& rule) {
                                  put_ct_mark(rule, NFTA_CT_DREG);
                                  put_comparison<std::uint32_t>(rule, kReturnMark);
                                  put_meta(rule, NFT_META_MARK, NFTA_META_SREG);
                                }),
      batch_end(NFNL_MSG_BATCH_END),
  };
  // That the table is there already is the first error then, and ends the whole.
  return socket->create_all(messages, "add nftables rules");
}

}  // namespace fairlead
