// What is done to a contender: the rows of the report.

#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bench/contender.h"
#include "bench/test_bed.h"
#include "proxy/mapping/error.h"

namespace fairlead::bench {

/// What one run showed.
struct Outcome {
  double value = 0;    ///< In the workload's metric.
  double units = 0;    ///< How much was carried: what CPU time is divided by.
  double seconds = 0;  ///< How long it took.
  std::map<std::string, double> details = {};  ///< Latencies, losses, errors.
};

struct Workload {
  std::string name;
  std::string title;   ///< For the report.
  std::string metric;  ///< "Gbit/s"; more is better.
  std::string unit;    ///< "GB": processor time is reported per this.
  Service service = Service::http;
  std::optional<Service> beside = {};  ///< Used in the same run, through the same proxy.
  Family family = Family::ipv4;
  bool in_quick = false;
  bool of_interest = false;  ///< In a full run through every contender, as those of a quick one.
  bool lower_is_better = false;
  bool needs_route = true;  ///< False: `run` starts the contender itself, and its route is empty.
  std::function<Result<Outcome>(const TestBed&, const Contender&, const Route&, double seconds)>
      run = {};

  std::vector<Service> services() const {
    return beside ? std::vector{service, *beside} : std::vector{service};
  }
};

std::vector<Workload> bulk_workloads();
std::vector<Workload> request_workloads();
std::vector<Workload> datagram_workloads();
std::vector<Workload> footprint_workloads();

}  // namespace fairlead::bench
