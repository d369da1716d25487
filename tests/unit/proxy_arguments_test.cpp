#include <gtest/gtest.h>

#include "netsetup/proxies/proxy_process.h"

namespace fairlead {
namespace {

using Words = std::vector<std::string>;

TEST(ProxyArguments, HaveEachMappingAsItWasPublished) {
  std::vector<Mapping> mappings;
  for (const std::string_view text :
       {"81:10.0.0.2:1081", "80:10.0.0.2:1080", "[::1]:82-89:10.0.0.2:1082-1089/udp"}) {
    mappings.push_back(Mapping::parse(text).value());
  }
  EXPECT_EQ(proxy_arguments("/run/fairlead/metrics", "/run/fairlead/proxies/flv-c1", mappings),
            (Words{"--metrics", "unix:/run/fairlead/metrics/", "--handover",
                   "/run/fairlead/proxies/flv-c1", "--handover-drain", "86400", "-p",
                   "81:10.0.0.2:1081/tcp", "-p", "80:10.0.0.2:1080/tcp", "-p",
                   "[::1]:82-89:10.0.0.2:1082-1089/udp"}));
}

}  // namespace
}  // namespace fairlead
