// A daemon.json: where it can be read, setting a member and removing it again leaves every byte.

#include "docker/daemon_text.h"
#include "tests/fuzz/fuzzed_bytes.h"

using namespace fairlead;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::string_view kKey = "userland-proxy-path";
  constexpr std::string_view kValue = R"("/usr/bin/fairlead-proxy")";
  auto text = DaemonText::parse(std::string(text_of(data, size)));
  if (!text) {
    demand(!text.error().message.empty());
    return 0;
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
  return 0;
}
