// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/guest.h"

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "bench/contender.h"
#include "gtest/gtest.h"
#include "ptage/memory.h"
#include "ptage/mmu.h"
#include "ptage/types.h"

namespace ptage::bench {
namespace {

constexpr std::uint64_t kPages = 4096;

std::vector<Contender> Existing(GuestKind kind) {
  std::vector<Contender> contenders;
  for (const Contender contender : kContenders) {
    if (Exists(kind, contender)) contenders.push_back(contender);
  }
  return contenders;
}

TEST(FrameMapTest, DirectPagesStandForThemselves) {
  const FrameMap map(GuestKind::kTdp, kPages);
  for (std::uint64_t page = 0; page < kPages; ++page) {
    EXPECT_EQ(map.FrameOf(page), Gfn{page});
  }
}

TEST(FrameMapTest, OneNestedPageIn256IsASecondName) {
  for (const std::uint64_t pages : {512u, 4096u, 65'536u, 512u * 15}) {
    const FrameMap map(GuestKind::kNested, pages);
    std::map<std::uint64_t, int> names;
    for (std::uint64_t page = 0; page < pages; ++page) {
      ASSERT_LT(map.FrameOf(page).value, pages);
      ++names[map.FrameOf(page).value];
    }
    std::uint64_t twice = 0;
    for (const auto& [frame, count] : names) {
      EXPECT_LE(count, 2);
      twice += count == 2;
    }
    EXPECT_EQ(twice, pages / 256);
    EXPECT_EQ(names.size(), pages - pages / 256);
  }
}

// What one sweep of `guest` reports.
struct Sweep {
  explicit Sweep(Guest<NoFlush>& guest)
      : young_words(kPages / 64), unknown_words(kPages / 64) {
    const AgeOutput output{.begin = Gfn{0},
                           .young = Bitmap(young_words.data(), kPages),
                           .unknown = Bitmap(unknown_words.data(), kPages),
                           .counts = &counts};
    guest.BeginSweep();
    for (std::uint64_t i = 0; i < guest.Blocks(); ++i) {
      guest.AgeBlock(i, output);
    }
    guest.EndSweep();
    for (std::uint64_t i = 0; i < kPages; ++i) {
      if (output.young.Test(i)) young.insert(i);
      if (output.unknown.Test(i)) unknown.insert(i);
    }
  }
  std::vector<std::uint64_t> young_words;
  std::vector<std::uint64_t> unknown_words;
  AgeCounts counts;
  std::set<std::uint64_t> young;
  std::set<std::uint64_t> unknown;
};

TEST(GuestTest, EveryContenderReportsTheYoungFramesItCanAnswerFor) {
  for (const GuestKind kind : {GuestKind::kTdp, GuestKind::kNested}) {
    NoFlush flusher;
    Guest<NoFlush> guest(kind, kPages, flusher);
    ASSERT_TRUE(guest.Populate().ok());
    EXPECT_EQ(guest.Mapped(), kPages);
    const std::uint64_t in_lists =
        kind == GuestKind::kTdp ? 0 : 2 * kPages / 256;
    EXPECT_EQ(guest.MappedInLists(), in_lists);

    // Twice, since lists are kept in another way from one to the next.
    std::vector<Contender> contenders = Existing(kind);
    contenders.insert(contenders.end(), contenders.begin(), contenders.end());
    for (const Contender contender : contenders) {
      SCOPED_TRACE(TraitsOf(contender).name);
      guest.Use(contender);
      EXPECT_EQ(guest.MappedInLists(), in_lists);
      guest.SetAllYoung();
      const Sweep first(guest);
      const bool leaves_lists = contender == Contender::kSingleEntry;
      const std::uint64_t frames = kPages - in_lists / 2;
      if (contender == Contender::kNone) {
        EXPECT_TRUE(first.young.empty());
        continue;
      }
      EXPECT_EQ(first.unknown.size(), leaves_lists ? in_lists / 2 : 0);
      EXPECT_EQ(first.young.size(), frames - first.unknown.size());
      EXPECT_EQ(first.counts.examined, kPages - (leaves_lists ? in_lists : 0));
      const Sweep second(guest);
      EXPECT_EQ(second.young.size(),
                contender == Contender::kReadOnly ? first.young.size() : 0);
      EXPECT_EQ(second.counts.examined, first.counts.examined);
    }
  }
}

TEST(GuestTest, AnEvictedPageHandsItsAccessOverAndComesBackByAFault) {
  for (const GuestKind kind : {GuestKind::kTdp, GuestKind::kNested}) {
    NoFlush flusher;
    Guest<NoFlush> guest(kind, kPages, flusher);
    ASSERT_TRUE(guest.Populate().ok());
    for (const Contender contender : Existing(kind)) {
      SCOPED_TRACE(TraitsOf(contender).name);
      guest.Use(contender);
      guest.ClearAllYoung();
      // Page 256 has a second name in a nested guest, page 511.
      const std::uint64_t names = kind == GuestKind::kTdp ? 1 : 2;
      std::vector<bool> accessed;
      const auto sink = [&](const ZappedLeaf& leaf) {
        EXPECT_EQ(leaf.gfn, guest.frames().FrameOf(256));
        accessed.push_back(leaf.accessed);
      };
      EXPECT_EQ(guest.Evict(256, sink), names);
      EXPECT_EQ(accessed, std::vector<bool>(names, false));
      EXPECT_FALSE(guest.Present(256));
      EXPECT_EQ(guest.Mapped(), kPages - names);
      EXPECT_EQ(guest.Evict(256, sink), 0u);

      EXPECT_EQ(guest.Fault(256, Rights::kWrite), FaultOutcome::kMapped);
      EXPECT_TRUE(guest.Present(256));
      accessed.clear();
      EXPECT_EQ(guest.Evict(256, sink), 1u);
      EXPECT_EQ(accessed, std::vector<bool>{true});
      ASSERT_TRUE(guest.Populate().ok());
      EXPECT_EQ(guest.Mapped(), kPages);
    }
  }
}

TEST(GuestTest, UnrelatedFaultsChangeNothingThatIsAged) {
  NoFlush flusher;
  Guest<NoFlush> guest(GuestKind::kNested, kPages, flusher);
  ASSERT_TRUE(guest.Populate().ok());
  guest.Use(Contender::kTrylock);
  guest.ClearAllYoung();
  for (std::uint64_t i = 0; i < 2 * kUnrelatedFrames; ++i) {
    guest.FaultElsewhere(i);
  }
  EXPECT_EQ(guest.Mapped(), kPages);
  EXPECT_TRUE(Sweep(guest).young.empty());
}

}  // namespace
}  // namespace ptage::bench
