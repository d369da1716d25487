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
#include <utility>

#include "proxy/dial/return_path.h"
#include "proxy/log/log.h"
#include "proxy/net/own_addresses.h"
#include "proxy/net/protocol_numbers.h"
#include "proxy/process/capabilities.h"

namespace fairlead {
namespace {

int socket_protocol(Protocol protocol) { return protocol == Protocol::sctp ? IPPROTO_SCTP : 0; }

}  // namespace

Result<void> keep_host_namespace(DialSettings& settings) {
  if (settings.netns.kind == ContainerNetns::Kind::host) return {};
  auto host = NetworkNamespace::open(kThreadNetns);
  if (!host) return std::unexpected(host.error());
  settings.host = std::make_shared<const NetworkNamespace>(std::move(*host));
  return {};
}

Dialler::Dialler(Engine& engine, Deadlines& deadlines, const DialSettings& settings)
    : engine_(engine), deadlines_(deadlines), settings_(settings), believed_(*this, kBelievedMs) {
  deadlines_.add(believed_);
}

Dialler::~Dialler() { deadlines_.remove(believed_); }

int Dialler::open_socket(Protocol protocol, const SocketAddress& backend, const Endpoint& client) {
  if (settings_.netns.kind != ContainerNetns::Kind::host) {
    const RaisedCapabilities raised;
    Container& container = container_at(backend.endpoint().ip);
    if (may_be_inside(protocol, container) && enter_namespace_of(container)) {
      if (const auto fd = open_inside(protocol, backend, client, container)) return *fd;
    }
    if (const auto moved = go_to_host(); !moved) {
      tell(container, Matter::netns, LogLevel::warn, moved.error().message);
      return -ENETUNREACH;
    }
  }
  return engine_.open_socket(backend.family(), socket_type(protocol), socket_protocol(protocol));
}

/// The kernel looks for SCTP's routes without the mark of the socket (sctp_v4_get_dst() in
/// net/sctp/protocol.c), and takes no source that is not an address of the namespace.
bool Dialler::may_be_inside(Protocol protocol, Container& container) const {
  if (protocol != Protocol::sctp || settings_.source == Source::container) return true;
  tell(container, Matter::sctp, LogLevel::info,
       fmt::format("dial {}/sctp from the host: SCTP can be dialled inside only as the container "
                   "itself (--source container)",
                   container.address.to_string()));
  return false;
}

/// Nothing: the dial has to be plain.
std::optional<int> Dialler::open_inside(Protocol protocol, const SocketAddress& backend,
                                        const Endpoint& client, Container& container) {
  if (settings_.source == Source::container) {
    return engine_.open_socket(backend.family(), socket_type(protocol), socket_protocol(protocol));
  }
  if (protocol == Protocol::udp && !datagrams_return(container)) return std::nullopt;
  if (settings_.source == Source::client) {
    std::string_view obstacle = obstacle_to_keeping(client.ip, container.address.family());
    if (obstacle.empty() && protocol == Protocol::udp &&
        own_address_towards(client.ip).is_unspecified()) {
      // The service's answer gets its mark only after a route was found for it without.
      obstacle = "that the container has no route to (it does not matter to TCP)";
    } else if (obstacle.empty()) {
      if (const auto fd = open_bound(protocol, backend, client, container)) return fd;
      obstacle = "that is the container itself";
    }
    if (told_obstacles_.insert(obstacle).second) {
      log_info(fmt::format("a client {} cannot keep its address: {} sees {} instead", obstacle,
                           container.address.to_string(), container.gateway.to_string()));
    }
  }
  return open_bound(protocol, backend, {container.gateway, 0}, container);
}

/// Nothing: this cannot be the source.
std::optional<int> Dialler::open_bound(Protocol protocol, const SocketAddress& backend,
                                       const Endpoint& source, Container& container) {
  const bool is_stream = protocol != Protocol::udp;
  FileDescriptor socket(engine_.open_socket(backend.family(), socket_type(protocol), 0));
  if (!socket) return socket.release();
  const BindOutcome outcome = bind_foreign(engine_, socket.get(), is_stream, source);
  if (outcome.bound == Bound::yes) return socket.release();
  engine_.close(std::move(socket));
  if (outcome.bound == Bound::failed) {
    tell(container, Matter::source, LogLevel::warn,
         fmt::format("dial {} from the host: {}", container.address.to_string(), outcome.error));
  }
  return std::nullopt;
}

bool Dialler::is_outdated(int fd, const SocketAddress& backend) {
  if (settings_.netns.kind == ContainerNetns::Kind::host) return false;
  const RaisedCapabilities raised;
  if (!enter_namespace_of(container_at(backend.endpoint().ip)) && !go_to_host()) return false;
  return is_elsewhere(fd);
}

Dialler::Container& Dialler::container_at(const IpAddress& address) {
  Container& container = containers_[address];
  container.address = address;
  return container;
}

/// False when the dial has to be plain.
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
      // Not to stay, and so to keep alive, what was looked into.
      (void)go_to_host();
      tell(container, Matter::netns, LogLevel::warn,
           fmt::format("dial {} from the host: {}", container.address.to_string(),
                       found.error().message));
      return false;
    }
    container.netns = std::move(*found);
    container.last_path = container.netns->path();
    container.datagrams_return.reset();
    believed_.set(container, now);
    tell(container, Matter::netns, LogLevel::info,
         fmt::format("dial {} in its network namespace {}, as {}", container.address.to_string(),
                     container.netns->path(), source_text(container)));
  }
  return container.netns && move_to(*container.netns);
}

/// The thread is in the namespace that was found, or in any.
Result<NetworkNamespace> Dialler::find(Container& container) {
  if (const auto moved = go_to_host(); !moved) return std::unexpected(moved.error());
  container.gateway = own_address_towards(container.address);
  auto netns = look_for(container);
  if (!netns || settings_.source == Source::container) return netns;
  const auto set_up = set_up_return_path(container.address);
  if (!set_up) return std::unexpected(set_up.error());
  return netns;
}

Result<NetworkNamespace> Dialler::look_for(const Container& container) {
  if (settings_.netns.kind == ContainerNetns::Kind::path) {
    return open(settings_.netns.path, container.address);
  }
  if (!container.last_path.empty()) {
    if (auto again = open(container.last_path, container.address)) return again;
  }
  auto found = find_namespace_of(container.address, settings_.host->id());
  here_ = NetworkNamespace::id_of(kThreadNetns);
  if (!found) return found;
  return open(found->path(), container.address);
}

/// The namespace, when what is dialled in it can only reach the container.
Result<NetworkNamespace> Dialler::open(const std::string& path, const IpAddress& address) {
  auto netns = NetworkNamespace::open(path);
  if (!netns) return netns;
  if (netns->id() == settings_.host->id()) {
    return failed(path + " is the network namespace of the proxy");
  }
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

/// REQUIRES: the thread is in the container's namespace.
bool Dialler::datagrams_return(Container& container) {
  if (!container.datagrams_return) {
    const auto set_up = set_up_datagram_return_path();
    container.datagrams_return = set_up.has_value();
    if (!set_up) {
      tell(container, Matter::datagrams, LogLevel::warn,
           fmt::format("dial {}/udp from the host: {}", container.address.to_string(),
                       set_up.error().message));
    }
  }
  return *container.datagrams_return;
}

Result<void> Dialler::move_to(const NetworkNamespace& netns) {
  if (!here_) here_ = NetworkNamespace::id_of(kThreadNetns);
  if (here_ == netns.id()) return {};
  auto entered = netns.enter();
  if (entered) here_ = netns.id();
  return entered;
}

Result<void> Dialler::go_to_host() { return move_to(*settings_.host); }

void Dialler::on_deadline(Deadline& deadline) {
  const RaisedCapabilities raised;
  let_go(static_cast<Container&>(deadline));
}

void Dialler::let_go(Container& container) {
  container.unlink();
  container.netns.reset();
  // The thread holds the namespace that it is in, too. That it came from there means that it may
  // go back.
  (void)go_to_host();
}

void Dialler::go_home() {
  if (settings_.netns.kind == ContainerNetns::Kind::host) return;
  const RaisedCapabilities raised;
  for (auto& [address, container] : containers_) let_go(container);
  (void)go_to_host();
}

std::string Dialler::source_text(const Container& container) const {
  switch (settings_.source) {
    case Source::gateway:
      return container.gateway.to_string();
    case Source::client:
      return "the client";
    case Source::container:
      return "the container itself";
  }
  return {};
}

void Dialler::tell(Container& container, Matter matter, LogLevel level, const std::string& line) {
  std::string& told = container.told[static_cast<std::size_t>(matter)];
  if (std::exchange(told, line) == line) return;
  if (level == LogLevel::warn) {
    log_warn(line);
  } else {
    log_info(line);
  }
}

}  // namespace fairlead
