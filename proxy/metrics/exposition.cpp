#include "proxy/metrics/exposition.h"

#include <fmt/format.h>

#include <iterator>
#include <vector>

#include "proxy/version.h"

namespace fairlead {
namespace {

/// The protocols that have a figure: bits.
enum class Of : unsigned { connections = 1, datagrams = 2, all = 3 };

struct Sample {
  /// Of the family's label; empty where the family has none.
  std::string_view value;
  Counters::Count Counters::* count;
  Of of;
};

struct MetricFamily {
  std::string_view name;
  std::string_view type;
  std::string_view help;
  /// That tells the samples of one mapping apart.
  std::string_view label;
  std::span<const Sample> samples;
};

constexpr Sample kAccepted[] = {{{}, &Counters::connections_accepted, Of::connections}};
constexpr Sample kOpen[] = {{{}, &Counters::connections_open, Of::connections}};
constexpr Sample kSessionsOpened[] = {{{}, &Counters::sessions_opened, Of::datagrams}};
constexpr Sample kSessionsOpen[] = {{{}, &Counters::sessions_open, Of::datagrams}};
constexpr Sample kBytes[] = {{"to_container", &Counters::bytes_to_container, Of::all},
                             {"to_client", &Counters::bytes_to_client, Of::all}};
constexpr Sample kDatagrams[] = {{"to_container", &Counters::datagrams_to_container, Of::datagrams},
                                 {"to_client", &Counters::datagrams_to_client, Of::datagrams}};
constexpr Sample kErrors[] = {
    {"connection_refused", &Counters::connections_refused, Of::connections},
    {"connection_reset", &Counters::connections_reset, Of::connections},
    {"connection_timed_out", &Counters::connections_timed_out, Of::connections},
    {"proxy_header", &Counters::proxy_headers_refused, Of::all},
    {"accept_pause", &Counters::accept_pauses, Of::connections},
    {"client_over_limit", &Counters::clients_over_limit, Of::connections},
    {"client_denied", &Counters::clients_denied, Of::all},
    {"session_evicted", &Counters::sessions_evicted, Of::datagrams},
    {"datagram_dropped", &Counters::datagrams_dropped, Of::datagrams}};

constexpr MetricFamily kFamilies[] = {
    {"fairlead_connections_accepted_total", "counter",
     "TCP and SCTP connections of clients that were relayed.", "", kAccepted},
    {"fairlead_connections_open", "gauge", "TCP and SCTP connections that are open.", "", kOpen},
    {"fairlead_udp_sessions_opened_total", "counter", "UDP sessions that were opened.", "",
     kSessionsOpened},
    {"fairlead_udp_sessions_open", "gauge", "UDP sessions that are open.", "", kSessionsOpen},
    {"fairlead_bytes_total", "counter", "Payload that was relayed.", "direction", kBytes},
    {"fairlead_datagrams_total", "counter", "Datagrams that were relayed.", "direction",
     kDatagrams},
    {"fairlead_errors_total", "counter", "What could not be relayed, or ended early, by kind.",
     "kind", kErrors},
};

bool has(const Mapping& mapping, Of of) {
  const Of own = mapping.protocol == Protocol::udp ? Of::datagrams : Of::connections;
  return (static_cast<unsigned>(own) & static_cast<unsigned>(of)) != 0;
}

void append_head(std::string& text, std::string_view name, std::string_view type,
                 std::string_view help) {
  fmt::format_to(std::back_inserter(text), "# HELP {0} {1}\n# TYPE {0} {2}\n", name, help, type);
}

/// `names` are the mappings' texts: they stand in every family, and a process may have thousands.
void append_family(std::string& text, const MetricFamily& family, std::span<const Mapping> mappings,
                   std::span<const std::string> names, std::span<const Counters> counters) {
  append_head(text, family.name, family.type, family.help);
  for (std::size_t i = 0; i < mappings.size(); ++i) {
    for (const Sample& sample : family.samples) {
      if (!has(mappings[i], sample.of)) continue;
      // A mapping's text has no character that would have to be escaped.
      fmt::format_to(std::back_inserter(text), "{}{{mapping=\"{}\"", family.name, names[i]);
      if (!family.label.empty()) {
        fmt::format_to(std::back_inserter(text), ",{}=\"{}\"", family.label, sample.value);
      }
      fmt::format_to(std::back_inserter(text), "}} {}\n", (counters[i].*sample.count).load());
    }
  }
}

}  // namespace

std::string exposition(const ProcessFacts& process, std::span<const Mapping> mappings,
                       std::span<const Counters> counters) {
  std::string text;
  append_head(text, "fairlead_build_info", "gauge", "1, with what serves as labels.");
  fmt::format_to(std::back_inserter(text),
                 "fairlead_build_info{{version=\"{}\",commit=\"{}\",engine=\"{}\"}} 1\n", kVersion,
                 kCommit, process.engine);
  const auto append = [&](std::string_view name, std::string_view type, std::string_view help,
                          const auto& value) {
    append_head(text, name, type, help);
    fmt::format_to(std::back_inserter(text), "{} {}\n", name, value);
  };
  append("fairlead_loops", "gauge", "Threads that relay: see --workers.", process.loops);
  append("fairlead_connections_limit", "gauge", "TCP and SCTP connections that may be open.",
         process.connections_max);
  append("fairlead_udp_sessions_limit", "gauge", "UDP sessions that may be open.",
         process.sessions_max);
  append("process_start_time_seconds", "gauge", "When the process started, since 1970.",
         fmt::format("{:.3f}", process.started_at_seconds));
  append("process_cpu_seconds_total", "counter", "Processor time that the process has used.",
         fmt::format("{:.6f}", process.cpu_seconds));
  std::vector<std::string> names;
  names.reserve(mappings.size());
  for (const Mapping& mapping : mappings) names.push_back(mapping.to_string());
  for (const MetricFamily& family : kFamilies) {
    append_family(text, family, mappings, names, counters);
  }
  return text;
}

}  // namespace fairlead
