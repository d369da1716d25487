// How many connections each client has.

#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "proxy/mapping/ip_address.h"

namespace fairlead {

class ClientCounts;

/// One connection of a client, counted while this lives. Move-only.
class ClientPlace {
 public:
  /// Of a client that is not counted.
  ClientPlace() = default;
  ClientPlace(ClientPlace&& other) noexcept
      : counts_(std::exchange(other.counts_, nullptr)), entry_(other.entry_) {}
  ClientPlace& operator=(ClientPlace&& other) noexcept {
    std::swap(counts_, other.counts_);
    std::swap(entry_, other.entry_);
    return *this;
  }
  ~ClientPlace();

 private:
  friend class ClientCounts;
  using Entry = std::map<IpAddress, std::size_t>::iterator;

  ClientPlace(ClientCounts& counts, Entry entry) : counts_(&counts), entry_(entry) {}

  ClientCounts* counts_ = nullptr;
  Entry entry_;
};

/// The connections of every client that has any, for `--max-connections-per-client`. An ordered map
/// and no hash table: clients choose their addresses. Thread-safe. Must outlive its places.
///
/// An IPv6 client is its /64: that is what one subscriber, and every virtual server, is given (RFC
/// 6177), and a host changes its address in it at will (RFC 8981), so that one of 128 bits would be
/// no limit at all.
class ClientCounts {
 public:
  /// 0: no limit, and nothing is counted.
  explicit ClientCounts(std::size_t most) : most_(most) {}
  ClientCounts(const ClientCounts&) = delete;
  ClientCounts& operator=(const ClientCounts&) = delete;

  /// Nothing when the client has as many connections as it may.
  std::optional<ClientPlace> take(const IpAddress& client);

  bool limited() const { return most_ > 0; }
  /// Clients that have any.
  std::size_t size() const;

 private:
  friend class ClientPlace;
  void give_back(ClientPlace::Entry entry);

  const std::size_t most_;
  mutable std::mutex mutex_;
  std::map<IpAddress, std::size_t> counts_;
};

}  // namespace fairlead
