// libnftables, in this process.

#pragma once

#include <nftables/libnftables.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "proxy/mapping/error.h"

namespace fairlead {

/// Not thread-safe, as libnftables is not.
class NftSession {
 public:
  static Result<NftSession> open();

  /// Commands in nft's language, as one transaction: all of them take effect or none.
  Result<void> run(const std::string& commands);

  /// The same without an effect: whether the kernel would take them.
  Result<void> try_out(const std::string& commands);

  /// The objects that a `list` command shows: what stands under "nftables" in libnftables-json(5).
  /// Those of nothing where the table or chain is not there.
  Result<nlohmann::json> list(const std::string& command);

 private:
  using Context = std::unique_ptr<nft_ctx, decltype(&::nft_ctx_free)>;

  explicit NftSession(Context context) : context_(std::move(context)) {}

  Context context_;
};

}  // namespace fairlead
