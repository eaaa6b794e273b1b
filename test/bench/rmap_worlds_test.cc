// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/rmap_worlds.h"

#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/rmap.h"
#include "ptage/rmap/range.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"

namespace ptage::bench {
namespace {

constexpr std::size_t kHeads = 16 * 512;

std::vector<std::uint32_t> Heads(Layout layout) {
  return HeadOfEach(kHeads, 1, layout, 7);
}

// Entries that lead to the head of their own number.
std::size_t InPlace(const std::vector<std::uint32_t>& head_of) {
  std::size_t all = 0;
  for (std::size_t k = 0; k < head_of.size(); ++k) all += head_of[k] == k;
  return all;
}
void ExpectEachHeadOnce(const std::vector<std::uint32_t>& head_of) {
  const std::set<std::uint32_t> heads(head_of.begin(), head_of.end());
  EXPECT_EQ(heads.size(), kHeads);
  EXPECT_EQ(*heads.rbegin(), kHeads - 1);
}

TEST(RmapWorldsTest, HeadsGetEntriesInOrder) {
  EXPECT_EQ(InPlace(Heads(Layout::kInOrder)), kHeads);
  EXPECT_EQ(HeadOfEach(2, 3, Layout::kInOrder, 7),
            (std::vector<std::uint32_t>{0, 0, 0, 1, 1, 1}));
}

TEST(RmapWorldsTest, ShuffledEntriesGoAnywhere) {
  const std::vector<std::uint32_t> head_of = Heads(Layout::kShuffled);
  ExpectEachHeadOnce(head_of);
  EXPECT_LT(InPlace(head_of), 20u);
}

TEST(RmapWorldsTest, ShuffledTablesStayWhole) {
  const std::vector<std::uint32_t> head_of = Heads(Layout::kTablesShuffled);
  ExpectEachHeadOnce(head_of);
  EXPECT_LT(InPlace(head_of), kHeads / 2);
  for (std::size_t k = 0; k < kHeads; ++k) {
    EXPECT_EQ(head_of[k], head_of[k / 512 * 512] + k % 512);
    EXPECT_EQ(head_of[k] % 512, k % 512);
  }
}

TEST(RmapWorldsTest, OneFrameInTenIsUnmapped) {
  const std::vector<std::uint32_t> head_of = Heads(Layout::kTenthUnmapped);
  std::size_t nowhere = 0;
  for (const std::uint32_t head : head_of) nowhere += head == kNowhere;
  EXPECT_EQ(InPlace(head_of), kHeads - nowhere);
  EXPECT_GT(nowhere, kHeads * 9 / 100);
  EXPECT_LT(nowhere, kHeads * 11 / 100);
}

TEST(RmapWorldsTest, OneFrameInAHundredIsMappedElsewhere) {
  const std::vector<std::uint32_t> head_of = Heads(Layout::kHundredthElsewhere);
  ExpectEachHeadOnce(head_of);
  const std::size_t elsewhere = kHeads - InPlace(head_of);
  EXPECT_GT(elsewhere, kHeads * 7 / 1000);
  EXPECT_LT(elsewhere, kHeads * 13 / 1000);
}

template <class World>
std::uint64_t Examined(Layout layout) {
  ColdEntries entries(kHeads);
  const std::vector<std::uint32_t> head_of = Heads(layout);
  for (std::size_t k = 0; k < kHeads; ++k) {
    if (head_of[k] == kNowhere) WriteOnce(entries[k], Ept::Word{0}, kRelaxed);
  }
  World world(entries, head_of, kHeads);
  AgeCounts counts;
  const AgeResult answer = AgeRange(
      world.rmaps(), world.heads(), RmapFrame{Gfn{0}, Level{1}}, kHeads,
      AgeAction::kTestAndClear, AgeMode::kSlow, AgeOutput{}, counts);
  EXPECT_FALSE(answer.young);
  return counts.examined;
}

TEST(RmapWorldsTest, EveryWorldExaminesEachMappedFrame) {
  for (const Layout layout :
       {Layout::kInOrder, Layout::kShuffled, Layout::kTablesShuffled,
        Layout::kTenthUnmapped, Layout::kHundredthElsewhere}) {
    std::uint64_t mapped = 0;
    for (const std::uint32_t head : Heads(layout)) mapped += head != kNowhere;
    EXPECT_EQ((Examined<LocklessWorld<7, 14>>(layout)), mapped);
    EXPECT_EQ(Examined<BitLockedWorld<6>>(layout), mapped);
    EXPECT_EQ(Examined<SingleEntryWorld<6>>(layout), mapped);
  }
}

TEST(RmapWorldsTest, SlotsAreThoseOfTheChunksBehindAWord) {
  ColdEntries entries(3 * 22);
  LocklessWorld<7, 14> world(entries, HeadOfEach(3, 22, Layout::kInOrder, 7),
                             3);
  const auto slots = [&] {
    return LocklessWorld<7, 14>::SlotsBehind(
        ReadOnce(world.heads()[0].word, kAcquire));
  };
  // 22 = 7 + 14 + 1.
  EXPECT_EQ(slots(), 7u + 14 + 14);
  world.rmaps().Remove(world.heads()[0], entries[0]);
  EXPECT_EQ(slots(), 7u + 14);
  for (std::size_t k = 1; k < 15; ++k) {
    world.rmaps().Remove(world.heads()[0], entries[k]);
  }
  EXPECT_EQ(slots(), 7u);
}

}  // namespace
}  // namespace ptage::bench
