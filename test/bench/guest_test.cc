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

// Of eight frames one has three names, six have two, and one has one.
TEST(FrameMapTest, AShadowFrameHasANameInTheDirectMapAndThoseOfItsPrograms) {
  for (const std::uint64_t pages : {512u, 4096u, 65'536u, 512u * 15}) {
    const FrameMap map(GuestKind::kShadow, pages);
    ASSERT_EQ(map.Names(), 2 * pages);
    ASSERT_EQ(map.End(), 2 * pages + 512);
    std::map<std::uint64_t, std::uint64_t> names;
    std::set<std::uint64_t> pages_named;
    for (std::uint64_t i = 0; i < map.Names(); ++i) {
      const std::uint64_t page = map.NameAt(i);
      ASSERT_LT(page, map.End());
      ASSERT_TRUE(page < pages || page >= pages + 512);
      pages_named.insert(page);
      ASSERT_LT(map.FrameOf(page).value, pages);
      ++names[map.FrameOf(page).value];
    }
    EXPECT_EQ(pages_named.size(), 2 * pages);
    std::map<std::uint64_t, std::uint64_t> frames_by_names;
    for (const auto& [frame, count] : names) {
      ++frames_by_names[count];
      EXPECT_EQ(map.NamesOf(Gfn{frame}), count);
    }
    EXPECT_EQ(frames_by_names,
              (std::map<std::uint64_t, std::uint64_t>{
                  {1, pages / 8}, {2, pages / 8 * 6}, {3, pages / 8}}));
    // The direct map is in order of frames, and names the page's own.
    EXPECT_EQ(map.FrameOf(pages + 512), Gfn{0});
    EXPECT_EQ(map.FrameOf(2 * pages + 511), Gfn{pages - 1});
    EXPECT_EQ(map.FrameOf(map.DirectNameOf(77)), map.FrameOf(77));
    // Pages 32 … 38 lie in one run; page 39 is a second name of page 32's.
    EXPECT_EQ(map.FrameOf(38), map.FrameOf(32) + 6);
    EXPECT_EQ(map.FrameOf(39), map.FrameOf(32));
    // Unrelated frames stand for themselves.
    EXPECT_EQ(map.FrameOf(pages + 3), Gfn{pages + 3});
  }
}

TEST(FrameMapTest, OneGroupOfReferencesInEightGoesThroughTheDirectMap) {
  const FrameMap shadow(GuestKind::kShadow, kPages);
  const FrameMap nested(GuestKind::kNested, kPages);
  int through = 0;
  for (std::uint64_t group = 0; group < 64; ++group) {
    through += shadow.ThroughDirectMap(group);
    EXPECT_FALSE(nested.ThroughDirectMap(group));
  }
  EXPECT_EQ(through, 8);
}

TEST(FrameMapTest, ALargeBlockIsOneInEightAndHasNoSecondNames) {
  for (const GuestKind kind : {GuestKind::kTdp, GuestKind::kNested}) {
    const FrameMap map(kind, 16 * 512, Leaves::kSomeLarge);
    ASSERT_EQ(map.LargePages().size(), 2u);
    for (const std::uint64_t first : map.LargePages()) {
      ASSERT_EQ(first % 512, 0u);
      for (std::uint64_t i = 0; i < 512; ++i) {
        EXPECT_EQ(map.FrameOf(first + i), map.FrameOf(first) + i);
        EXPECT_TRUE(map.IsLarge(map.FrameOf(first + i)));
      }
    }
    EXPECT_FALSE(map.IsLarge(Gfn{512}));
    EXPECT_TRUE(FrameMap(kind, 16 * 512).LargePages().empty());
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
      left_out += guest.AgeBlock(i, output);
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
  std::uint64_t left_out = 0;
  std::set<std::uint64_t> young;
  std::set<std::uint64_t> unknown;
};

// A full guest, by hand.
struct Counts {
  std::uint64_t entries;
  std::uint64_t frames;    // that an entry maps
  std::uint64_t in_lists;  // entries
  std::uint64_t lists;
};
Counts CountsOfFull(GuestKind kind) {
  switch (kind) {
    case GuestKind::kTdp:
      return {4096, 4096, 0, 0};
    case GuestKind::kNested:
      return {4096, 4080, 32, 16};
    case GuestKind::kShadow:
      // 512 frames have one, 3,072 two, and 512 three.
      return {8192, 4096, 7680, 3584};
  }
  return {};
}

TEST(GuestTest, EveryContenderReportsTheYoungFramesItCanAnswerFor) {
  for (const GuestKind kind : kGuestKinds) {
    NoFlush flusher;
    Guest<NoFlush> guest(kind, kPages, flusher);
    ASSERT_TRUE(guest.Populate().ok());
    const Counts full = CountsOfFull(kind);
    EXPECT_EQ(guest.Mapped(), full.entries);
    EXPECT_EQ(guest.MappedInLists(), full.in_lists);

    // Twice, since lists are kept in another way from one to the next.
    std::vector<Contender> contenders = Existing(kind);
    contenders.insert(contenders.end(), contenders.begin(), contenders.end());
    for (const Contender contender : contenders) {
      SCOPED_TRACE(TraitsOf(contender).name);
      guest.Use(contender);
      EXPECT_EQ(guest.MappedInLists(), full.in_lists);
      guest.SetAllYoung();
      const Sweep first(guest);
      const bool leaves_lists = contender == Contender::kSingleEntry;
      if (contender == Contender::kNone) {
        EXPECT_TRUE(first.young.empty());
        continue;
      }
      EXPECT_EQ(first.unknown.size(), leaves_lists ? full.lists : 0);
      EXPECT_EQ(first.young.size(), full.frames - first.unknown.size());
      EXPECT_EQ(first.counts.examined,
                full.entries - (leaves_lists ? full.in_lists : 0));
      EXPECT_EQ(first.counts.unanswered + first.left_out,
                leaves_lists ? full.in_lists : 0);
      const Sweep second(guest);
      EXPECT_EQ(second.young.size(),
                contender == Contender::kReadOnly ? first.young.size() : 0);
      EXPECT_EQ(second.counts.examined, first.counts.examined);
    }
  }
}

TEST(GuestTest, AnEvictedPageHandsItsAccessOverAndComesBackByAFault) {
  for (const GuestKind kind : kGuestKinds) {
    NoFlush flusher;
    Guest<NoFlush> guest(kind, kPages, flusher);
    ASSERT_TRUE(guest.Populate().ok());
    for (const Contender contender : Existing(kind)) {
      SCOPED_TRACE(TraitsOf(contender).name);
      guest.Use(contender);
      guest.ClearAllYoung();
      // Page 256 has a second name in a nested guest, page 511; and two in a
      // shadow guest, page 263 and that of the direct map.
      const std::uint64_t names = kind == GuestKind::kTdp      ? 1
                                  : kind == GuestKind::kNested ? 2
                                                               : 3;
      const std::uint64_t entries = CountsOfFull(kind).entries;
      std::vector<bool> accessed;
      const auto sink = [&](const ZappedLeaf& leaf) {
        EXPECT_EQ(leaf.gfn, guest.frames().FrameOf(256));
        accessed.push_back(leaf.accessed);
      };
      EXPECT_EQ(guest.Evict(256, sink), names);
      EXPECT_EQ(accessed, std::vector<bool>(names, false));
      EXPECT_FALSE(guest.Present(256));
      EXPECT_EQ(guest.Mapped(), entries - names);
      EXPECT_EQ(guest.Evict(256, sink), 0u);

      EXPECT_EQ(guest.Fault(256, Rights::kWrite), FaultOutcome::kMapped);
      EXPECT_TRUE(guest.Present(256));
      accessed.clear();
      EXPECT_EQ(guest.Evict(256, sink), 1u);
      EXPECT_EQ(accessed, std::vector<bool>{true});
      ASSERT_TRUE(guest.Populate().ok());
      EXPECT_EQ(guest.Mapped(), entries);
    }
  }
}

TEST(GuestTest, ALargeBlockIsSplitAndMadeLargeAgainUnderEveryContender) {
  for (const GuestKind kind : {GuestKind::kTdp, GuestKind::kNested}) {
    NoFlush flusher;
    Guest<NoFlush> guest(kind, kPages, flusher, Leaves::kSomeLarge);
    ASSERT_TRUE(guest.Populate().ok());
    ASSERT_EQ(guest.frames().LargePages().size(), 1u);
    const std::uint64_t first = guest.frames().LargePages()[0];
    const std::uint64_t large_entries = kPages - 511;
    EXPECT_EQ(guest.Mapped(), large_entries);
    for (const Contender contender : Existing(kind)) {
      SCOPED_TRACE(TraitsOf(contender).name);
      guest.Use(contender);
      guest.ClearAllYoung();
      ASSERT_TRUE(guest.IsLargeNow(0));
      EXPECT_FALSE(guest.Evictable(first + 5));
      EXPECT_TRUE(
          guest.Evictable(guest.frames().FrameOf(0) == Gfn{0} ? 512 : 0));
      // Young by a fault of nested tables, by a walk of direct ones.
      std::uint64_t handed = 0;
      const auto sink = [&](const ZappedLeaf& leaf) {
        handed += leaf.accessed;
      };
      guest.Resize(0, sink);
      EXPECT_FALSE(guest.IsLargeNow(0));
      EXPECT_EQ(handed, 0u);
      if (kind == GuestKind::kTdp) {
        EXPECT_EQ(guest.Mapped(), kPages);
      } else {
        // L1's change took the large leaf away; each page faults alone.
        EXPECT_EQ(guest.Mapped(), large_entries - 1);
        EXPECT_EQ(guest.Fault(first + 9, Rights::kRead), FaultOutcome::kMapped);
        EXPECT_EQ(guest.Mapped(), large_entries);
      }
      EXPECT_FALSE(guest.Evictable(first + 9));
      guest.Resize(0, sink);
      EXPECT_TRUE(guest.IsLargeNow(0));
      EXPECT_EQ(handed, kind == GuestKind::kTdp ? 0u : 1u);
      if (kind == GuestKind::kNested) {
        EXPECT_EQ(guest.Mapped(), large_entries - 1);
        EXPECT_EQ(guest.Fault(first + 9, Rights::kRead), FaultOutcome::kMapped);
      }
      // One leaf answers for the whole block.
      EXPECT_EQ(guest.Mapped(), large_entries);
      EXPECT_TRUE(guest.Present(first + 500));
      if (contender == Contender::kNone) continue;
      guest.SetAllYoung();
      const Sweep sweep(guest);
      const std::uint64_t frame = guest.frames().FrameOf(first).value;
      EXPECT_TRUE(sweep.young.count(frame) == 1 &&
                  sweep.young.count(frame + 511) == 1);
    }
  }
}

TEST(GuestTest, EvictionOfAllLeavesNothingButLargeBlocks) {
  for (const Leaves leaves : {Leaves::kSmall, Leaves::kSomeLarge}) {
    NoFlush flusher;
    Guest<NoFlush> guest(GuestKind::kNested, kPages, flusher, leaves);
    ASSERT_TRUE(guest.Populate().ok());
    guest.EvictAll();
    EXPECT_EQ(guest.Mapped(), leaves == Leaves::kSmall ? 0u : 1u);
  }
  NoFlush flusher;
  Guest<NoFlush> shadow(GuestKind::kShadow, kPages, flusher);
  ASSERT_TRUE(shadow.Populate().ok());
  shadow.EvictAll();
  EXPECT_EQ(shadow.Mapped(), 0u);
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
