#include "proxy/relay/backlog.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

namespace fairlead {
namespace {

/// Lends pieces of text, and knows which have come back.
class TextLender final : public Lender {
 public:
  Lease lend(std::string text) {
    texts_.push_back(std::move(text));
    out_.push_back(true);
    std::string& last = texts_.back();
    return Lease(*this, static_cast<std::uint16_t>(texts_.size() - 1),
                 std::as_writable_bytes(std::span(last.data(), last.size())));
  }
  void take_back(std::uint16_t buffer_id) override { out_.at(buffer_id) = false; }
  long lent() const { return std::ranges::count(out_, true); }

 private:
  // Not reallocated, so that lent bytes stay where they are.
  std::vector<std::string> texts_ = [] {
    std::vector<std::string> texts;
    texts.reserve(100);
    return texts;
  }();
  std::vector<bool> out_;
};

std::string text_of(const Backlog& backlog) {
  std::array<iovec, 16> space{};
  std::string text;
  for (const iovec& piece : backlog.front(space)) {
    text.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
  }
  return text;
}

TEST(Backlog, SendsInOrderAndReturnsLeasesAsTheyAreSent) {
  TextLender lender;
  Backlog backlog;
  backlog.append(lender.lend("abc"));
  backlog.append(lender.lend("defg"));
  backlog.append(lender.lend("hi"));
  EXPECT_EQ(backlog.size_bytes(), 9U);
  EXPECT_EQ(text_of(backlog), "abcdefghi");

  backlog.remove_front(2);
  EXPECT_EQ(text_of(backlog), "cdefghi");
  EXPECT_EQ(lender.lent(), 3);
  backlog.remove_front(3);
  EXPECT_EQ(text_of(backlog), "fghi");
  EXPECT_EQ(lender.lent(), 2);
  backlog.remove_front(4);
  EXPECT_TRUE(backlog.empty());
  EXPECT_EQ(lender.lent(), 0);
}

TEST(Backlog, GathersNoMoreThanFits) {
  TextLender lender;
  Backlog backlog;
  for (int i = 0; i < 5; ++i) backlog.append(lender.lend("x"));
  std::array<iovec, 3> space{};
  EXPECT_EQ(backlog.front(space).size(), 3U);
}

TEST(Backlog, CopyingOutReturnsTheLeasesAndKeepsTheBytes) {
  TextLender lender;
  Backlog backlog;
  backlog.append(lender.lend("hello "));
  backlog.append(lender.lend("world"));
  backlog.remove_front(4);
  backlog.copy_out();
  EXPECT_EQ(lender.lent(), 0);
  EXPECT_EQ(text_of(backlog), "o world");
  EXPECT_EQ(backlog.copied_bytes(), 7U);

  backlog.append(lender.lend("!"));
  EXPECT_EQ(text_of(backlog), "o world!");
  backlog.remove_front(1);
  EXPECT_EQ(text_of(backlog), " world!");
}

TEST(Backlog, ClearForgetsEverything) {
  TextLender lender;
  Backlog backlog;
  backlog.append(lender.lend("abc"));
  backlog.copy_out();
  backlog.append(lender.lend("def"));
  backlog.clear();
  EXPECT_TRUE(backlog.empty());
  EXPECT_EQ(backlog.copied_bytes(), 0U);
  EXPECT_EQ(lender.lent(), 0);
  backlog.append(lender.lend("z"));
  EXPECT_EQ(text_of(backlog), "z");
}

}  // namespace
}  // namespace fairlead
