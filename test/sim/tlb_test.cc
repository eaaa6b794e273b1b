// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/sim/tlb.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <utility>

#include "ptage/spte/ept.h"
#include "ptage/types.h"

namespace ptage::sim {
namespace {

template <class T>
std::optional<Pfn> Find(T& tlb, Gfn gfn, Rights needed = Rights::kRead) {
  Pfn pfn;
  if (!tlb.FindPage(gfn, needed, pfn)) return std::nullopt;
  return pfn;
}

TEST(TlbTest, FindsWhatWasAddedAndNothingElse) {
  Tlb<Ept> tlb;
  EXPECT_EQ(Find(tlb, Gfn{0}), std::nullopt);
  tlb.AddPage(Gfn{7}, Level{1}, Pfn{70}, Rights::kRead);
  EXPECT_EQ(Find(tlb, Gfn{7}), Pfn{70});
  // Of the same set, and the same page number at another size.
  EXPECT_EQ(Find(tlb, Gfn{7 + 64}), std::nullopt);
  EXPECT_EQ(Find(tlb, Gfn{7 * 512}), std::nullopt);
  EXPECT_EQ(Find(tlb, Gfn{0}), std::nullopt);
}

TEST(TlbTest, GrantsNoMoreThanWasAdded) {
  Tlb<Ept> tlb;
  tlb.AddPage(Gfn{7}, Level{1}, Pfn{70}, Rights::kReadExecute);
  EXPECT_EQ(Find(tlb, Gfn{7}, Rights::kExecute), Pfn{70});
  EXPECT_EQ(Find(tlb, Gfn{7}, Rights::kWrite), std::nullopt);
  EXPECT_EQ(Find(tlb, Gfn{7}, Rights::kReadWrite), std::nullopt);
  tlb.AddPage(Gfn{7}, Level{1}, Pfn{70}, Rights::kAll);
  EXPECT_EQ(Find(tlb, Gfn{7}, Rights::kWrite), Pfn{70});
}

TEST(TlbTest, ALargePageAnswersForEachOfItsFrames) {
  Tlb<Ept> tlb;
  tlb.AddPage(Gfn{512 + 3}, Level{2}, Pfn{0x4000}, Rights::kRead);
  tlb.AddPage(Gfn{262144 * 5 + 9}, Level{3}, Pfn{0x80000}, Rights::kRead);
  EXPECT_EQ(Find(tlb, Gfn{512}), Pfn{0x4000});
  EXPECT_EQ(Find(tlb, Gfn{1023}), Pfn{0x4000 + 511});
  EXPECT_EQ(Find(tlb, Gfn{511}), std::nullopt);
  EXPECT_EQ(Find(tlb, Gfn{1024}), std::nullopt);
  EXPECT_EQ(Find(tlb, Gfn{262144 * 5 + 262143}), Pfn{0x80000 + 262143});
  EXPECT_EQ(Find(tlb, Gfn{262144 * 6}), std::nullopt);
}

TEST(TlbTest, ASetHoldsAsManyPagesAsItHasWays) {
  Tlb<Ept, 4, 8> tlb;
  for (std::uint64_t i = 0; i < 8; ++i) {
    tlb.AddPage(Gfn{4 * i}, Level{1}, Pfn{100 + i}, Rights::kRead);
  }
  for (std::uint64_t i = 0; i < 8; ++i) {
    EXPECT_EQ(Find(tlb, Gfn{4 * i}), Pfn{100 + i});
  }
  tlb.AddPage(Gfn{4 * 8}, Level{1}, Pfn{108}, Rights::kRead);
  EXPECT_EQ(Find(tlb, Gfn{4 * 8}), Pfn{108});
  int found = 0;
  for (std::uint64_t i = 0; i < 8; ++i) {
    found += Find(tlb, Gfn{4 * i}).has_value() ? 1 : 0;
  }
  EXPECT_EQ(found, 7);
}

// Worked out by hand from the policy's description; ways from the left, *
// marked.
TEST(TlbTest, TheVictimIsTheFirstWayNotRecentlyUsed) {
  Tlb<Ept, 1, 4> tlb;
  const auto add = [&](std::uint64_t gfn) {
    tlb.AddPage(Gfn{gfn}, Level{1}, Pfn{gfn}, Rights::kRead);
  };
  for (std::uint64_t gfn = 1; gfn <= 4; ++gfn) add(gfn);  // 1 2 3 4*
  EXPECT_TRUE(Find(tlb, Gfn{1}).has_value());             // 1* 2 3 4*
  add(5);                                                 // 1* 5* 3 4*
  EXPECT_EQ(Find(tlb, Gfn{2}), std::nullopt);
  EXPECT_TRUE(Find(tlb, Gfn{3}).has_value());  // 1 5 3* 4
  add(6);                                      // 6* 5 3* 4
  EXPECT_EQ(Find(tlb, Gfn{1}), std::nullopt);
  EXPECT_TRUE(Find(tlb, Gfn{5}).has_value());
  EXPECT_TRUE(Find(tlb, Gfn{3}).has_value());
}

TEST(TlbTest, ForgetDropsThePageOfAFrameWhateverItsSize) {
  Tlb<Ept> tlb;
  tlb.AddPage(Gfn{5}, Level{1}, Pfn{50}, Rights::kRead);
  tlb.AddPage(Gfn{6}, Level{1}, Pfn{60}, Rights::kRead);
  tlb.AddPage(Gfn{512}, Level{2}, Pfn{0x4000}, Rights::kRead);
  tlb.Forget(Gfn{5});
  tlb.Forget(Gfn{600});
  EXPECT_EQ(Find(tlb, Gfn{5}), std::nullopt);
  EXPECT_EQ(Find(tlb, Gfn{6}), Pfn{60});
  EXPECT_EQ(Find(tlb, Gfn{512}), std::nullopt);
}

TEST(TlbTest, FlushDropsEverything) {
  Tlb<Ept> tlb;
  tlb.AddPage(Gfn{5}, Level{1}, Pfn{50}, Rights::kRead);
  tlb.AddPage(Gfn{512}, Level{2}, Pfn{0x4000}, Rights::kRead);
  tlb.Flush();
  EXPECT_EQ(Find(tlb, Gfn{5}), std::nullopt);
  EXPECT_EQ(Find(tlb, Gfn{512}), std::nullopt);
}

// Whatever is evicted, an answer is the last thing that was said of the page.
TEST(TlbTest, AnswersAgreeWithAMapThatForgetsNothing) {
  std::mt19937_64 random(7);
  Tlb<Ept, 4, 4> tlb;
  std::map<std::uint64_t, std::pair<std::uint64_t, Rights>> last;
  int hits = 0;
  for (int i = 0; i < 100000; ++i) {
    const Gfn gfn{random() % 40};
    const auto rights = static_cast<Rights>(random() % 7 + 1);
    switch (random() % 100) {
      case 0:
        tlb.Flush();
        last.clear();
        break;
      case 1:
        tlb.Forget(gfn);
        last.erase(gfn.value);
        break;
      default:
        if (random() % 4 == 0) {
          const std::uint64_t pfn = random() % 1000;
          tlb.AddPage(gfn, Level{1}, Pfn{pfn}, rights);
          last[gfn.value] = {pfn, rights};
          break;
        }
        const std::optional<Pfn> found = Find(tlb, gfn, rights);
        if (!found.has_value()) break;
        ++hits;
        ASSERT_TRUE(last.contains(gfn.value));
        EXPECT_EQ(found->value, last[gfn.value].first);
        EXPECT_TRUE(Allows(last[gfn.value].second, rights));
    }
  }
  EXPECT_GT(hits, 1000);
}

}  // namespace
}  // namespace ptage::sim
