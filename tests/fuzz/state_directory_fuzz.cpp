// What fairlead-net has kept in its files: host.json, the network `a` and unfinished.json, with a
// zero byte between them. State that is accepted is the same after it has been saved.

#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "netsetup/state/state_directory.h"
#include "netsetup/state/text_file.h"
#include "tests/fuzz/fuzzed_bytes.h"

using namespace fairlead;

namespace {

/// In memory, and gone with the process.
class Scratch {
 public:
  Scratch() {
    std::string name = "/dev/shm/fairlead-fuzz-XXXXXX";
    demand(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { std::filesystem::remove_all(path_); }

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

StateDirectory locked(const std::string& path) {
  StateDirectory directory(path);
  demand(directory.lock("fuzz").has_value());
  return directory;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Scratch scratch;
  static StateDirectory directory = locked(scratch.path());
  std::string_view text = text_of(data, size);
  for (const char* name : {"/host.json", "/networks/a.json", "/unfinished.json"}) {
    const std::size_t end = std::min(text.find('\0'), text.size());
    demand(replace_file(scratch.path() + name, text.substr(0, end)).has_value());
    text.remove_prefix(std::min(end + 1, text.size()));
  }

  if (const auto state = directory.load()) {
    demand(directory.save_host(*state).has_value());
    demand(directory.save_networks({}, state->networks).has_value());
    demand(directory.load().value() == *state);
  } else {
    demand(state.error().message.starts_with(scratch.path()));
  }
  if (const auto unfinished = directory.load_unfinished(); unfinished && *unfinished) {
    demand(directory.save_unfinished(**unfinished).has_value());
    demand(directory.load_unfinished().value() == *unfinished);
  }
  return 0;
}
