#include "tests/unit/scripted_engine.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace fairlead {

ScriptedEngine::ScriptedEngine(std::uint16_t small_buffers, std::uint16_t large_buffers)
    : pools_{BufferPool{small_buffers, kSmallBufferBytes},
             BufferPool{large_buffers, kLargeBufferBytes}} {
  set_now(1'000'000);
}

ScriptedEngine::~ScriptedEngine() {
  EXPECT_TRUE(operations_.empty()) << "operations left in flight";
  forget_closed();
  for (const auto& [fd, socket] : sockets_) {
    EXPECT_TRUE(socket.is_listening || !socket.had_operation || socket.peer->closed)
        << "descriptor " << fd << " left open";
  }
  // BufferPool checks that every lease is back.
}

FileDescriptor ScriptedEngine::new_descriptor() {
  return FileDescriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

ScriptedEngine::Socket& ScriptedEngine::add_socket(int fd) {
  EXPECT_FALSE(sockets_.contains(fd)) << "a socket was closed behind the engine's back";
  pipes_.erase(fd);
  Socket& socket = sockets_[fd];
  socket.peer = std::make_unique<Peer>();
  return socket;
}

ScriptedEngine::Socket& ScriptedEngine::socket(int fd) {
  const auto found = sockets_.find(fd);
  EXPECT_NE(found, sockets_.end()) << "descriptor " << fd << " is no socket";
  EXPECT_FALSE(found->second.peer->closed) << "descriptor " << fd << " is closed";
  return found->second;
}

int ScriptedEngine::listening_socket() {
  FileDescriptor fd = new_descriptor();
  add_socket(fd.get()).is_listening = true;
  return fd.release();
}

ScriptedEngine::Peer& ScriptedEngine::connect_to(int listener) {
  FileDescriptor fd = new_descriptor();
  Peer& peer = *add_socket(fd.get()).peer;
  peer.connected = true;
  socket(listener).pending.push_back(std::move(fd));
  return peer;
}

void ScriptedEngine::deafen(const Peer& peer) {
  for (const auto& operation : operations_) {
    if (operation->call == Call::receive && socket(operation->fd).peer.get() == &peer) {
      operation->deaf = true;
    }
  }
}

std::size_t ScriptedEngine::operations_on(const Peer& peer) const {
  return static_cast<std::size_t>(std::ranges::count_if(operations_, [&](const auto& operation) {
    const auto socket = sockets_.find(operation->fd);
    return socket != sockets_.end() && socket->second.peer.get() == &peer;
  }));
}

void ScriptedEngine::forget_closed() {
  closed_.clear();
  for (auto& [fd, socket] : sockets_) {
    for (const FileDescriptor& client : socket.pending) {
      sockets_.at(client.get()).peer->closed = true;
    }
    socket.pending.clear();
  }
}

// Failing on demand.

int ScriptedEngine::scripted_error(Call call) {
  ++call_count_;
  if (call_count_ == failing_call_) {
    const auto error = failing_errors_.find(call);
    if (error != failing_errors_.end()) return error->second;
  }
  std::deque<int>& errors = script_[index(call)];
  if (errors.empty()) return 0;
  const int error = errors.front();
  errors.pop_front();
  return error;
}

std::size_t ScriptedEngine::cut(Call call, std::size_t size) const {
  if (!shorten || size == 0) return size;
  return std::min(size, shorten(call, size));
}

int ScriptedEngine::take_error(Peer& peer) {
  if (!peer.broken) return 0;
  return -std::exchange(peer.error_number, 0);
}

// Operations.

ScriptedEngine::Operation& ScriptedEngine::start(Call call, Handler& handler, Tag tag, int fd) {
  for (const auto& operation : operations_) {
    EXPECT_FALSE(operation->handler == &handler && operation->tag == tag)
        << "two operations with tag " << int{tag};
  }
  socket(fd).had_operation = true;
  operations_.push_back(std::make_shared<Operation>(
      Operation{.call = call, .handler = &handler, .tag = tag, .fd = fd}));
  return *operations_.back();
}

void ScriptedEngine::accept(Handler& handler, Tag tag, int listener, Repeat repeat) {
  start(Call::accept, handler, tag, listener).repeat = repeat;
}

void ScriptedEngine::connect(Handler& handler, Tag tag, int fd, const SocketAddress&) {
  start(Call::connect, handler, tag, fd);
}

void ScriptedEngine::receive(Handler& handler, Tag tag, int fd, BufferSize size, Repeat repeat) {
  Operation& operation = start(Call::receive, handler, tag, fd);
  operation.size = size;
  operation.repeat = repeat;
  operation.starved = pools_[index(size)].exhausted();
}

void ScriptedEngine::wait(Handler& handler, Tag tag, int fd, short events) {
  Operation& operation = start(Call::receive, handler, tag, fd);
  operation.is_wait = true;
  operation.events = events;
}

void ScriptedEngine::cancel(Handler& handler, Tag tag) {
  for (const auto& operation : operations_) {
    if (operation->handler == &handler && operation->tag == tag) operation->cancelled = true;
  }
}

void ScriptedEngine::close(FileDescriptor fd) {
  if (!fd) return;
  for (const auto& operation : operations_) {
    EXPECT_NE(operation->fd, fd.get()) << "closed with an operation in flight";
  }
  Socket& closing = socket(fd.get());
  closing.peer->closed = true;
  // Bytes that were not received make the kernel send a reset, too.
  closing.peer->got_reset = closing.reset_on_close || !closing.peer->to_relay.empty();
  closing.peer->got_fin = closing.peer->got_fin || !closing.peer->got_reset;
  closed_.push_back(std::move(fd));
}

void ScriptedEngine::stop() { operations_.clear(); }

void ScriptedEngine::release_buffers() {
  for (BufferPool& pool : pools_) pool.release_memory();
}

// Turns.

void ScriptedEngine::turn(std::optional<TimeMs>) {
  std::vector<std::pair<Handler*, Completion>> completions;
  std::deque<std::shared_ptr<Operation>> going_on;
  for (const auto& operation : operations_) {
    std::optional<Completion> completion = try_complete(*operation);
    if (!completion || completion->more) going_on.push_back(operation);
    if (!completion) continue;
    completion->tag = operation->tag;
    completions.emplace_back(operation->handler, std::move(*completion));
  }
  operations_ = std::move(going_on);
  completion_count_ += completions.size();
  for (auto& [handler, completion] : completions) handler->on_completion(std::move(completion));
  run_deferred();
}

bool ScriptedEngine::run() {
  constexpr int kTurnsMax = 100'000;
  for (int turns = 0; turns < kTurnsMax; ++turns) {
    const std::size_t before = completion_count_;
    const bool had_deferred = has_deferred();
    turn(std::nullopt);
    if (completion_count_ == before && !had_deferred && !has_deferred()) return true;
  }
  return false;
}

std::optional<Completion> ScriptedEngine::try_complete(Operation& operation) {
  Socket& on = socket(operation.fd);
  const bool goes_on = cancels_late && operation.call == Call::receive && !operation.is_wait &&
                       !on.peer->to_relay.empty();
  if (operation.cancelled && !goes_on) return Completion{.result = -ECANCELED};
  if (operation.is_wait) return try_wait(operation, *on.peer);
  switch (operation.call) {
    case Call::accept:
      return try_accept(operation.repeat, on);
    case Call::connect:
      return try_connect(*on.peer);
    default:
      return try_receive(operation, *on.peer);
  }
}

std::optional<Completion> ScriptedEngine::try_accept(Repeat repeat, Socket& listener) {
  if (listener.pending.empty()) return std::nullopt;
  if (const int error = scripted_error(Call::accept); error != 0) {
    return Completion{.result = error};
  }
  const int fd = listener.pending.front().release();
  listener.pending.pop_front();
  return Completion{.result = fd, .more = repeat == Repeat::until_stopped};
}

std::optional<Completion> ScriptedEngine::try_connect(Peer& peer) {
  if (!peer.connect_result) return std::nullopt;
  int result = *peer.connect_result;
  if (const int error = scripted_error(Call::connect); error != 0) result = error;
  peer.connected = result == 0;
  if (!peer.connected) peer.broken = true;
  return Completion{.result = result};
}

std::optional<Completion> ScriptedEngine::try_receive(Operation& operation, Peer& peer) {
  BufferPool& pool = pools_[index(operation.size)];
  if (operation.starved) {
    if (pool.exhausted()) return std::nullopt;
    operation.starved = false;
  }
  if (peer.to_relay.empty() && !peer.broken && !peer.fin) return std::nullopt;
  if (peer.to_relay.empty() && operation.deaf) return std::nullopt;
  if (const int error = scripted_error(Call::receive); error != 0) {
    if (error != -ENOBUFS && error != -ENOMEM) peer.broken = true;
    return Completion{.result = error};
  }
  if (peer.to_relay.empty()) return Completion{.result = take_error(peer)};
  if (pool.exhausted()) return Completion{.result = -ENOBUFS};
  const std::span<std::byte> space = pool.next();
  const std::size_t size =
      std::max<std::size_t>(cut(Call::receive, std::min(space.size(), peer.to_relay.size())), 1);
  std::memcpy(space.data(), peer.to_relay.data(), size);
  peer.to_relay.erase(0, size);
  return Completion{.result = static_cast<int>(size),
                    .more = operation.repeat == Repeat::until_stopped,
                    .lease = pool.lend(size)};
}

std::optional<Completion> ScriptedEngine::try_wait(const Operation& operation, const Peer& peer) {
  int revents = ready_events(peer) & operation.events;
  if (peer.error_number != 0) revents |= POLLERR;
  if (peer.broken || (peer.fin && peer.got_fin)) revents |= POLLHUP;
  if (revents == 0) return std::nullopt;
  return Completion{.result = revents};
}

int ScriptedEngine::ready_events(const Peer& peer) {
  int ready = 0;
  if (!peer.to_relay.empty() || peer.fin || peer.broken) ready |= POLLIN;
  if (peer.room > 0 || peer.broken) ready |= POLLOUT;
  if (peer.broken) ready |= POLLERR | POLLHUP;
  return ready;
}

// System calls that do not wait.

short ScriptedEngine::ready_events(int fd, short events) {
  return static_cast<short>(ready_events(*socket(fd).peer) & events);
}

int ScriptedEngine::accept_waiting(int listener) {
  const auto accepted = try_accept(Repeat::once, socket(listener));
  return accepted ? accepted->result : -EAGAIN;
}

ssize_t ScriptedEngine::send(int fd, std::span<const iovec> pieces) {
  Peer& peer = *socket(fd).peer;
  EXPECT_TRUE(peer.connected) << "sent before the connection was made";
  EXPECT_FALSE(peer.got_fin) << "sent after the FIN";
  if (const int error = scripted_error(Call::send); error != 0) {
    peer.broken = peer.broken || error == -EPIPE || error == -ECONNRESET;
    return error;
  }
  if (peer.broken) {
    const int error = take_error(peer);
    return error != 0 ? error : -EPIPE;
  }
  std::string bytes;
  for (const iovec& piece : pieces) {
    EXPECT_GT(piece.iov_len, 0U) << "an empty piece";
    bytes.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
  }
  const std::size_t size = cut(Call::send, std::min(bytes.size(), peer.room));
  if (size == 0) return -EAGAIN;
  peer.from_relay.append(bytes, 0, size);
  if (peer.room != kUnlimited) peer.room -= size;
  return static_cast<ssize_t>(size);
}

ssize_t ScriptedEngine::splice(int from, int to, std::size_t size_max) {
  if (const int error = scripted_error(Call::splice); error != 0) return error;
  if (const auto pipe = pipes_.find(to); pipe != pipes_.end()) {
    Peer& peer = *socket(from).peer;
    FakePipe& into = *pipe->second;
    if (into.bytes.size() == into.room_bytes) return -EAGAIN;
    if (peer.to_relay.empty()) {
      if (peer.broken) return take_error(peer);
      return peer.fin ? 0 : -EAGAIN;
    }
    const std::size_t room = std::min(into.room_bytes - into.bytes.size(), size_max);
    const std::size_t size =
        std::max<std::size_t>(cut(Call::splice, std::min(room, peer.to_relay.size())), 1);
    into.bytes.append(peer.to_relay, 0, size);
    peer.to_relay.erase(0, size);
    return static_cast<ssize_t>(size);
  }

  const auto pipe = pipes_.find(from);
  EXPECT_NE(pipe, pipes_.end()) << "neither end is a pipe";
  std::string& bytes = pipe->second->bytes;
  Peer& peer = *socket(to).peer;
  EXPECT_TRUE(peer.connected) << "sent before the connection was made";
  EXPECT_FALSE(peer.got_fin) << "sent after the FIN";
  if (peer.broken) {
    const int error = take_error(peer);
    return error != 0 ? error : -EPIPE;
  }
  const std::size_t size = cut(Call::send, std::min({bytes.size(), size_max, peer.room}));
  if (size == 0) return -EAGAIN;
  peer.from_relay.append(bytes, 0, size);
  bytes.erase(0, size);
  if (peer.room != kUnlimited) peer.room -= size;
  return static_cast<ssize_t>(size);
}

ssize_t ScriptedEngine::receive_message(int fd, msghdr& message, int flags) {
  Peer& peer = *socket(fd).peer;
  if (const int error = scripted_error(Call::receive_message); error != 0) return error;
  if (peer.to_relay.empty()) {
    if (peer.broken) return take_error(peer);
    return peer.fin ? 0 : -EAGAIN;
  }
  const iovec& room = message.msg_iov[0];
  const std::size_t size = std::min(room.iov_len, peer.to_relay.size());
  std::memcpy(room.iov_base, peer.to_relay.data(), size);
  if ((flags & MSG_PEEK) == 0) peer.to_relay.erase(0, size);
  return static_cast<ssize_t>(size);
}

int ScriptedEngine::peer_address(int fd, SocketAddress& address) {
  const Peer& peer = *socket(fd).peer;
  if (const int error = scripted_error(Call::peer_address); error != 0) return error;
  if (peer.broken) return -ENOTCONN;
  address = SocketAddress(peer.address);
  return 0;
}

int ScriptedEngine::own_address(int fd, SocketAddress& address) {
  address = SocketAddress(socket(fd).peer->relay_address);
  return 0;
}

int ScriptedEngine::shutdown_write(int fd) {
  Peer& peer = *socket(fd).peer;
  EXPECT_FALSE(peer.got_fin) << "shut down twice";
  if (const int error = scripted_error(Call::shutdown_write); error != 0) {
    peer.broken = true;
    return error;
  }
  if (peer.broken) return -ENOTCONN;
  peer.got_fin = true;
  return 0;
}

void ScriptedEngine::reset_on_close(int fd) { socket(fd).reset_on_close = true; }

int ScriptedEngine::open_socket(int, int, int) {
  if (const int error = scripted_error(Call::open_socket); error != 0) return error;
  FileDescriptor fd = new_descriptor();
  Peer& peer = *add_socket(fd.get()).peer;
  peer.connect_result = connect_result_;
  opened_.push_back(&peer);
  return fd.release();
}

int ScriptedEngine::set_option(int fd, int level, int option, int value) {
  Peer& peer = *socket(fd).peer;
  const int error = scripted_error(Call::set_option);
  if (error == 0) peer.options[{level, option}] = value;
  return error;
}

int ScriptedEngine::bind(int fd, const SocketAddress& address) {
  Peer& peer = *socket(fd).peer;
  const int error = scripted_error(Call::bind);
  if (error == 0) peer.bound_to = address.endpoint();
  return error;
}

int ScriptedEngine::open_pipe(FileDescriptor& read_end, FileDescriptor& write_end, int size_bytes) {
  if (const int error = scripted_error(Call::open_pipe); error != 0) return error;
  read_end = new_descriptor();
  write_end = new_descriptor();
  const auto pipe = std::make_shared<FakePipe>();
  const int room_bytes = std::min(size_bytes, pipe_room_bytes_);
  pipe->room_bytes = static_cast<std::size_t>(room_bytes);
  pipes_[read_end.get()] = pipe;
  pipes_[write_end.get()] = pipe;
  return room_bytes;
}

}  // namespace fairlead
