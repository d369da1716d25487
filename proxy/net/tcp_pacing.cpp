#include "proxy/net/tcp_pacing.h"

// Not <netinet/tcp.h>, whose tcp_info ends before the field that is needed.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <string_view>

#include "proxy/net/file_descriptor.h"

// syscalls: getsockopt setsockopt

namespace fairlead {
namespace {

constexpr std::string_view kPaced = "bbr";
/// Always there, and open to everyone.
constexpr std::string_view kUnpaced = "reno";

bool is_paced(int fd) {
  // TCP_CA_NAME_MAX of the kernel; what is left of it is zeros.
  std::array<char, 16> name{};
  socklen_t size = name.size() - 1;
  return ::getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(), &size) == 0 &&
         name.data() == kPaced;
}

bool set_congestion_control(int fd, std::string_view name) {
  return ::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(),
                      static_cast<socklen_t>(name.size())) == 0;
}

}  // namespace

bool system_is_paced() {
  const FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return is_paced(socket.get());
}

bool begin_unpaced(int fd) { return is_paced(fd) && set_congestion_control(fd, kUnpaced); }

void pace_if_far(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0) return;
  if (!is_near(info.tcpi_min_rtt)) set_congestion_control(fd, kPaced);
}

bool is_near(std::uint32_t round_trip_us) {
  // 6 to 10 us over a bridge or the loopback interface, since the receiver's side of the kernel
  // answers before the sender's has returned, however busy the processors are. Through a network
  // card, a switch and another card it is hardly less than 50.
  constexpr std::uint32_t kNearUs = 50;
  return round_trip_us > 0 && round_trip_us < kNearUs;
}

}  // namespace fairlead
