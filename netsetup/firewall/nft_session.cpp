#include "netsetup/firewall/nft_session.h"

#include <fmt/format.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <cctype>
#include <cerrno>
#include <string_view>
#include <utility>

#include "proxy/net/file_descriptor.h"

namespace fairlead {
namespace {

std::string_view first_line(std::string_view text) { return text.substr(0, text.find('\n')); }

/// libnftables' errors are for a terminal: `[PLACE: ]Error: REASON`, the line in question, and a
/// line that points into it; and they repeat themselves for each command of a transaction.
Error session_error(std::string_view buffer) {
  const std::string_view line = first_line(buffer);
  const std::size_t label = line.find("Error: ");
  if (label == std::string_view::npos) {
    return Error{fmt::format("nftables: {}", line.empty() ? "failed without a reason" : line)};
  }
  std::string reason(line.substr(label + std::string_view("Error: ").size()));
  reason[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(reason[0])));
  if (reason.ends_with("Operation not permitted")) reason += " (CAP_NET_ADMIN is needed)";
  const std::size_t end_of_line = buffer.find('\n');
  const std::string_view source =
      end_of_line == std::string_view::npos ? "" : first_line(buffer.substr(end_of_line + 1));
  if (source.empty()) return Error{fmt::format("nftables: {}", reason)};
  constexpr std::size_t kShown = 120;
  return Error{fmt::format("nftables: {}: {}", reason, source.substr(0, kShown))};
}

}  // namespace

Result<NftSession> NftSession::open() {
  // The library ends the process where it cannot have such a socket.
  const FileDescriptor socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
  if (!socket) return failed("nftables: socket NETLINK_NETFILTER", errno);
  Context context(::nft_ctx_new(NFT_CTX_DEFAULT), &::nft_ctx_free);
  if (!context || ::nft_ctx_buffer_error(context.get()) != 0 ||
      ::nft_ctx_buffer_output(context.get()) != 0) {
    return failed("nftables: open libnftables", ENOMEM);
  }
  return NftSession(std::move(context));
}

Result<void> NftSession::run(const std::string& commands) {
  ::nft_ctx_output_set_flags(context_.get(), 0);
  const int status = ::nft_run_cmd_from_buffer(context_.get(), commands.c_str());
  // Reading a buffer empties it.
  ::nft_ctx_get_output_buffer(context_.get());
  const std::string_view errors = ::nft_ctx_get_error_buffer(context_.get());
  if (status != 0) return std::unexpected(session_error(errors));
  return {};
}

Result<void> NftSession::try_out(const std::string& commands) {
  ::nft_ctx_set_dry_run(context_.get(), true);
  auto outcome = run(commands);
  ::nft_ctx_set_dry_run(context_.get(), false);
  return outcome;
}

Result<nlohmann::json> NftSession::list(const std::string& command) {
  // Names of protocols come from /etc/protocols, which a bare machine has not got.
  ::nft_ctx_output_set_flags(context_.get(), NFT_CTX_OUTPUT_JSON | NFT_CTX_OUTPUT_NUMERIC_PRIO |
                                                 NFT_CTX_OUTPUT_NUMERIC_PROTO);
  const int status = ::nft_run_cmd_from_buffer(context_.get(), command.c_str());
  const std::string_view output = ::nft_ctx_get_output_buffer(context_.get());
  const std::string_view errors = ::nft_ctx_get_error_buffer(context_.get());
  if (status != 0) {
    // What the kernel and the library's cache say of a table that is not there; no other sign.
    if (errors.find("No such file or directory") != std::string_view::npos) {
      return nlohmann::json::array();
    }
    return std::unexpected(session_error(errors));
  }
  auto document = nlohmann::json::parse(output, nullptr, false);
  if (!document.is_object() || !document.contains("nftables")) {
    return failed(fmt::format("nftables: {}: the answer is not JSON as it should be", command));
  }
  return std::move(document["nftables"]);
}

}  // namespace fairlead
