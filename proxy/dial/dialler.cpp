// Theory of operation
//
// For each container address that is dialled there is one record. It is in one of three states:
//
//   unknown    at the start, and kBelievedMs after it was found. The next dial looks for it;
//   found      its namespace is held open and known to have the address and a loopback that is up;
//   failed     until retry_at: dials are plain.
//
// Nothing is looked at before the first client comes. A daemon starts its proxies before the
// container's namespace has been given its address, so there would be nothing to be found; and an
// idle proxy stays as small as one without the option.
//
// A container that is started again has a new namespace, at another path or at the same one (a
// name). So the file is looked at before each dial: that takes a microsecond, and no client is sent
// to a namespace that is gone.

#include "proxy/dial/dialler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "proxy/log/log.h"
#include "proxy/net/own_addresses.h"

namespace fairlead {
namespace {

int socket_type(Protocol protocol) { return protocol == Protocol::udp ? SOCK_DGRAM : SOCK_STREAM; }

int socket_protocol(Protocol protocol) { return protocol == Protocol::sctp ? IPPROTO_SCTP : 0; }

}  // namespace

Dialler::Dialler(Engine& engine, Deadlines& deadlines, const DialSettings& settings)
    : engine_(engine), deadlines_(deadlines), settings_(settings), believed_(*this, kBelievedMs) {
  deadlines_.add(believed_);
}

Dialler::~Dialler() { deadlines_.remove(believed_); }

int Dialler::open_socket(Protocol protocol, const SocketAddress& backend) {
  if (settings_.netns.kind != ContainerNetns::Kind::host) {
    Container& container = container_at(backend.endpoint().ip);
    const bool inside = protocol != Protocol::sctp && enter_namespace_of(container);
    if (!inside && home_) {
      if (const auto moved = move_to(*home_); !moved) {
        tell(container, true, moved.error().message);
        return -ENETUNREACH;
      }
    }
  }
  return engine_.open_socket(backend.family(), socket_type(protocol), socket_protocol(protocol));
}

Dialler::Container& Dialler::container_at(const IpAddress& address) {
  Container& container = containers_[address];
  container.address = address;
  return container;
}

/// False when the dial has to be plain; the thread is in any namespace then.
bool Dialler::enter_namespace_of(Container& container) {
  const TimeMs now = engine_.now();
  if (container.netns &&
      NetworkNamespace::id_of(container.netns->path()) != container.netns->id()) {
    let_go(container);
  }
  if (!container.netns && now >= container.retry_at) {
    auto found = find(container);
    if (!found) {
      container.retry_at = now + kRetryMs;
      tell(container, true,
           fmt::format("dial {} from the host: {}", container.address.to_string(),
                       found.error().message));
      return false;
    }
    container.netns = std::move(*found);
    container.last_path = container.netns->path();
    believed_.set(container, now);
    tell(container, false,
         fmt::format("dial {} in its network namespace {}", container.address.to_string(),
                     container.netns->path()));
  }
  return container.netns && move_to(*container.netns);
}

Result<NetworkNamespace> Dialler::find(Container& container) {
  if (!home_) {
    auto home = NetworkNamespace::open(kThreadNetns);
    if (!home) return home;
    home_ = std::move(*home);
    here_ = home_->id();
  }
  if (settings_.netns.kind == ContainerNetns::Kind::path) {
    return open(settings_.netns.path, container.address);
  }
  if (!container.last_path.empty()) {
    if (auto again = open(container.last_path, container.address)) return again;
  }
  auto found = find_namespace_of(container.address, home_->id());
  here_ = NetworkNamespace::id_of(kThreadNetns);
  if (!found) return found;
  return open(found->path(), container.address);
}

/// The namespace, when what is dialled in it can only reach the container.
Result<NetworkNamespace> Dialler::open(const std::string& path, const IpAddress& address) {
  auto netns = NetworkNamespace::open(path);
  if (!netns) return netns;
  if (home_ && netns->id() == home_->id()) return failed(path + " is the network namespace of the proxy");
  if (const auto moved = move_to(*netns); !moved) return std::unexpected(moved.error());
  const auto addresses = own_addresses();
  if (std::ranges::find(addresses, address) == addresses.end()) {
    return failed("the network namespace " + path + " does not have this address");
  }
  if (!loopback_is_up()) {
    return failed("the loopback interface of the network namespace " + path + " is down");
  }
  return netns;
}

Result<void> Dialler::move_to(const NetworkNamespace& netns) {
  if (here_ == netns.id()) return {};
  auto entered = netns.enter();
  if (entered) here_ = netns.id();
  return entered;
}

void Dialler::on_deadline(Deadline& deadline) { let_go(static_cast<Container&>(deadline)); }

void Dialler::let_go(Container& container) {
  container.unlink();
  container.netns.reset();
  // The thread holds the namespace that it is in, too.
  if (home_) (void)move_to(*home_);
}

void Dialler::go_home() {
  for (auto& [address, container] : containers_) let_go(container);
}

void Dialler::tell(Container& container, bool is_warning, const std::string& line) {
  if (std::exchange(container.told, line) == line) return;
  if (is_warning) {
    log_warn(line);
  } else {
    log_info(line);
  }
}

}  // namespace fairlead
