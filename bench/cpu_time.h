// How much processor time something has used.

#pragma once

#include <sys/types.h>

namespace fairlead::bench {

/// Run time of a process, all its threads (io_uring workers included) and all its descendants, in
/// seconds: /proc/PID/task/*/schedstat for what lives, plus the times of reaped children.
double process_tree_cpu_s(pid_t pid);

/// Time the whole machine has not been idle since boot, in seconds (/proc/stat; 10 ms steps).
double system_cpu_s();

}  // namespace fairlead::bench
