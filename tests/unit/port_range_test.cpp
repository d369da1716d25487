#include "proxy/mapping/port_range.h"

#include <gtest/gtest.h>

namespace fairlead {
namespace {

TEST(PortRange, ParsesPortsAndRanges) {
  EXPECT_EQ(PortRange::parse("1"), (PortRange{1, 1}));
  EXPECT_EQ(PortRange::parse("65535"), (PortRange{65535, 65535}));
  EXPECT_EQ(PortRange::parse("8000-8099"), (PortRange{8000, 8099}));
  EXPECT_EQ(PortRange::parse("80-80"), (PortRange{80, 80}));
}

TEST(PortRange, RefusesWhatIsNoRange) {
  for (const char* text : {"",         "0",     "65536",    "99999999999999999999",
                           "-1",       "+1",    "80-",      "-80",
                           "-",        "0-10",  "10-65536", "80-79",
                           "80-81-82", "80 ",   " 80",      "0x50",
                           "http",     "80,81", "1e3",      "8_0"}) {
    EXPECT_FALSE(PortRange::parse(text)) << text;
  }
}

TEST(PortRange, ErrorNamesTheText) {
  EXPECT_EQ(PortRange::parse("80-70000").error().message,
            "\"80-70000\": \"70000\" is no port; accepted: 1 to 65535, or FIRST-LAST");
  EXPECT_EQ(PortRange::parse("80-").error().message,
            "\"80-\": a port is missing; accepted: 1 to 65535, or FIRST-LAST");
  EXPECT_EQ(PortRange::parse("81-80").error().message,
            "\"81-80\": the range ends before it begins");
}

TEST(PortRange, SizeAndOverlap) {
  const PortRange all{1, 65535};
  EXPECT_EQ(all.size(), 65535U);
  EXPECT_EQ((PortRange{80, 80}).size(), 1U);
  EXPECT_TRUE(all.overlaps({65535, 65535}));
  EXPECT_TRUE((PortRange{10, 20}).overlaps({20, 30}));
  EXPECT_FALSE((PortRange{10, 20}).overlaps({21, 30}));
  EXPECT_FALSE((PortRange{21, 30}).overlaps({10, 20}));
}

TEST(PortRange, PrintsWhatItParses) {
  EXPECT_EQ((PortRange{80, 80}).to_string(), "80");
  EXPECT_EQ((PortRange{80, 81}).to_string(), "80-81");
}

}  // namespace
}  // namespace fairlead
