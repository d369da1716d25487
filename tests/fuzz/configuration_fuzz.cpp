// The configuration file of the proxy, and a daemon.json. The first byte chooses.

#include "docker/daemon_text.h"
#include "proxy/options/config_file.h"
#include "tests/fuzz/fuzzed_bytes.h"

using namespace fairlead;

namespace {

/// Whatever is in it is taken or refused with the number of its line, and a proxy that a daemon
/// started accepts all that one run by hand does.
void read_config_file(std::string_view bytes) {
  const std::string text(bytes);
  Options by_hand;
  const auto used = apply_config(by_hand, text, "f", FileMappings::used);
  Options of_daemon;
  const auto ignored = apply_config(of_daemon, text, "f", FileMappings::ignored);
  if (used) demand(ignored.has_value());
  if (!used) demand(used.error().message.starts_with("f:"));
  demand(of_daemon.mappings.empty());
}

/// Where it can be read, setting a member and removing it again leaves every byte.
void read_daemon_text(std::string_view bytes) {
  constexpr std::string_view kKey = "userland-proxy-path";
  constexpr std::string_view kValue = R"("/usr/bin/fairlead-proxy")";
  auto text = DaemonText::parse(std::string(bytes));
  if (!text) {
    demand(!text.error().message.empty());
    return;
  }
  const std::string before = text->text();
  const auto value = text->find(kKey);
  text->set(kKey, kValue);
  demand(DaemonText::parse(text->text()).value().find(kKey) == kValue);
  if (value) {
    text->set(kKey, *value);
  } else {
    text->remove(kKey);
  }
  demand(text->text() == before);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return read_as_one_of({read_config_file, read_daemon_text}, data, size);
}
