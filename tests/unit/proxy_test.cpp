#include "proxy/proxy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace fairlead {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Endpoint endpoint(const char* ip, int port) {
  return {*IpAddress::parse(ip), static_cast<std::uint16_t>(port)};
}

TEST(ServedText, OneLineForEachRunOfPorts) {
  std::vector<ServedPort> ports;
  for (int i = 0; i < 100; ++i) {
    for (const char* host : {"0.0.0.0", "::"}) {
      ports.push_back({Protocol::tcp, endpoint(host, 8000 + i), endpoint("10.0.0.2", 9000 + i)});
    }
  }
  ports.push_back({Protocol::udp, endpoint("127.0.0.1", 53), endpoint("fd00::2", 53)});
  EXPECT_THAT(served_text(ports), ElementsAre("0.0.0.0:8000-8099/tcp -> 10.0.0.2:9000-9099",
                                              "[::]:8000-8099/tcp -> 10.0.0.2:9000-9099",
                                              "127.0.0.1:53/udp -> [fd00::2]:53"));
}

TEST(ServedText, PortsThatDoNotLeadInStepAreApart) {
  const std::vector<ServedPort> ports{
      {Protocol::tcp, endpoint("0.0.0.0", 80), endpoint("10.0.0.2", 80)},
      {Protocol::tcp, endpoint("0.0.0.0", 81), endpoint("10.0.0.3", 81)},
      {Protocol::tcp, endpoint("0.0.0.0", 82), endpoint("10.0.0.3", 81)},
      {Protocol::tcp, endpoint("0.0.0.0", 84), endpoint("10.0.0.3", 82)},
  };
  EXPECT_THAT(served_text(ports),
              ElementsAre("0.0.0.0:80/tcp -> 10.0.0.2:80", "0.0.0.0:81/tcp -> 10.0.0.3:81",
                          "0.0.0.0:82/tcp -> 10.0.0.3:81", "0.0.0.0:84/tcp -> 10.0.0.3:82"));
  EXPECT_THAT(served_text({}), IsEmpty());
}

TEST(CountersText, NamesEveryCounterAndSumsUp) {
  std::vector<Counters> counters(2);
  counters[0].connections_accepted = 1;
  counters[1].connections_accepted = 2;
  counters[1].datagrams_dropped = 7;
  EXPECT_THAT(counters_text(counters), HasSubstr("connections_accepted=3 "));
  EXPECT_THAT(counters_text(counters), HasSubstr(" datagrams_dropped=7"));
}

}  // namespace
}  // namespace fairlead
