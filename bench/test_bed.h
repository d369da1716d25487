// Client, host and container, as three network namespaces (and a fourth: a client that is another
// container of the same bridge).
//
//     client 198.18.0.2 ──veth── 198.18.0.1 host 172.28.0.1 ──bridge──┬─veth── container 172.28.0.2
//            fd18::2                fd18::1      fd28::1              └─veth── neighbour 172.28.0.3
//
// The host has the firewall rules a Docker host has, connection tracking included, so that a proxy
// pays for them as it does in life: a masquerade rule for the bridge, a FORWARD chain that drops
// what no rule accepts, and for the ports of kDnat one DNAT and one ACCEPT rule each. Services, in
// the container: one nginx worker, iperf3, and the UDP receiver and echo server of
// fairlead-bench-udp.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/child_process.h"
#include "bench/network_namespace.h"
#include "proxy/mapping/error.h"

namespace fairlead::bench {

enum class Family { ipv4, ipv6 };

/// What runs in the container, by what it is for. `held` is what the bench itself listens on;
/// `contract` is nothing: a workload of programs that are started by docker-proxy's contract.
enum class Service { http, bulk, datagram_sink, datagram_echo, held, contract };

/// The service's own port in the container.
std::uint16_t container_port(Service service);

/// Where the host's DNAT rules, and where a proxy under test, publish it.
std::uint16_t dnat_port(Service service);
std::uint16_t proxy_port(Service service);

const char* container_address(Family family);
const char* host_address(Family family);

/// Response sizes that the web server has under /SIZE, in bytes.
inline constexpr int kResponseSizes[] = {64, 1024, 16384, 1048576};

class TestBed {
 public:
  /// Makes the namespaces, links, rules and the TCP services. `folder` holds the configuration and
  /// content the services need; `udp_tool` is the path of fairlead-bench-udp; `congestion_control`
  /// is that of TCP in all of the namespaces: the kernel takes what
  /// net.ipv4.tcp_allowed_congestion_control lists and the machine's own (ip-sysctl.rst).
  static Result<TestBed> create(const std::string& folder, const std::string& udp_tool,
                                const std::string& congestion_control);

  const NetworkNamespace& client() const { return client_; }
  const NetworkNamespace& host() const { return host_; }
  const NetworkNamespace& container() const { return container_; }
  const NetworkNamespace& neighbour() const { return neighbour_; }
  const std::string& folder() const { return folder_; }
  const std::string& udp_tool() const { return udp_tool_; }

  /// Forgets every tracked connection, so that one measurement does not fill the table of the next.
  void flush_connection_tracking() const;

 private:
  TestBed(NetworkNamespace client, NetworkNamespace host, NetworkNamespace container,
          NetworkNamespace neighbour);

  Result<void> connect_namespaces();
  Result<void> choose_congestion_control(const std::string& name);
  Result<void> load_rules();
  Result<void> start_services();

  NetworkNamespace client_;
  NetworkNamespace host_;
  NetworkNamespace container_;
  NetworkNamespace neighbour_;
  std::string folder_;
  std::string udp_tool_;
  std::vector<ChildProcess> services_;
};

}  // namespace fairlead::bench
