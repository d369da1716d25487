#include "proxy/relay/datagram_run.h"

#include <gtest/gtest.h>

#include <array>

namespace fairlead {
namespace {

std::array<std::byte, 65'536> memory;

Message datagram(std::uint32_t size) { return {memory.data(), size, size}; }
Message merged(std::uint32_t size, std::uint32_t segment_size) {
  return {memory.data(), size, segment_size};
}

TEST(DatagramRun, TakesEqualSizes) {
  DatagramRun run;
  EXPECT_TRUE(run.empty());
  EXPECT_TRUE(run.add(datagram(100)));
  EXPECT_TRUE(run.add(datagram(100)));
  EXPECT_TRUE(run.add(datagram(100)));
  EXPECT_EQ(run.datagrams(), 3U);
  EXPECT_EQ(run.payload_bytes(), 300U);
  EXPECT_EQ(run.segment_size(), 100U);
  EXPECT_EQ(run.pieces().size(), 3U);
}

TEST(DatagramRun, APrefixStandsBeforeEachDatagram) {
  DatagramRun run("prefix");
  EXPECT_TRUE(run.add(datagram(100)));
  EXPECT_TRUE(run.add(datagram(100)));
  EXPECT_TRUE(run.add(datagram(10)));
  EXPECT_FALSE(run.add(datagram(100)));
  EXPECT_EQ(run.datagrams(), 3U);
  EXPECT_EQ(run.payload_bytes(), 210U);
  EXPECT_EQ(run.segment_size(), 106U);
  EXPECT_EQ(run.pieces().size(), 6U);
  for (std::size_t i = 0; i < 6; i += 2) EXPECT_EQ(run.pieces()[i].iov_len, 6U);
  run.clear();
  for (int i = 0; i < 64; ++i) EXPECT_TRUE(run.add(datagram(1)));
  EXPECT_FALSE(run.add(datagram(1)));
  EXPECT_EQ(run.pieces().size(), 128U);
}

TEST(DatagramRun, ThePrefixesCountAgainstTheBytesOfOneDatagram) {
  DatagramRun run("prefix");
  EXPECT_TRUE(run.add(datagram(32'000)));
  EXPECT_TRUE(run.add(datagram(32'000)));
  EXPECT_FALSE(run.add(datagram(1'500)));
  EXPECT_TRUE(run.add(datagram(1'489)));
}

TEST(DatagramRun, LeavesALargerOneToTheNextRun) {
  DatagramRun run;
  EXPECT_TRUE(run.add(datagram(100)));
  EXPECT_FALSE(run.add(datagram(101)));
  EXPECT_EQ(run.datagrams(), 1U);
  EXPECT_EQ(run.payload_bytes(), 100U);
}

TEST(DatagramRun, EndsWithAShorterOne) {
  DatagramRun run;
  EXPECT_TRUE(run.add(datagram(100)));
  EXPECT_TRUE(run.add(datagram(99)));
  EXPECT_FALSE(run.add(datagram(99)));
  EXPECT_FALSE(run.add(datagram(100)));
  EXPECT_EQ(run.datagrams(), 2U);
}

TEST(DatagramRun, AnEmptyDatagramIsAlone) {
  DatagramRun run;
  EXPECT_TRUE(run.add(datagram(0)));
  EXPECT_FALSE(run.empty());
  EXPECT_EQ(run.datagrams(), 1U);
  EXPECT_FALSE(run.add(datagram(0)));
  EXPECT_FALSE(run.add(datagram(5)));

  run.clear();
  EXPECT_TRUE(run.add(datagram(5)));
  EXPECT_FALSE(run.add(datagram(0)));
}

TEST(DatagramRun, JoinsMergedMessagesOfTheSameSegmentSize) {
  DatagramRun run;
  EXPECT_TRUE(run.add(merged(3000, 1000)));
  EXPECT_TRUE(run.add(datagram(1000)));
  EXPECT_FALSE(run.add(merged(1800, 900)));
  EXPECT_TRUE(run.add(merged(2500, 1000)));
  EXPECT_FALSE(run.add(datagram(1000))) << "the message before ended with a shorter datagram";
  EXPECT_EQ(run.datagrams(), 7U);
  EXPECT_EQ(run.payload_bytes(), 6500U);
  EXPECT_EQ(run.pieces().size(), 3U);
}

TEST(DatagramRun, HasAtMostSixtyFourDatagrams) {
  DatagramRun run;
  EXPECT_TRUE(run.add(merged(60, 1)));
  EXPECT_FALSE(run.add(merged(5, 1)));
  EXPECT_TRUE(run.add(merged(4, 1)));
  EXPECT_FALSE(run.add(datagram(1)));
  EXPECT_EQ(run.datagrams(), DatagramRun::kDatagramsMax);
}

TEST(DatagramRun, HasAtMostTheBytesOfOneDatagram) {
  DatagramRun run;
  EXPECT_TRUE(run.add(datagram(32'754)));
  EXPECT_FALSE(run.add(datagram(32'754))) << "65,508 bytes";
  run.clear();
  EXPECT_TRUE(run.add(datagram(32'754)));
  EXPECT_TRUE(run.add(datagram(32'753)));
  EXPECT_EQ(run.payload_bytes(), kDatagramBytesMax);
}

TEST(DatagramRun, AlwaysTakesTheFirstMessage) {
  DatagramRun run;
  EXPECT_TRUE(run.add(datagram(65'507)));
  EXPECT_FALSE(run.add(datagram(1)));
}

}  // namespace
}  // namespace fairlead
