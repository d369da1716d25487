// The document that `fairlead-net apply` reads: one that is accepted means the same when it is
// written, and what is complete and holds together can be planned and written as rules.

#include "netsetup/network/completion.h"
#include "netsetup/network/document.h"
#include "netsetup/network/network_check.h"
#include "netsetup/rules/iptables_text.h"
#include "netsetup/rules/nftables_text.h"
#include "netsetup/rules/rule_plan.h"
#include "tests/fuzz/fuzzed_bytes.h"

using namespace fairlead;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto networks = parse_networks(text_of(data, size), "f");
  if (!networks) {
    demand(networks.error().message.starts_with("f: "));
    return 0;
  }
  demand(parse_networks(networks_text(*networks), "f").value() == *networks);
  for (Network& network : *networks) {
    if (!complete_network(network, nullptr, {})) return 0;
    const Network once = network;
    demand(complete_network(network, &once, {}).has_value() && network == once);
  }
  if (!check_networks(*networks)) return 0;

  const RuleSet rules = plan(*networks);
  demand(nftables_change_text(rules, rules).empty());
  demand(!nftables_load_text(nftables_elements(rules)).empty());
  for (const Family family : {Family::v4, Family::v6}) {
    const IptablesTables tables = iptables_tables(rules, family);
    demand(iptables_change_text(iptables_all_present(tables), tables).empty());
  }
  for (const Network& network : *networks) {
    for (const Container& container : network.containers) {
      const auto mappings = plan_proxy(network, container);
      demand(network.mode != Mode::dnat || mappings.empty());
    }
  }
  return 0;
}
