// The output of iptables-save: whatever is there, the change to what is wanted leaves nothing to
// change, and the removal can be written.

#include "netsetup/firewall/foreign_filters.h"
#include "netsetup/rules/iptables_text.h"
#include "netsetup/rules/rule_plan.h"
#include "tests/fuzz/fuzzed_bytes.h"
#include "tests/unit/netsetup_samples.h"

using namespace fairlead;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const IptablesTables kWanted =
      iptables_tables(plan(sample_networks(Mode::both)), Family::v4);
  const std::string_view text = text_of(data, size);
  const IptablesPresent present = parse_iptables_save(text);
  for (const std::size_t hook : present.hooks) demand(hook < iptables_hooks().size());
  const std::string change = iptables_change_text(present, kWanted);
  demand(change.empty() || change.ends_with("COMMIT\n"));
  const std::string removal = iptables_remove_text(present);
  demand(removal.empty() || removal.ends_with("COMMIT\n"));
  forward_drops(text);
  return 0;
}
