#include <gtest/gtest.h>

#include "netsetup/proxies/proxy_process.h"

namespace fairlead {
namespace {

std::vector<std::string> arguments(std::initializer_list<std::string_view> texts) {
  std::vector<Mapping> mappings;
  for (const std::string_view text : texts) mappings.push_back(Mapping::parse(text).value());
  return proxy_arguments(mappings);
}

using Words = std::vector<std::string>;

TEST(ProxyArguments, NeighboursBecomeARange) {
  EXPECT_EQ(arguments({"81:10.0.0.2:1081", "80:10.0.0.2:1080", "82-89:10.0.0.2:1082-1089"}),
            (Words{"-p", "80-89:10.0.0.2:1080-1089/tcp"}));
}

TEST(ProxyArguments, WhatLeadsElsewhereStaysApart) {
  EXPECT_EQ(arguments({"80:10.0.0.2:80", "81:10.0.0.2:90", "82:10.0.0.3:91", "83:10.0.0.3:92/udp"}),
            (Words{"-p", "80:10.0.0.2:80/tcp", "-p", "81:10.0.0.2:90/tcp", "-p",
                   "82:10.0.0.3:91/tcp", "-p", "83:10.0.0.3:92/udp"}));
}

}  // namespace
}  // namespace fairlead
