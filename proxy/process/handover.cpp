#include "proxy/process/handover.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <span>
#include <utility>

#include "proxy/log/log.h"

// syscalls[handover]: geteuid getsockopt sendmsg recvmsg recvfrom read write sendto

namespace fairlead {
namespace {

/// SCM_MAX_FD of the kernel is 253.
constexpr std::size_t kDescriptorsPerMessage = 250;
constexpr std::size_t kControlBytes = CMSG_SPACE(kDescriptorsPerMessage * sizeof(int));
constexpr int kAnswerSeconds = 10;

/// What travels with descriptors. Bytes, since another process writes them.
struct Announcement {
  /// Of this exchange; another one is refused.
  std::uint8_t version = 1;
  /// Not 0: another message follows.
  std::uint8_t more = 0;
};
/// The answer: this, and of each descriptor what became of it. One that ends early has kept the
/// rest.
constexpr char kTaken = 'T';
constexpr char kKept = '+';
constexpr char kGivenUp = '-';

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

bool connects(int fd, const std::string& path) {
  const sockaddr_un address = address_of(path);
  return ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

/// A new proxy that was killed before it could confirm has left its own end at the path, with
/// nobody behind it.
bool connects_to_displaced(int fd, const std::string& path) {
  const std::string displaced = SocketFile::displaced_path(path);
  return connects(fd, displaced) && ::rename(displaced.c_str(), path.c_str()) == 0;
}

/// The memory of one message with descriptors.
struct Parcel {
  Announcement announcement;
  alignas(cmsghdr) std::array<std::byte, kControlBytes> control{};
  iovec piece{};
  msghdr header{};

  Parcel() {
    piece = {&announcement, sizeof announcement};
    header.msg_iov = &piece;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
  }
};

void take_descriptors(msghdr& header, std::vector<FileDescriptor>& taken) {
  for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr;
       control = CMSG_NXTHDR(&header, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(control) + i * sizeof fd, sizeof fd);
      taken.emplace_back(fd);
    }
  }
}

bool is_trusted(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return false;
  return peer.uid == 0 || peer.uid == ::geteuid();
}

}  // namespace

// The new proxy's end.

Result<std::optional<Takeover>> Takeover::ask(const std::string& path) {
  struct stat facts{};
  if (::lstat(path.c_str(), &facts) < 0) {
    if (errno == ENOENT) return std::nullopt;
    return failed("handover at " + path, errno);
  }
  if (!S_ISSOCK(facts.st_mode)) return failed("handover at " + path + ": the file is no socket");

  Takeover takeover;
  // Messages with boundaries, so that descriptors stay with their announcement.
  takeover.connection_ = FileDescriptor(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!takeover.connection_) return failed("socket for " + path, errno);
  const int fd = takeover.connection_.get();
  const timeval patience{.tv_sec = kAnswerSeconds, .tv_usec = 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (!connects(fd, path)) {
    // ECONNREFUSED: one that has ended without removing it.
    if (errno != ECONNREFUSED && errno != ENOENT) {
      return failed("handover at " + path + ": connect", errno);
    }
    if (!connects_to_displaced(fd, path)) return std::nullopt;
  }
  for (bool more = true; more;) {
    Parcel parcel;
    const ssize_t size = ::recvmsg(fd, &parcel.header, MSG_CMSG_CLOEXEC);
    if (size < 0 && errno == EINTR) continue;
    // It ended while we waited to be accepted.
    if (size < 0 && errno == ECONNRESET) return std::nullopt;
    if (size < 0) return failed("handover at " + path + ": receive", errno);
    take_descriptors(parcel.header, takeover.sockets_);
    if (size == 0) return failed("handover at " + path + ": the other proxy has refused it");
    if ((parcel.header.msg_flags & MSG_CTRUNC) != 0) {
      return failed("handover at " + path + ": too few descriptors for the sockets");
    }
    if (size != sizeof parcel.announcement || parcel.announcement.version != 1) {
      return failed("handover at " + path + ": the other proxy hands over in another way");
    }
    more = parcel.announcement.more != 0;
  }
  for (const FileDescriptor& socket : takeover.sockets_) {
    takeover.received_.push_back(socket.get());
  }
  return takeover;
}

Result<void> Takeover::confirm(std::vector<int> served) {
  std::ranges::sort(served);
  std::vector<char> said = {kTaken};
  for (const int socket : received_) {
    said.push_back(std::ranges::binary_search(served, socket) ? kKept : kGivenUp);
  }
  if (::send(connection_.get(), said.data(), said.size(), MSG_NOSIGNAL) < 0) {
    return failed("confirm the handover", errno);
  }
  // The other closes the connection when it accepts no more. If it takes long about it, clients are
  // served by either.
  char nothing = 0;
  (void)::recv(connection_.get(), &nothing, sizeof nothing, 0);
  return {};
}

// The serving proxy's end.

Result<std::unique_ptr<HandoverOffer>> HandoverOffer::open(
    Engine& engine, Deadlines& deadlines, const std::string& path,
    std::function<std::vector<int>()> descriptors, Taken taken) {
  auto file = SocketFile::listen(path, SOCK_SEQPACKET, 0600);
  if (!file) return std::unexpected(file.error());
  std::unique_ptr<HandoverOffer> offer(new HandoverOffer(engine, deadlines, std::move(*file)));
  offer->descriptors_ = std::move(descriptors);
  offer->taken_ = std::move(taken);
  offer->accept();
  return offer;
}

HandoverOffer::HandoverOffer(Engine& engine, Deadlines& deadlines, SocketFile file)
    : engine_(engine),
      deadlines_(deadlines),
      file_(std::move(file)),
      unconfirmed_(*this, kConfirmMs) {
  deadlines_.add(unconfirmed_);
}

HandoverOffer::~HandoverOffer() { deadlines_.remove(unconfirmed_); }

void HandoverOffer::accept() { engine_.accept(*this, kAccept, file_.socket().get(), Repeat::once); }

void HandoverOffer::on_completion(Completion completion) {
  if (completion.tag == kAccept) {
    if (completion.result >= 0) {
      greet(FileDescriptor(completion.result));
    } else if (completion.result != -ECANCELED) {
      log_warn("handover at " + file_.path() + ": accept: " + errno_text(-completion.result));
      // Later: what cannot be accepted now (EMFILE) would fail as fast as it is tried.
      unconfirmed_.set(overdue_, engine_.now());
    }
  } else if (completion.result == -ECANCELED) {
    log_warn("handover at " + file_.path() + ": the new proxy has not confirmed it in time");
    dismiss();
  } else if (sent_ < to_send_.size()) {
    send();
  } else {
    hear();
  }
}

void HandoverOffer::on_deadline(Deadline&) {
  if (peer_) {
    engine_.cancel(*this, kPeer);
  } else {
    accept();
  }
}

void HandoverOffer::greet(FileDescriptor peer) {
  peer_ = std::move(peer);
  if (!is_trusted(peer_.get())) {
    log_warn("handover at " + file_.path() + ": refused to another user");
    dismiss();
    return;
  }
  to_send_ = descriptors_();
  sent_ = 0;
  unconfirmed_.set(overdue_, engine_.now());
  send();
}

void HandoverOffer::send() {
  do {
    const std::size_t count = std::min(to_send_.size() - sent_, kDescriptorsPerMessage);
    Parcel parcel;
    parcel.announcement.more = sent_ + count < to_send_.size() ? 1 : 0;
    parcel.header.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr* control = CMSG_FIRSTHDR(&parcel.header);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(count * sizeof(int));
    std::memcpy(CMSG_DATA(control), to_send_.data() + sent_, count * sizeof(int));
    const ssize_t result = engine_.send_message(peer_.get(), parcel.header, 0);
    if (result == -EAGAIN) {
      engine_.wait(*this, kPeer, peer_.get(), POLLOUT);
      return;
    }
    if (result < 0) {
      log_warn("handover at " + file_.path() + ": send: " + errno_text(static_cast<int>(-result)));
      dismiss();
      return;
    }
    sent_ += count;
  } while (sent_ < to_send_.size());
  engine_.wait(*this, kPeer, peer_.get(), POLLIN);
}

void HandoverOffer::hear() {
  std::vector<char> said(1 + to_send_.size());
  iovec piece{said.data(), said.size()};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  const ssize_t result = engine_.receive_message(peer_.get(), header, 0);
  if (result == -EAGAIN) {
    engine_.wait(*this, kPeer, peer_.get(), POLLIN);
  } else if (result > 0 && said[0] == kTaken) {
    std::vector<int> given_up;
    for (std::size_t i = 0; i < to_send_.size(); ++i) {
      if (said[1 + i] == kGivenUp) given_up.push_back(to_send_[i]);
    }
    overdue_.unlink();
    engine_.close(std::move(file_.socket()));
    taken_(std::move(given_up));
    engine_.defer(*this);
  } else {
    log_warn("handover at " + file_.path() + ": the new proxy has failed, this one goes on");
    dismiss();
  }
}

void HandoverOffer::on_deferred() {
  // The owner stops accepting after this turn, and the kernel learns of it in the next.
  if (std::exchange(stopping_, true)) {
    engine_.close(std::move(peer_));
  } else {
    engine_.defer(*this);
  }
}

void HandoverOffer::dismiss() {
  overdue_.unlink();
  engine_.close(std::move(peer_));
  accept();
}

}  // namespace fairlead
