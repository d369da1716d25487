// io_uring constants newer than the headers we build with (liburing 2.3, Linux 6.1). Each is probed
// at run time before it is used. Values: include/uapi/linux/io_uring.h of the kernel named.

#pragma once

namespace fairlead::abi {

/// Linux 6.15: waiting in io_uring_enter is not counted as waiting for a disk.
inline constexpr unsigned kEnterNoIowait = 1U << 7;
inline constexpr unsigned kFeatureNoIowait = 1U << 17;

}  // namespace fairlead::abi
