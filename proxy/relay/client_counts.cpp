#include "proxy/relay/client_counts.h"

#include "proxy/mapping/subnet.h"

namespace fairlead {
namespace {

constexpr unsigned kV6PrefixLength = 64;

}  // namespace

ClientPlace::~ClientPlace() {
  if (counts_ != nullptr) counts_->give_back(entry_);
}

std::optional<ClientPlace> ClientCounts::take(const IpAddress& client) {
  if (!limited()) return ClientPlace();
  const IpAddress key = client.is_v4() ? client : Subnet(client, kV6PrefixLength).address();
  const std::scoped_lock lock(mutex_);
  const auto entry = counts_.try_emplace(key, 0).first;
  if (entry->second == most_) return std::nullopt;
  ++entry->second;
  return ClientPlace(*this, entry);
}

std::size_t ClientCounts::size() const {
  const std::scoped_lock lock(mutex_);
  return counts_.size();
}

void ClientCounts::give_back(ClientPlace::Entry entry) {
  const std::scoped_lock lock(mutex_);
  if (--entry->second == 0) counts_.erase(entry);
}

}  // namespace fairlead
