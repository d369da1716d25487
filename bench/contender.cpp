#include "bench/contender.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <sstream>
#include <thread>

namespace fairlead::bench {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

bool is_datagram(Service service) {
  return service == Service::datagram_sink || service == Service::datagram_echo;
}

std::string bracketed(Family family, const char* address) {
  return family == Family::ipv4 ? address : fmt::format("[{}]", address);
}

Result<ChildProcess> start_with_file(const TestBed& bed, const std::string& name,
                                     const std::string& text, std::vector<std::string> command) {
  const std::string path = fmt::format("{}/{}.conf", bed.folder(), name);
  std::ofstream(path, std::ios::trunc) << text;
  for (std::string& word : command) {
    if (word == "FILE") word = path;
  }
  return ChildProcess::spawn(command, {.network = &bed.host()});
}

Result<ChildProcess> start_haproxy(const TestBed& bed, const Contender& contender,
                                   const std::vector<Service>& services, Family family) {
  std::string text = fmt::format(
      "global\n  nbthread 2\n{}\n"
      "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 600s\n  timeout server "
      "600s\n{}\n",
      contender.global_settings, contender.listener_settings);
  for (const Service service : services) {
    text += fmt::format("listen published{0}\n  bind {1}:{0} backlog 16384\n  server c {2}:{3}\n",
                        proxy_port(service), host_address(family), container_address(family),
                        container_port(service));
  }
  return start_with_file(bed, "haproxy", text, {contender.program, "-db", "-f", "FILE"});
}

Result<ChildProcess> start_nginx(const TestBed& bed, const Contender& contender,
                                 const std::vector<Service>& services, Family family) {
  std::string text = fmt::format(
      "{0}\n"
      "daemon off; worker_processes 2; user root;\n"
      "pid {1}/stream.pid; error_log {1}/stream.log crit;\n"
      "events {{ worker_connections 9000; }}\n"
      "stream {{\n  access_log off; tcp_nodelay on; proxy_timeout 600s; proxy_buffer_size 256k;\n",
      contender.global_settings, bed.folder());
  for (const Service service : services) {
    text += fmt::format("  server {{ listen {}:{} reuseport{}; proxy_pass {}:{}; }}\n",
                        bracketed(family, host_address(family)), proxy_port(service),
                        is_datagram(service) ? " udp" : " backlog=16384",
                        bracketed(family, container_address(family)), container_port(service));
  }
  return start_with_file(bed, "stream", text + "}\n",
                         {contender.program, "-c", "FILE", "-e", bed.folder() + "/stream.log"});
}

Result<ChildProcess> start_socat(const TestBed& bed, const Contender& contender, Service service,
                                 Family family) {
  const char* protocol = is_datagram(service) ? "UDP" : "TCP";
  const char* version = family == Family::ipv4 ? "4" : "6";
  return ChildProcess::spawn(
      {contender.program, "-b", "262144",
       fmt::format("{}{}-LISTEN:{},bind={},fork,reuseaddr{}", protocol, version,
                   proxy_port(service), bracketed(family, host_address(family)),
                   is_datagram(service) ? "" : ",backlog=16384,nodelay"),
       fmt::format("{}{}:{}:{}{}", protocol, version, bracketed(family, container_address(family)),
                   container_port(service), is_datagram(service) ? "" : ",nodelay")},
      {.network = &bed.host()});
}

Result<ChildProcess> start_by_contract(const TestBed& bed, const Contender& contender,
                                       Service service, Family family) {
  return start_docker_proxy_like(bed, contender,
                                 {.datagram = is_datagram(service),
                                  .host_address = host_address(family),
                                  .host_port = proxy_port(service),
                                  .container_address = container_address(family),
                                  .container_port = container_port(service)});
}

Result<ChildProcess> start_ours_for_all(const TestBed& bed, const Contender& contender,
                                        const std::vector<Service>& services, Family family) {
  std::vector<std::string> mappings;
  mappings.reserve(services.size());
  for (const Service service : services) {
    mappings.push_back(fmt::format("{}:{}:{}:{}/{}", bracketed(family, host_address(family)),
                                   proxy_port(service),
                                   bracketed(family, container_address(family)),
                                   container_port(service), is_datagram(service) ? "udp" : "tcp"));
  }
  return start_by_hand(bed, contender, mappings);
}

Result<std::vector<ChildProcess>> start_proxies(const TestBed& bed, const Contender& contender,
                                                const std::vector<Service>& services,
                                                Family family) {
  std::vector<Result<ChildProcess>> started;
  if (contender.kind == Kind::haproxy) {
    started.push_back(start_haproxy(bed, contender, services, family));
  } else if (contender.kind == Kind::nginx) {
    started.push_back(start_nginx(bed, contender, services, family));
  } else if (contender.kind == Kind::docker_proxy_like && !contender.is_docker_proxy() &&
             services.size() > 1) {
    started.push_back(start_ours_for_all(bed, contender, services, family));
  } else {
    for (const Service service : services) {
      started.push_back(contender.kind == Kind::socat
                            ? start_socat(bed, contender, service, family)
                            : start_by_contract(bed, contender, service, family));
    }
  }
  std::vector<ChildProcess> proxies;
  proxies.reserve(started.size());
  for (Result<ChildProcess>& one : started) {
    if (!one) return std::unexpected(one.error());
    proxies.push_back(std::move(*one));
  }
  return proxies;
}

std::string first_line_of(const std::vector<std::string>& command) {
  auto child = ChildProcess::spawn(command, {});
  if (!child || !child->wait(milliseconds(3000))) return "";
  const std::string text = child->output() + child->errors();
  return text.substr(0, text.find('\n'));
}

}  // namespace

bool Contender::carries(Service service) const {
  if (service == Service::contract) return kind == Kind::docker_proxy_like;
  if (service == Service::held) return is_proxy();
  return kind != Kind::haproxy || !is_datagram(service);
}

bool Contender::is_docker_proxy() const {
  return kind == Kind::docker_proxy_like && program.ends_with("docker-proxy");
}

int bound_ports(const TestBed& bed, bool datagram, Family family, int first, int last) {
  const std::string path = fmt::format("/proc/thread-self/net/{}{}", datagram ? "udp" : "tcp",
                                       family == Family::ipv4 ? "" : "6");
  const std::string wanted_state = datagram ? "07" : "0A";
  int count = 0;
  bed.host().run_inside([&] {
    std::ifstream table(path);
    std::string line;
    std::getline(table, line);  // The head.
    while (std::getline(table, line)) {
      std::istringstream fields(line);
      std::string slot;
      std::string local;
      std::string remote;
      std::string state;
      fields >> slot >> local >> remote >> state;
      const int port = std::stoi(local.substr(local.find(':') + 1), nullptr, 16);
      if (port >= first && port <= last && state == wanted_state) ++count;
    }
  });
  return count;
}

Result<ChildProcess> start_docker_proxy_like(const TestBed& bed, const Contender& contender,
                                             const Publication& publication) {
  std::vector<std::string> command = {contender.program,
                                      "-proto",
                                      publication.datagram ? "udp" : "tcp",
                                      "-host-ip",
                                      publication.host_address,
                                      "-host-port",
                                      std::to_string(publication.host_port),
                                      "-container-ip",
                                      publication.container_address,
                                      "-container-port",
                                      std::to_string(publication.container_port)};
  command.insert(command.end(), contender.arguments.begin(), contender.arguments.end());
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return failed("pipe2", errno);
  const FileDescriptor reader(ends[0]);
  FileDescriptor writer(ends[1]);
  auto proxy = ChildProcess::spawn(command, {.network = &bed.host(), .status_fd = writer.get()});
  writer.reset();
  if (!proxy) return proxy;
  pollfd readable{reader.get(), POLLIN, 0};
  char status[512] = {};
  const ssize_t size =
      ::poll(&readable, 1, 3000) > 0 ? ::read(reader.get(), status, sizeof status - 1) : -1;
  if (size < 1 || status[0] != '0') {
    return failed(fmt::format(
        "{} did not start: {}{}", contender.label,
        std::string_view(status, size > 0 ? static_cast<std::size_t>(size) : 0), proxy->errors()));
  }
  return proxy;
}

Result<ChildProcess> start_by_hand(const TestBed& bed, const Contender& contender,
                                   const std::vector<std::string>& mappings) {
  std::vector<std::string> command = {contender.program};
  for (const std::string& mapping : mappings) command.insert(command.end(), {"-p", mapping});
  for (const std::string& argument : contender.arguments) {
    // Go-style flags are docker-proxy's grammar; by hand the same options have two dashes.
    const bool single_dash = argument.starts_with('-') && !argument.starts_with("--");
    command.push_back(single_dash ? "-" + argument : argument);
  }
  return ChildProcess::spawn(command, {.network = &bed.host()});
}

std::uint16_t published_port(const Contender& contender, Service service) {
  if (contender.is_proxy()) return proxy_port(service);
  return contender.kind == Kind::direct ? container_port(service) : dnat_port(service);
}

Result<Route> open_route(const TestBed& bed, const Contender& contender,
                         const std::vector<Service>& services, Family family) {
  Route route;
  route.client = contender.kind == Kind::hairpin ? &bed.neighbour() : &bed.client();
  route.address = contender.kind == Kind::direct ? container_address(family) : host_address(family);
  route.port = published_port(contender, services.front());
  if (!contender.is_proxy()) return route;
  const auto deadline = steady_clock::now() + milliseconds(3000);
  const auto is_bound = [&](Service service) {
    const int port = proxy_port(service);
    return bound_ports(bed, is_datagram(service), family, port, port) > 0;
  };
  // A killed process with an io_uring keeps its port for some milliseconds after it was reaped.
  while (std::ranges::any_of(services, is_bound) && steady_clock::now() < deadline) {
    std::this_thread::sleep_for(milliseconds(2));
  }
  auto proxies = start_proxies(bed, contender, services, family);
  if (!proxies) return std::unexpected(proxies.error());
  while (!std::ranges::all_of(services, is_bound)) {
    for (const ChildProcess& proxy : *proxies) {
      if (!proxy.running() || steady_clock::now() > deadline) {
        return failed(fmt::format("{} did not bind its ports: {}{}", contender.label,
                                  proxy.errors(), proxy.output()));
      }
    }
    std::this_thread::sleep_for(milliseconds(2));
  }
  route.proxies = std::move(*proxies);
  return route;
}

std::vector<Contender> known_peers(
    const std::vector<std::pair<std::string, std::string>>& docker_proxies,
    std::vector<std::string>& missing) {
  std::vector<Contender> peers;
  for (const auto& [label, kind] :
       {std::pair{"direct", Kind::direct}, std::pair{"dnat", Kind::dnat},
        std::pair{"hairpin", Kind::hairpin}}) {
    peers.push_back({.label = label, .kind = kind});
  }
  const auto add = [&](Contender peer, const std::string& name, const std::string& version_option) {
    peer.program = find_program(name);
    if (peer.program.empty()) {
      missing.push_back(fmt::format("{} ({} is not installed)", peer.label, name));
      return;
    }
    if (!version_option.empty()) peer.version = first_line_of({peer.program, version_option});
    peers.push_back(std::move(peer));
  };
  for (const auto& [label, path] : docker_proxies) {
    add({.label = label, .kind = Kind::docker_proxy_like}, path, "");
  }
  // With defaults these look two to three times slower than they are.
  add({.label = "haproxy-splice",
       .kind = Kind::haproxy,
       .global_settings = "  tune.pipesize 1048576",
       .listener_settings = "  option splice-request\n  option splice-response"},
      "haproxy", "-v");
  add({.label = "haproxy-copy", .kind = Kind::haproxy, .global_settings = "  tune.bufsize 262144"},
      "haproxy", "-v");
  // Distributions ship nginx's stream part as a module.
  const std::string module = "/usr/lib/nginx/modules/ngx_stream_module.so";
  if (::access(module.c_str(), R_OK) == 0) {
    add({.label = "nginx", .kind = Kind::nginx, .global_settings = "load_module " + module + ";"},
        "nginx", "-v");
  } else {
    missing.push_back(fmt::format("nginx ({} is not there)", module));
  }
  add({.label = "socat", .kind = Kind::socat}, "socat", "-V");
  return peers;
}

}  // namespace fairlead::bench
