#include "tests/unit/scripted_relay.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "proxy/log/log.h"
#include "tests/unit/engine_fixture.h"

namespace fairlead {

ScriptedRelay::ScriptedRelay(const RelaySettings& settings, std::uint16_t small_buffers,
                             std::uint16_t large_buffers)
    : descriptors_before_(open_descriptors()),
      engine(small_buffers, large_buffers),
      loop{.engine = engine, .settings = settings, .shared = shared},
      listener_fd_(engine.listening_socket()) {
  set_up_log(LogLevel::off, LogFormat::text);
  const Endpoint host{IpAddress::loopback(Family::v4), 8080};
  const Endpoint backend{IpAddress::loopback(Family::v4), 80};
  listener_ =
      std::make_unique<TcpListener>(loop, FileDescriptor(listener_fd_), host, backend, counters_);
  listener_->start();
  run();
}

ScriptedRelay::~ScriptedRelay() {
  stop();
  set_up_log(LogLevel::info, LogFormat::text);
}

void ScriptedRelay::stop() {
  if (!listener_) return;
  engine.stop();
  listener_.reset();
  engine.forget_closed();
  EXPECT_LE(open_descriptors(), descriptors_before_) << "descriptors left open";
}

ScriptedRelay::Peer& ScriptedRelay::connect_through() {
  Peer& client = connect();
  run();
  return client;
}

void ScriptedRelay::run() {
  EXPECT_TRUE(engine.run()) << "the relay never comes to rest";
  loop.deadlines.run(engine.now());
  EXPECT_TRUE(engine.run()) << "the relay never comes to rest";
}

void ScriptedRelay::advance(TimeMs time_ms) {
  const TimeMs end = engine.now() + time_ms;
  // Deadline after deadline, as a loop does.
  while (loop.deadlines.next() && *loop.deadlines.next() <= end) {
    engine.set_time(std::max(engine.now(), *loop.deadlines.next()));
    loop.deadlines.run(engine.now());
    EXPECT_TRUE(engine.run()) << "the relay never comes to rest";
  }
  engine.set_time(end);
  run();
}

}  // namespace fairlead
