#include "proxy/net/published_ports.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <initializer_list>
#include <vector>

#include "proxy/net/socket_address.h"

namespace fairlead {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::vector<Mapping> mappings(std::initializer_list<const char*> texts) {
  std::vector<Mapping> parsed;
  for (const char* text : texts) parsed.push_back(Mapping::parse(text).value());
  return parsed;
}

Endpoint endpoint(const char* ip, std::uint16_t port) { return {*IpAddress::parse(ip), port}; }

std::vector<PortPlan> plan(std::initializer_list<const char*> texts,
                           const std::vector<PassedSocket>& passed = {}) {
  const auto planned = plan_ports(mappings(texts), passed);
  EXPECT_TRUE(planned) << planned.error().message;
  return planned ? *planned : std::vector<PortPlan>{};
}

std::string refusal(std::initializer_list<const char*> texts,
                    const std::vector<PassedSocket>& passed) {
  const auto planned = plan_ports(mappings(texts), passed);
  return planned ? "" : planned.error().message;
}

TEST(PlanPorts, OneSocketAPort) {
  EXPECT_THAT(
      plan({"127.0.0.1:80-81:10.0.0.2:90-91/udp"}),
      ElementsAre(
          PortPlan{Protocol::udp, endpoint("127.0.0.1", 80), endpoint("10.0.0.2", 90), {}, false},
          PortPlan{Protocol::udp, endpoint("127.0.0.1", 81), endpoint("10.0.0.2", 91), {}, false}));
}

TEST(PlanPorts, WithoutAHostAddressOneOfEachFamily) {
  EXPECT_THAT(
      plan({"80:10.0.0.2:90"}),
      ElementsAre(
          PortPlan{Protocol::tcp, endpoint("0.0.0.0", 80), endpoint("10.0.0.2", 90), {}, false},
          PortPlan{Protocol::tcp, endpoint("::", 80), endpoint("10.0.0.2", 90), {}, true}));
}

TEST(PlanPorts, ARangeMayEndAtTheLastPort) {
  const auto planned = plan({"0.0.0.0:65534-65535:10.0.0.2:65534-65535"});
  ASSERT_THAT(planned, SizeIs(2));
  EXPECT_EQ(planned[1].host.port, 65535);
}

TEST(PlanPorts, APassedSocketServesTheMappingThatHasItsAddress) {
  const auto planned = plan({"127.0.0.1:80:10.0.0.2:80", "127.0.0.1:80-81:10.0.0.3:80-81/udp"},
                            {{Protocol::udp, endpoint("127.0.0.1", 81), false},
                             {Protocol::tcp, endpoint("127.0.0.1", 80), false}});
  ASSERT_THAT(planned, SizeIs(3));
  EXPECT_EQ(planned[0].passed, 1U);
  EXPECT_EQ(planned[1].passed, std::nullopt);
  EXPECT_EQ(planned[2].passed, 0U);
  EXPECT_EQ(planned[0].mapping, 0U);
  EXPECT_EQ(planned[2].mapping, 1U);
}

TEST(PlanPorts, WithoutAHostAddressOneDualStackSocketIsEnough) {
  const auto planned = plan({"80:10.0.0.2:80"}, {{Protocol::tcp, endpoint("::", 80), true}});
  ASSERT_THAT(planned, SizeIs(1));
  EXPECT_EQ(planned[0].passed, 0U);
  EXPECT_EQ(planned[0].host, endpoint("::", 80));
}

TEST(PlanPorts, WithoutAHostAddressOneSocketOfEachFamilyIsTaken) {
  const auto planned = plan({"80:10.0.0.2:80"}, {{Protocol::tcp, endpoint("::", 80), false},
                                                 {Protocol::tcp, endpoint("0.0.0.0", 80), false}});
  ASSERT_THAT(planned, SizeIs(2));
  EXPECT_EQ(planned[0].passed, 1U);
  EXPECT_EQ(planned[1].passed, 0U);
}

TEST(PlanPorts, TheFamilyThatWasNotPassedIsOpened) {
  const auto planned = plan({"80:10.0.0.2:80"}, {{Protocol::tcp, endpoint("0.0.0.0", 80), false}});
  ASSERT_THAT(planned, SizeIs(2));
  EXPECT_EQ(planned[0].passed, 0U);
  EXPECT_EQ(planned[1].passed, std::nullopt);
}

TEST(PlanPorts, AnIpv6WildcardMappingTakesADualStackSocketAsItIs) {
  const auto planned = plan({"[::]:80:10.0.0.2:80"}, {{Protocol::tcp, endpoint("::", 80), true}});
  ASSERT_THAT(planned, SizeIs(1));
  EXPECT_EQ(planned[0].passed, 0U);
}

TEST(PlanPorts, ASocketThatBelongsToNoMappingIsNamed) {
  const char* mapping = "127.0.0.1:80:10.0.0.2:80";
  const Endpoint host = endpoint("127.0.0.1", 80);
  for (const PassedSocket& stray : {PassedSocket{Protocol::udp, host, false},
                                    {Protocol::tcp, endpoint("127.0.0.1", 81), false},
                                    {Protocol::tcp, endpoint("0.0.0.0", 80), false},
                                    {Protocol::tcp, endpoint("::", 80), true}}) {
    EXPECT_EQ(refusal({mapping}, {{Protocol::tcp, host, false}, stray}),
              "the socket " + stray.local.to_string() + "/" +
                  std::string(protocol_name(stray.protocol)) +
                  " that was passed in belongs to no mapping");
  }
  EXPECT_NE(refusal({mapping}, {{Protocol::tcp, host, false}, {Protocol::tcp, host, false}}), "")
      << "the second of the same address";
  EXPECT_NE(refusal({}, {{Protocol::tcp, host, false}}), "");
}

TEST(OpenPorts, AllOrNothing) {
  const auto taken = open_listening_socket(Protocol::tcp, endpoint("127.0.0.1", 0));
  ASSERT_TRUE(taken);
  SocketAddress address;
  socklen_t size = SocketAddress::capacity();
  ASSERT_EQ(::getsockname(taken->fd.get(), address.get(), &size), 0);
  const Endpoint in_use = address.endpoint();
  const Endpoint backend = endpoint("10.0.0.2", 80);

  const std::vector<PortPlan> both{
      {Protocol::udp, in_use, backend, {}, false},
      {Protocol::tcp, in_use, backend, {}, false},
  };
  const auto ports = open_ports(both, {});
  ASSERT_FALSE(ports);
  EXPECT_THAT(ports.error().message, HasSubstr("listen on " + in_use.to_string() + "/tcp: bind"));
  EXPECT_TRUE(open_listening_socket(Protocol::udp, in_use)) << "the first one was closed again";
}

TEST(PlanPorts, ASpareSocketNeedNotServeAMapping) {
  const std::vector<PassedSocket> passed{{Protocol::tcp, endpoint("127.0.0.1", 81), false, true},
                                         {Protocol::tcp, endpoint("127.0.0.1", 80), false, true}};
  const std::vector<Mapping> mappings{Mapping::parse("127.0.0.1:80:10.0.0.2:80").value()};
  const auto plan = plan_ports(mappings, passed);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->at(0).passed, 1U);
}

TEST(OpenPorts, PassedSocketsAreMovedToTheirPorts) {
  std::vector<ListeningSocket> passed;
  passed.push_back(*open_listening_socket(Protocol::tcp, endpoint("127.0.0.1", 0)));
  const int fd = passed[0].fd.get();
  const std::vector<PortPlan> one{
      {Protocol::tcp, endpoint("127.0.0.1", 80), endpoint("10.0.0.2", 80), 0, false}};
  const auto ports = open_ports(one, passed);
  ASSERT_TRUE(ports);
  ASSERT_THAT(*ports, SizeIs(1));
  EXPECT_EQ((*ports)[0].socket.fd.get(), fd);
  EXPECT_EQ((*ports)[0].backend, endpoint("10.0.0.2", 80));
}

}  // namespace
}  // namespace fairlead
