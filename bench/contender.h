// What is compared: the ways from a client to a service in the container.

#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bench/child_process.h"
#include "bench/test_bed.h"
#include "proxy/mapping/error.h"

namespace fairlead::bench {

enum class Kind {
  direct,             ///< The client routes to the container's own address.
  dnat,               ///< The host's DNAT rule.
  hairpin,            ///< The same rule, used by a client in the container's own bridge.
  docker_proxy_like,  ///< A program with docker-proxy's command line: it, and fairlead-proxy.
  haproxy,
  nginx,
  socat,
};

struct Contender {
  std::string label;
  Kind kind;
  std::string program = {};                 ///< Full path; empty for the kernel's own ways.
  std::vector<std::string> arguments = {};  ///< Appended to docker-proxy's flags.
  std::string global_settings = {};         ///< Head of its configuration file, ...
  std::string listener_settings = {};  ///< ... and what each listener gets: they make the variant.
  std::string version = {};            ///< For the report.

  bool is_proxy() const { return !program.empty(); }
  bool carries(Service service) const;

  /// Told by its name: docker-proxy needs a process for each published port, ours takes `-p`.
  bool is_docker_proxy() const;
};

/// Where a client of this contender finds a service.
std::uint16_t published_port(const Contender& contender, Service service);

/// A contender set up for one measurement: where the client has to go, and the proxy on the way.
struct Route {
  std::string address;
  std::uint16_t port = 0;  ///< Of the first service asked for.
  const NetworkNamespace* client = nullptr;
  std::vector<ChildProcess> proxies = {};  ///< More than one where each port takes a process.
};

/// Starts the proxy, if there is one, and waits until it has bound its ports: of several services
/// in one process, if the program can do that.
Result<Route> open_route(const TestBed& bed, const Contender& contender,
                         const std::vector<Service>& services, Family family);

/// How many sockets of the host's namespace are bound to a port from `first` to `last` (TCP:
/// listen).
int bound_ports(const TestBed& bed, bool datagram, Family family, int first, int last);

/// Where what `start_docker_proxy_like` starts listens and forwards to.
struct Publication {
  bool datagram = false;
  std::string host_address;
  std::uint16_t host_port = 0;
  std::string container_address;
  std::uint16_t container_port = 0;
};

/// Starts a program by docker-proxy's contract and waits for its "0\n" on descriptor 3.
Result<ChildProcess> start_docker_proxy_like(const TestBed& bed, const Contender& contender,
                                             const Publication& publication);

/// Starts fairlead-proxy as a user does, with its own command line: a `-p` for each mapping. It may
/// not have bound its ports yet.
Result<ChildProcess> start_by_hand(const TestBed& bed, const Contender& contender,
                                   const std::vector<std::string>& mappings);

/// The peers that are installed, each set up as its own experts would; the names of those that are
/// not go to `missing`. `docker_proxies` are pairs of label and path.
std::vector<Contender> known_peers(
    const std::vector<std::pair<std::string, std::string>>& docker_proxies,
    std::vector<std::string>& missing);

}  // namespace fairlead::bench
