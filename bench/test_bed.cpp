#include "bench/test_bed.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <thread>

namespace fairlead::bench {
namespace {

constexpr Service kServices[] = {Service::http, Service::bulk, Service::datagram_sink,
                                 Service::datagram_echo, Service::held};

bool is_datagram(Service service) {
  return service == Service::datagram_sink || service == Service::datagram_echo;
}

Result<void> run_ip_batch(const NetworkNamespace& network, const std::string& lines) {
  const auto result = run_command({"ip", "-batch", "-"}, {.network = &network, .input = lines});
  if (!result) return std::unexpected(result.error());
  return {};
}

Result<void> write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file) return failed("write " + path);
  return {};
}

/// What a Docker host has, for one address family.
std::string firewall_rules(Family family) {
  const char* subnet = family == Family::ipv4 ? "172.28.0.0/16" : "fd28::/64";
  const std::string container = container_address(family);
  std::string nat;
  std::string filter;
  for (const Service service : kServices) {
    const char* protocol = is_datagram(service) ? "udp" : "tcp";
    nat += fmt::format("-A DOCKER -p {} -m {} --dport {} -j DNAT --to-destination {}:{}\n",
                       protocol, protocol, dnat_port(service),
                       family == Family::ipv4 ? container : "[" + container + "]",
                       container_port(service));
    filter += fmt::format("-A DOCKER -d {} -o bridge -p {} -m {} --dport {} -j ACCEPT\n", container,
                          protocol, protocol, container_port(service));
  }
  return fmt::format(
      "*nat\n"
      ":DOCKER - [0:0]\n"
      "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n"
      "-A POSTROUTING -s {0} ! -o bridge -j MASQUERADE\n"
      // Hairpin: the service must answer a neighbour through the host, which undoes the DNAT.
      "-A POSTROUTING -s {0} -o bridge -m addrtype ! --src-type LOCAL -j MASQUERADE\n"
      "{1}COMMIT\n"
      "*filter\n"
      ":FORWARD DROP [0:0]\n"
      ":DOCKER - [0:0]\n"
      "-A FORWARD -o bridge -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
      "-A FORWARD -o bridge -j DOCKER\n"
      "-A FORWARD -i bridge -j ACCEPT\n"
      "{2}COMMIT\n",
      subnet, nat, filter);
}

std::string web_server_configuration(const std::string& folder) {
  return fmt::format(
      "daemon off; worker_processes 1; user root;\n"
      "pid {0}/web.pid; error_log {0}/web.log crit;\n"
      "events {{ worker_connections 9000; }}\n"
      "http {{\n"
      "  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on;\n"
      "  keepalive_timeout 600s; keepalive_requests 1000000000;\n"
      "  open_file_cache max=16 inactive=600s;\n"
      "  client_body_temp_path {0}/tmp; proxy_temp_path {0}/tmp; fastcgi_temp_path {0}/tmp;\n"
      "  uwsgi_temp_path {0}/tmp; scgi_temp_path {0}/tmp;\n"
      "  server {{ listen {1} backlog=16384; listen [::]:{1} backlog=16384; root {0}/web; }}\n"
      "}}\n",
      folder, container_port(Service::http));
}

}  // namespace

std::uint16_t container_port(Service service) {
  switch (service) {
    case Service::http:
      return 80;
    case Service::bulk:
      return 5201;
    case Service::datagram_sink:
      return 5301;
    case Service::datagram_echo:
      return 5302;
    case Service::held:
      return 5401;
    case Service::contract:
      break;
  }
  return 0;
}

std::uint16_t dnat_port(Service service) {
  return static_cast<std::uint16_t>(20000 + container_port(service));
}

std::uint16_t proxy_port(Service service) {
  return static_cast<std::uint16_t>(10000 + container_port(service));
}

const char* container_address(Family family) {
  return family == Family::ipv4 ? "172.28.0.2" : "fd28::2";
}

const char* host_address(Family family) {
  return family == Family::ipv4 ? "198.18.0.1" : "fd18::1";
}

TestBed::TestBed(NetworkNamespace client, NetworkNamespace host, NetworkNamespace container,
                 NetworkNamespace neighbour)
    : client_(std::move(client)),
      host_(std::move(host)),
      container_(std::move(container)),
      neighbour_(std::move(neighbour)) {}

Result<TestBed> TestBed::create(const std::string& folder, const std::string& udp_tool,
                                const std::string& congestion_control) {
  auto client = NetworkNamespace::create();
  auto host = NetworkNamespace::create();
  auto container = NetworkNamespace::create();
  auto neighbour = NetworkNamespace::create();
  for (const auto* made : {&client, &host, &container, &neighbour}) {
    if (!*made) return std::unexpected(made->error());
  }
  TestBed bed(std::move(*client), std::move(*host), std::move(*container), std::move(*neighbour));
  bed.folder_ = folder;
  bed.udp_tool_ = udp_tool;
  for (const auto& step :
       {bed.connect_namespaces(), bed.choose_congestion_control(congestion_control),
        bed.load_rules(), bed.start_services()}) {
    if (!step) return std::unexpected(step.error());
  }
  return bed;
}

Result<void> TestBed::connect_namespaces() {
  auto done =
      run_ip_batch(host_, fmt::format("link set lo up\n"
                                      "link add uplink type veth peer name eth0 netns {}\n"
                                      "link add bridge type bridge\n"
                                      "link add port2 type veth peer name eth0 netns {}\n"
                                      "link add port3 type veth peer name eth0 netns {}\n"
                                      "link set port2 master bridge up\n"
                                      "link set port3 master bridge up\n"
                                      "address add 198.18.0.1/24 dev uplink\n"
                                      "address add fd18::1/64 dev uplink nodad\n"
                                      "address add 172.28.0.1/16 dev bridge\n"
                                      "address add fd28::1/64 dev bridge nodad\n"
                                      "link set uplink up\n"
                                      "link set bridge up\n",
                                      client_.path(), container_.path(), neighbour_.path()));
  if (!done) return done;
  const auto join = [](const NetworkNamespace& network, const char* ipv4, const char* ipv6,
                       const char* gateway_ipv4, const char* gateway_ipv6) {
    return run_ip_batch(network, fmt::format("link set lo up\n"
                                             "address add {} dev eth0\n"
                                             "address add {} dev eth0 nodad\n"
                                             "link set eth0 up\n"
                                             "route add default via {}\n"
                                             "route add default via {}\n",
                                             ipv4, ipv6, gateway_ipv4, gateway_ipv6));
  };
  for (const auto& step :
       {join(client_, "198.18.0.2/24", "fd18::2/64", "198.18.0.1", "fd18::1"),
        join(container_, "172.28.0.2/16", "fd28::2/64", "172.28.0.1", "fd28::1"),
        join(neighbour_, "172.28.0.3/16", "fd28::3/64", "172.28.0.1", "fd28::1")}) {
    if (!step) return step;
  }

  for (const NetworkNamespace* network : {&client_, &host_, &container_, &neighbour_}) {
    // Thousands of connections a second between two addresses need every port above our own.
    for (const auto& [name, value] :
         {std::pair{"net/ipv4/ip_local_port_range", "26000 65535"},
          std::pair{"net/ipv4/tcp_tw_reuse", "1"}, std::pair{"net/core/somaxconn", "16384"},
          std::pair{"net/ipv4/tcp_max_syn_backlog", "16384"}}) {
      if (auto set = network->set_sysctl(name, value); !set) return set;
    }
  }
  for (const char* name : {"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"}) {
    if (auto set = host_.set_sysctl(name, "1"); !set) return set;
  }
  return {};
}

Result<void> TestBed::choose_congestion_control(const std::string& name) {
  for (const NetworkNamespace* network : {&client_, &host_, &container_, &neighbour_}) {
    if (auto set = network->set_sysctl("net/ipv4/tcp_congestion_control", name); !set) return set;
  }
  return {};
}

Result<void> TestBed::load_rules() {
  for (const auto& [program, family] : {std::pair{"iptables-restore", Family::ipv4},
                                        std::pair{"ip6tables-restore", Family::ipv6}}) {
    const auto loaded =
        run_command({program}, {.network = &host_, .input = firewall_rules(family)});
    if (!loaded) return std::unexpected(loaded.error());
  }
  // A closed connection is tracked for two minutes by default: at 10,000 a second the table is full
  // before a run ends, and then even the direct path drops everything.
  for (const char* state : {"time_wait", "close", "close_wait", "last_ack", "fin_wait"}) {
    if (auto set =
            host_.set_sysctl(fmt::format("net/netfilter/nf_conntrack_tcp_timeout_{}", state), "1");
        !set) {
      return set;
    }
  }
  return {};
}

Result<void> TestBed::start_services() {
  std::error_code problem;
  std::filesystem::create_directories(folder_ + "/web", problem);
  std::filesystem::create_directories(folder_ + "/tmp", problem);
  if (problem) return failed("create " + folder_ + ": " + problem.message());
  for (const int size : kResponseSizes) {
    auto written = write_file(fmt::format("{}/web/{}", folder_, size),
                              std::string(static_cast<std::size_t>(size), 'x'));
    if (!written) return written;
  }
  const std::string configuration = folder_ + "/web.conf";
  if (auto written = write_file(configuration, web_server_configuration(folder_)); !written) {
    return written;
  }

  const std::string bulk_port = std::to_string(container_port(Service::bulk));
  const std::vector<std::vector<std::string>> commands = {
      {find_program("nginx"), "-c", configuration, "-e", folder_ + "/web.log"},
      {find_program("iperf3"), "-s", "-p", bulk_port}};
  for (const auto& command : commands) {
    auto service = ChildProcess::spawn(command, {.network = &container_});
    if (!service) return std::unexpected(service.error());
    services_.push_back(std::move(*service));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  for (ChildProcess& service : services_) {
    if (!service.running()) return failed("a service in the container ended: " + service.errors());
  }
  return {};
}

void TestBed::flush_connection_tracking() const {
  // Without the tool the short time-outs above have to do.
  static const std::string kTool = find_program("conntrack");
  if (!kTool.empty()) (void)run_command({kTool, "-F"}, {.network = &host_});
}

}  // namespace fairlead::bench
