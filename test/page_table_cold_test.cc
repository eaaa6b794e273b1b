// SPDX-License-Identifier: MIT OR Apache-2.0
//
// ReclaimCold.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/harvest.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/sim/vcpu.h"
#include "ptage/sim/vcpu_set.h"
#include "ptage/spte.h"
#include "ptage/spte/arm64.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/riscv64.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/page_table_fixture.h"
#include "test/sim/guest.h"
#include "test/stress.h"
#include "test/tree.h"

namespace ptage {
namespace {

using test::Guest;
using test::kSmall;
using test::Taken;
using test::TestTree;

template <class F>
concept Offered = requires(
    typename TestTree<F>::Tree& tree, const typename TestTree<F>::Walk& walk,
    GfnRange range, ColdHistory<F> history, void (*sink)(const TakenLeaf<F>&)) {
  tree.ReclaimCold(walk, range, history, sink);
};
// ARM64 stage 2 has an access flag in leaves alone; RISC-V wants it clear in
// inner entries.
static_assert(Offered<Ept> && Offered<X86_64>);
static_assert(!Offered<Arm64Stage2Of16K> && !Offered<RiscvSv39>);

// Three leaf tables.
constexpr std::uint64_t kFrames = 512;
constexpr GfnRange kAll{Gfn{0}, Gfn{3 * kFrames}};

class ReclaimColdTest : public test::PageTableFixture<Ept> {
 protected:
  static constexpr Word kAccessedBit = 0x100;

  ColdPass Pass(GfnRange range = kAll) {
    return owner_.tree().ReclaimCold(Walk(owner_.domain()), range, history_,
                                     Into(log_));
  }
  void SetParent(Gfn gfn) {
    SpteCell<Ept>& parent = owner_.ParentOf(gfn);
    WriteOnce(parent, ReadOnce(parent, kRelaxed) | kAccessedBit, kRelaxed);
  }

  std::vector<Taken<Ept>> log_;
  std::uint64_t words_[1] = {};
  ColdHistory<Ept> history_{words_, Gfn{0}};
};

TEST_F(ReclaimColdTest, ATableGoesInTheSecondPassThatFindsItCold) {
  const Word leaf = Dirty(Leaf(Gfn{7}));
  owner_.MustMap(Gfn{7}, kSmall, leaf);
  // A new table is young.
  EXPECT_EQ(Pass(), (ColdPass{.young = 1, .removed = 0}));
  EXPECT_EQ(Pass(), (ColdPass{.young = 0, .removed = 0}));
  EXPECT_TRUE(log_.empty());
  EXPECT_EQ(owner_.TablesInUse(), 4u);
  EXPECT_EQ(Pass(), (ColdPass{.young = 0, .removed = 1}));
  EXPECT_EQ(log_, (std::vector<Taken<Ept>>{{Gfn{7}, kSmall, leaf}}));
  EXPECT_EQ(owner_.Read(Gfn{7}), Ept::kEmpty);
  EXPECT_EQ(owner_.TablesInUse(), 3u);
  EXPECT_EQ(Pass(), ColdPass{});
}

TEST_F(ReclaimColdTest, ATableThatIsUsedInBetweenBeginsAnew) {
  owner_.MustMap(kB, kSmall, Leaf(kB));
  (void)Pass();
  (void)Pass();
  SetParent(kB);
  EXPECT_EQ(Pass(), (ColdPass{.young = 1, .removed = 0}));
  EXPECT_EQ(Pass(), ColdPass{});
  EXPECT_EQ(Pass().removed, 1u);
}

TEST_F(ReclaimColdTest, ATableWithAYoungLeafStays) {
  owner_.MustMap(kB, kSmall, Leaf(kB));
  (void)Pass();
  (void)Pass();
  // As a fault writes it: the parent stays clear.
  owner_.MustMap(kB + 1, kSmall, Young(Leaf(kB + 1)));
  EXPECT_EQ(Pass(), ColdPass{});
  EXPECT_EQ(owner_.Read(kB + 1), Young(Leaf(kB + 1)));
  owner_.Write(kB + 1, Leaf(kB + 1));
  EXPECT_EQ(Pass().removed, 1u);
  EXPECT_EQ(log_.size(), 2u);
}

TEST_F(ReclaimColdTest, ATableWithAnEntryThatIsOwnedStays) {
  owner_.MustMap(kB, kSmall, Leaf(kB));
  (void)Pass();
  (void)Pass();
  owner_.Write(kB + 1, Ept::kFrozen);
  EXPECT_EQ(Pass(), ColdPass{});
  owner_.Write(kB + 1, Ept::kEmpty);
  EXPECT_EQ(Pass().removed, 1u);
}

// A CPU that was inside when the entry above was frozen.
TEST_F(ReclaimColdTest, ALeafThatIsUsedBeforeTheFlushKeepsItsTable) {
  owner_.MustMap(kB, kSmall, Leaf(kB));
  (void)Pass();
  (void)Pass();
  SpteCell<Ept>& leaf = *owner_.Find(kB).entry;
  SpteCell<Ept>& parent = owner_.ParentOf(kB);
  owner_.flusher().hook = [&](GfnRange flushed) {
    EXPECT_EQ(flushed, (GfnRange{kB, kB + kFrames}));
    EXPECT_EQ(ReadOnce(parent, kRelaxed), Ept::kFrozen);
    WriteOnce(leaf, Young(Leaf(kB)), kRelaxed);
  };
  EXPECT_EQ(Pass(), ColdPass{});
  owner_.flusher().hook = nullptr;
  EXPECT_EQ(owner_.Read(kB), Young(Leaf(kB)));
  // The parent counts as used.
  EXPECT_EQ(ReadOnce(parent, kRelaxed) & kAccessedBit, kAccessedBit);
  EXPECT_EQ(Pass().young, 1u);
}

TEST_F(ReclaimColdTest, TablesThatAreNotWhollyInTheRangeAreLeftAlone) {
  owner_.MustMap(kA, kSmall, Leaf(kA));
  owner_.MustMap(kB, kSmall, Leaf(kB));
  const GfnRange part{kA + 1, Gfn{2 * kFrames}};
  EXPECT_EQ(Pass(part).young, 1u);
  EXPECT_EQ(ReadOnce(owner_.ParentOf(kA), kRelaxed) & kAccessedBit,
            kAccessedBit);
  (void)Pass(part);
  EXPECT_EQ(Pass(part).removed, 1u);
  EXPECT_EQ(owner_.Read(kA), Leaf(kA));
}

TEST_F(ReclaimColdTest, ALargeLeafIsNoTable) {
  owner_.MustMap(kB, test::kLarge, Young(Leaf(kB, test::kLarge)));
  for (int pass = 0; pass < 3; ++pass) EXPECT_EQ(Pass(), ColdPass{});
  EXPECT_EQ(owner_.Read(kB), Young(Leaf(kB, test::kLarge)));
}

// A pass in which a bit was cleared flushes once, at its end.
TEST_F(ReclaimColdTest, APassFlushesOnceForWhatItCleared) {
  owner_.MustMap(kA, kSmall, Leaf(kA));
  owner_.MustMap(kB, kSmall, Leaf(kB));
  std::vector<GfnRange> flushed;
  owner_.flusher().hook = [&](GfnRange range) { flushed.push_back(range); };
  (void)Pass();
  EXPECT_EQ(flushed, std::vector<GfnRange>{kAll});
  (void)Pass();
  EXPECT_EQ(flushed.size(), 1u);
}

// A vCPU with a warm TLB and paging-structure cache uses one table of two.
TEST(ReclaimColdVcpuTest, ATableInUseStaysWhateverIsCached) {
  Guest<Ept> guest(1);
  sim::Vcpu<Ept, Guest<Ept>::Memory> vcpu(guest.cpus, 0, guest.memory,
                                          *guest.tree.root());
  for (std::uint64_t i = 0; i < 2 * kFrames; ++i) {
    ASSERT_EQ(guest.Map(Gfn{i}, Pfn{i}, Rights::kAll), MapOutcome::kDone);
  }
  std::uint64_t words[1] = {};
  std::uint64_t removed = 0;
  for (int pass = 0; pass < 8; ++pass) {
    // The leaves alone would not tell.
    (void)Harvest(guest.tree, Guest<Ept>::Walk(guest.domain), kAll,
                  AgeAction::kTestAndClear, AgeMode::kFastOnly, AgeOutput{});
    {
      const sim::Running running(vcpu);
      for (std::uint64_t i = 0; i < 64; ++i) {
        ASSERT_TRUE(vcpu.Translate(Gfn{i}, Rights::kRead));
      }
    }
    removed += guest.tree
                   .ReclaimCold(Guest<Ept>::Walk(guest.domain), kAll,
                                ColdHistory<Ept>(words, Gfn{0}),
                                [](const TakenLeaf<Ept>& leaf) {
                                  EXPECT_GE(leaf.gfn, Gfn{kFrames});
                                })
                   .removed;
  }
  EXPECT_EQ(removed, 1u);
}

// Faults map what passes remove: no leaf goes to two sinks, or to none.
TEST(ReclaimColdStressTest, EachLeafIsHandedOverOrStays) {
  TestTree<Ept> owner;
  std::uint64_t mapped[2] = {};
  std::uint64_t taken = 0;
  std::uint64_t removed = 0;
  std::uint64_t words[1] = {};
  const auto faults = [&](unsigned mine) {
    return [&, mine, next = std::uint64_t{mine}]() mutable {
      // Of three tables, so that each is left alone for a while.
      next = (next + 2) % (3 * kFrames);
      if (owner.Map(Gfn{next}, kSmall, TestTree<Ept>::Leaf(Gfn{next})) ==
          MapOutcome::kDone) {
        ++mapped[mine];
      }
    };
  };
  const auto count = [&](const TakenLeaf<Ept>&) { ++taken; };
  test::Stress({faults(0), faults(1), [&] {
                  removed +=
                      owner.tree()
                          .ReclaimCold(LocklessWalk(owner.domain()), kAll,
                                       ColdHistory<Ept>(words, Gfn{0}), count)
                          .removed;
                }});
  owner.tree().Zap(LocklessWalk(owner.domain()), kAll, ZapFlush::kEach, count);
  EXPECT_EQ(taken, mapped[0] + mapped[1]);
  EXPECT_GT(removed, 0u);
  (void)owner.tree().RemoveTables(LocklessWalk(owner.domain()), kAll, count);
  EXPECT_EQ(owner.TablesInUse(), 3u);
}

}  // namespace
}  // namespace ptage
