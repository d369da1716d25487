// What a process, with all its threads and descendants, takes from the machine.

#pragma once

#include <sys/types.h>

namespace fairlead::bench {

/// Run time of a process, all its threads (io_uring workers included) and all its descendants, in
/// seconds: /proc/PID/task/*/schedstat for what lives, plus the times of reaped children.
double process_tree_cpu_s(pid_t pid);

/// Time the whole machine has not been idle since boot, in seconds (/proc/stat; 10 ms steps).
double system_cpu_s();

struct Footprint {
  double private_kb = 0;  ///< Dirty pages that no other process shares (smaps_rollup).
  double threads = 0;
  double descriptors = 0;
  double processes = 0;

  Footprint& operator+=(const Footprint& other);
};

/// Of a process and all its descendants.
Footprint process_tree_footprint(pid_t pid);

/// Memory of the kernel that a process can be the cause of, for the whole machine: Slab (sockets,
/// their inodes and directory entries, tracked connections, poll entries, pipes), KernelStack and
/// PageTables of /proc/meminfo, and the pages that /proc/net/sockstat has for data in TCP sockets.
double kernel_memory_kb();

/// MemAvailable of /proc/meminfo.
double available_memory_kb();

}  // namespace fairlead::bench
