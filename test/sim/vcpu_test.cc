// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/sim/vcpu.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <type_traits>

#include "absl/synchronization/notification.h"
#include "ptage/config.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/sim/tlb.h"
#include "ptage/sim/translation_cache.h"
#include "ptage/sim/vcpu_set.h"
#include "ptage/sim/walk_cache.h"
#include "ptage/spte.h"
#include "ptage/spte/arm64.h"
#include "ptage/spte/arm64_faulting.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/ept_tracked.h"
#include "ptage/spte/riscv64.h"
#include "ptage/spte/riscv64_svade.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/sim/guest.h"

namespace ptage::sim {
namespace {

using test::Guest;

// The least that a vCPU can do with: nothing is ever cached.
struct CacheArchetype {
  bool FindPage(Gfn, Rights, Pfn&) { return false; }
  void AddPage(Gfn, Level, Pfn, Rights) {}
  WalkedTable<Ept> FindTable(Gfn) { return {}; }
  void AddTable(Gfn, const WalkedTable<Ept>&) {}
  void Forget(Gfn) {}
  void Flush() {}
};
static_assert(TranslationCache<CacheArchetype, Ept>);
static_assert(TranslationCache<DefaultCache<X86_64>, X86_64>);
static_assert(TranslationCache<SplitCache<Ept, NoTlb, NoWalkCache<Ept>>, Ept>);
static_assert(!TranslationCache<NoTlb, Ept>);
static_assert(!TranslationCache<CacheArchetype, X86_64>);

template <SpteFormat F, class C = DefaultCache<F>>
using GuestVcpu = Vcpu<F, TableArena<F>, C>;

// A guest with one vCPU, which runs.
template <SpteFormat F, class C = DefaultCache<F>>
struct OneVcpu : Guest<F> {
  OneVcpu()
      : Guest<F>(1),
        vcpu(std::make_unique<GuestVcpu<F, C>>(this->cpus, 0, this->memory,
                                               *this->tree.root())) {
    vcpu->Resume();
  }
  ~OneVcpu() { vcpu->Pause(); }
  // As Vm does for a vCPU of this thread.
  void Flush() {
    NotRunning<GuestVcpu<F, C>> out(*vcpu);
    this->cpus.Flush(GfnRange{});
  }
  std::unique_ptr<GuestVcpu<F, C>> vcpu;
};

// Bits written out from the manuals: EPT accessed 8, dirty 9 (SDM 3C 29.3.5);
// x86-64 accessed 5, dirty 6 (SDM 3A 4.8).
template <class F>
constexpr std::uint64_t kA = std::is_same_v<F, Ept> ? 0x100 : 0x20;
template <class F>
constexpr std::uint64_t kD = std::is_same_v<F, Ept> ? 0x200 : 0x40;

template <class F>
class VcpuTest : public ::testing::Test {};
using Formats = ::testing::Types<Ept, X86_64>;
TYPED_TEST_SUITE(VcpuTest, Formats);

constexpr Gfn kPage{3 * 512 + 5};
constexpr Gfn kNeighbour{3 * 512 + 6};

TYPED_TEST(VcpuTest, AReadSetsAccessedInEveryEntryOfThePath) {
  using F = TypeParam;
  OneVcpu<F> guest;
  ASSERT_EQ(guest.Map(kPage, Pfn{77}, Rights::kAll), MapOutcome::kDone);
  for (int level = 2; level <= 4; ++level) {
    guest.SetWordAt(kPage, Level{level},
                    guest.WordAt(kPage, Level{level}) & ~kA<F>);
  }
  const Translation found = guest.vcpu->Translate(kPage, Rights::kRead);
  EXPECT_TRUE(found);
  EXPECT_EQ(found.pfn, Pfn{77});
  for (int level = 1; level <= 4; ++level) {
    EXPECT_NE(guest.WordAt(kPage, Level{level}) & kA<F>, 0u) << level;
  }
  EXPECT_EQ(guest.WordAt(kPage, Level{1}) & kD<F>, 0u);
}

TYPED_TEST(VcpuTest, AWriteSetsDirtyInTheLeafAlone) {
  using F = TypeParam;
  OneVcpu<F> guest;
  ASSERT_EQ(guest.Map(kPage, Pfn{77}, Rights::kAll), MapOutcome::kDone);
  EXPECT_TRUE(guest.vcpu->Translate(kPage, Rights::kWrite));
  EXPECT_EQ(guest.WordAt(kPage, Level{1}) & (kA<F> | kD<F>), kA<F> | kD<F>);
  EXPECT_EQ(guest.WordAt(kPage, Level{2}) & kD<F>, 0u);
  EXPECT_EQ(guest.WordAt(kPage, Level{4}) & kD<F>, 0u);
}

TYPED_TEST(VcpuTest, TheFirstWriteThroughACleanEntryGoesBackToTheTable) {
  using F = TypeParam;
  OneVcpu<F> guest;
  ASSERT_EQ(guest.Map(kPage, Pfn{77}, Rights::kAll), MapOutcome::kDone);
  EXPECT_TRUE(guest.vcpu->Translate(kPage, Rights::kRead));
  EXPECT_TRUE(guest.vcpu->Translate(kPage, Rights::kRead));
  EXPECT_EQ(guest.vcpu->stats().walks, 1u);
  EXPECT_TRUE(guest.vcpu->Translate(kPage, Rights::kWrite));
  EXPECT_EQ(guest.vcpu->stats().walks, 2u);
  EXPECT_NE(guest.WordAt(kPage, Level{1}) & kD<F>, 0u);
  EXPECT_TRUE(guest.vcpu->Translate(kPage, Rights::kWrite));
  EXPECT_TRUE(guest.vcpu->Translate(kPage, Rights::kRead));
  EXPECT_EQ(guest.vcpu->stats().walks, 2u);
  EXPECT_EQ(guest.vcpu->stats().translations, 5u);
  EXPECT_EQ(guest.vcpu->stats().Hits(), 3u);
}

TYPED_TEST(VcpuTest, ACachedTranslationSetsNoBitUntilTheNextFlush) {
  using F = TypeParam;
  OneVcpu<F> guest;
  ASSERT_EQ(guest.Map(kPage, Pfn{77}, Rights::kAll), MapOutcome::kDone);
  EXPECT_TRUE(guest.vcpu->Translate(kPage, Rights::kRead));
  EXPECT_TRUE(TestClearYoung<F>(guest.EntryAt(kPage, Level{1})).young);
  EXPECT_TRUE(guest.vcpu->Translate(kPage, Rights::kRead));
  EXPECT_FALSE(TestYoung<F>(guest.EntryAt(kPage, Level{1})).young);
  guest.Flush();
  EXPECT_TRUE(guest.vcpu->Translate(kPage, Rights::kRead));
  EXPECT_TRUE(TestYoung<F>(guest.EntryAt(kPage, Level{1})).young);
}

// Clears the accessed bits above `kPage`, reads its neighbour, and returns the
// levels at which they are set again.
template <SpteFormat F, class C>
int LevelsMarked(OneVcpu<F, C>& guest) {
  EXPECT_EQ(guest.Map(kPage, Pfn{77}, Rights::kAll), MapOutcome::kDone);
  EXPECT_EQ(guest.Map(kNeighbour, Pfn{78}, Rights::kAll), MapOutcome::kDone);
  EXPECT_TRUE(guest.vcpu->Translate(kPage, Rights::kRead));
  for (int level = 2; level <= 4; ++level) {
    guest.SetWordAt(kPage, Level{level},
                    guest.WordAt(kPage, Level{level}) & ~kA<F>);
  }
  EXPECT_TRUE(guest.vcpu->Translate(kNeighbour, Rights::kRead));
  int marked = 0;
  for (int level = 1; level <= 4; ++level) {
    if ((guest.WordAt(kNeighbour, Level{level}) & kA<F>) != 0) ++marked;
  }
  return marked;
}

TYPED_TEST(VcpuTest, AWalkFromACachedInnerEntryMarksTheLeafAlone) {
  OneVcpu<TypeParam> guest;
  EXPECT_EQ(LevelsMarked(guest), 1);
}

TYPED_TEST(VcpuTest, AWalkWithoutAWalkCacheMarksTheWholePath) {
  using F = TypeParam;
  OneVcpu<F, SplitCache<F, Tlb<F>, NoWalkCache<F>>> guest;
  EXPECT_EQ(LevelsMarked(guest), 4);
}

TYPED_TEST(VcpuTest, AFlushDropsInnerEntriesToo) {
  using F = TypeParam;
  OneVcpu<F> guest;
  ASSERT_EQ(guest.Map(kPage, Pfn{77}, Rights::kAll), MapOutcome::kDone);
  EXPECT_TRUE(guest.vcpu->Translate(kPage, Rights::kRead));
  guest.SetWordAt(kPage, Level{4}, guest.WordAt(kPage, Level{4}) & ~kA<F>);
  guest.Flush();
  EXPECT_TRUE(guest.vcpu->Translate(kPage, Rights::kRead));
  EXPECT_NE(guest.WordAt(kPage, Level{4}) & kA<F>, 0u);
}

TYPED_TEST(VcpuTest, AnEntryThatIsNotPresentFaultsAndIsLeftAlone) {
  using F = TypeParam;
  OneVcpu<F> guest;
  ASSERT_EQ(guest.Map(kPage, Pfn{77}, Rights::kAll), MapOutcome::kDone);
  for (const typename F::Word word : {F::kEmpty, F::kFrozen}) {
    for (int level = 1; level <= 4; ++level) {
      const typename F::Word before = guest.WordAt(kPage, Level{level});
      guest.SetWordAt(kPage, Level{level}, word);
      guest.Flush();
      const Translation found = guest.vcpu->Translate(kPage, Rights::kWrite);
      EXPECT_FALSE(found);
      EXPECT_EQ(found.fault, FaultCause::kNotPresent);
      EXPECT_EQ(guest.WordAt(kPage, Level{level}), word);
      guest.SetWordAt(kPage, Level{level}, before);
    }
  }
  EXPECT_EQ(guest.vcpu->last_fault().gfn, kPage);
  EXPECT_EQ(guest.vcpu->last_fault().needed, Rights::kWrite);
  EXPECT_EQ(guest.vcpu->last_fault().cause, FaultCause::kNotPresent);
  EXPECT_EQ(guest.vcpu->stats().faults, 8u);
  EXPECT_EQ(guest.vcpu->stats().translations, 0u);
}

TYPED_TEST(VcpuTest, WhatIsForbiddenFaultsAndMarksNoLeaf) {
  using F = TypeParam;
  OneVcpu<F> guest;
  ASSERT_EQ(guest.Map(kPage, Pfn{77}, Rights::kRead), MapOutcome::kDone);
  for (const Rights needed : {Rights::kWrite, Rights::kExecute}) {
    EXPECT_EQ(guest.vcpu->Translate(kPage, needed).fault,
              FaultCause::kForbidden);
  }
  EXPECT_EQ(guest.WordAt(kPage, Level{1}) & (kA<F> | kD<F>), 0u);
  EXPECT_TRUE(guest.vcpu->Translate(kPage, Rights::kRead));
  // A cached translation grants no more.
  EXPECT_EQ(guest.vcpu->Translate(kPage, Rights::kWrite).fault,
            FaultCause::kForbidden);
  EXPECT_EQ(guest.WordAt(kPage, Level{1}) & kD<F>, 0u);
}

TYPED_TEST(VcpuTest, AFaultForgetsTheInnerEntriesOfItsFrame) {
  using F = TypeParam;
  OneVcpu<F> guest;
  ASSERT_EQ(guest.Map(kPage, Pfn{77}, Rights::kAll), MapOutcome::kDone);
  EXPECT_TRUE(guest.vcpu->Translate(kPage, Rights::kRead));
  guest.SetWordAt(kPage, Level{3}, guest.WordAt(kPage, Level{3}) & ~kA<F>);
  EXPECT_FALSE(guest.vcpu->Translate(kNeighbour, Rights::kRead));
  EXPECT_EQ(guest.WordAt(kPage, Level{3}) & kA<F>, 0u);
  EXPECT_FALSE(guest.vcpu->Translate(kNeighbour, Rights::kRead));
  EXPECT_NE(guest.WordAt(kPage, Level{3}) & kA<F>, 0u);
}

TYPED_TEST(VcpuTest, LargePagesTranslateAllTheirFrames) {
  using F = TypeParam;
  OneVcpu<F> guest;
  ASSERT_EQ(guest.Map(Gfn{1024}, Pfn{0x4000}, Rights::kAll, Level{2}),
            MapOutcome::kDone);
  ASSERT_EQ(guest.Map(Gfn{262144}, Pfn{0x80000}, Rights::kAll, Level{3}),
            MapOutcome::kDone);
  EXPECT_EQ(guest.vcpu->Translate(Gfn{1024 + 7}, Rights::kRead).pfn,
            Pfn{0x4000 + 7});
  EXPECT_EQ(guest.vcpu->Translate(Gfn{262144 + 4097}, Rights::kWrite).pfn,
            Pfn{0x80000 + 4097});
  EXPECT_EQ(guest.vcpu->Translate(Gfn{1024 + 511}, Rights::kRead).pfn,
            Pfn{0x4000 + 511});
  EXPECT_EQ(guest.vcpu->Translate(Gfn{262144 * 2 - 1}, Rights::kWrite).pfn,
            Pfn{0x80000 + 262143});
  EXPECT_EQ(guest.vcpu->stats().walks, 2u);
  EXPECT_EQ(guest.WordAt(Gfn{1024}, Level{2}) & (kA<F> | kD<F>), kA<F>);
  EXPECT_EQ(guest.WordAt(Gfn{262144}, Level{3}) & (kA<F> | kD<F>),
            kA<F> | kD<F>);
}

TYPED_TEST(VcpuTest, FramesBeyondTheTreeFault) {
  OneVcpu<TypeParam> guest;
  // 4 levels of 9 bits.
  EXPECT_EQ(
      guest.vcpu->Translate(Gfn{std::uint64_t{1} << 36}, Rights::kRead).fault,
      FaultCause::kNotPresent);
}

TYPED_TEST(VcpuTest, MalformedTablesFault) {
  using F = TypeParam;
  OneVcpu<F> guest;
  ASSERT_EQ(guest.Map(kPage, Pfn{77}, Rights::kAll), MapOutcome::kDone);
  // A table that is none.
  guest.SetWordAt(kPage, Level{2}, F::MakeInner(Pfn{0x999999}));
  EXPECT_EQ(guest.vcpu->Translate(kPage, Rights::kRead).fault,
            FaultCause::kMalformed);
  // A leaf of the root: bit 7 (EPT, x86-64), reserved there.
  guest.SetWordAt(kPage, Level{4}, guest.WordAt(kPage, Level{4}) | 0x80);
  guest.Flush();
  EXPECT_EQ(guest.vcpu->Translate(kPage, Rights::kRead).fault,
            FaultCause::kMalformed);
}

TEST(VcpuRightsTest, InnerEntriesRestrictWhatIsBelow) {
  OneVcpu<Ept> guest;
  ASSERT_EQ(guest.Map(kPage, Pfn{77}, Rights::kAll), MapOutcome::kDone);
  // EPT bit 1: writes.
  guest.SetWordAt(kPage, Level{3}, guest.WordAt(kPage, Level{3}) & ~0x2ull);
  EXPECT_EQ(guest.vcpu->Translate(kPage, Rights::kWrite).fault,
            FaultCause::kForbidden);
  EXPECT_TRUE(guest.vcpu->Translate(kPage, Rights::kReadExecute));
  // From the cached inner entry as well.
  EXPECT_EQ(guest.vcpu->Translate(kPage, Rights::kWrite).fault,
            FaultCause::kForbidden);
}

// EPT, with something that happens between the read of an entry and its
// marking.
struct InterruptedEpt : Ept {
  static inline std::function<void(Level)> meanwhile;
  static bool IsLeaf(Word word, Level level) {
    if (meanwhile) meanwhile(level);
    return Ept::IsLeaf(word, level);
  }
};

TEST(VcpuRaceTest, AnEntryThatChangesUnderTheWalkIsWalkedAgain) {
  OneVcpu<InterruptedEpt> guest;
  ASSERT_EQ(guest.Map(kPage, Pfn{77}, Rights::kAll), MapOutcome::kDone);
  for (int changed = 1; changed <= 4; ++changed) {
    for (int level = 1; level <= 4; ++level) {
      guest.SetWordAt(kPage, Level{level},
                      guest.WordAt(kPage, Level{level}) & ~kA<Ept>);
    }
    guest.Flush();
    const std::uint64_t repeats = guest.vcpu->stats().repeats;
    SpteCell<InterruptedEpt>& entry = guest.EntryAt(kPage, Level{changed});
    InterruptedEpt::meanwhile = [&](Level level) {
      if (level != Level{changed}) return;
      InterruptedEpt::meanwhile = nullptr;
      // A software bit (SDM: ignored), which must survive.
      WriteOnce(entry, ReadOnce(entry, kRelaxed) | std::uint64_t{1} << 52,
                kRelaxed);
    };
    EXPECT_TRUE(guest.vcpu->Translate(kPage, Rights::kWrite));
    EXPECT_EQ(guest.vcpu->stats().repeats, repeats + 1);
    EXPECT_NE(guest.WordAt(kPage, Level{changed}) & std::uint64_t{1} << 52, 0u);
    EXPECT_NE(guest.WordAt(kPage, Level{changed}) & kA<Ept>, 0u);
  }
}

TEST(VcpuRaceTest, AnEntryFrozenUnderTheWalkFaults) {
  OneVcpu<InterruptedEpt> guest;
  ASSERT_EQ(guest.Map(kPage, Pfn{77}, Rights::kAll), MapOutcome::kDone);
  SpteCell<InterruptedEpt>& entry = guest.EntryAt(kPage, Level{1});
  InterruptedEpt::meanwhile = [&](Level level) {
    if (level != Level{1}) return;
    InterruptedEpt::meanwhile = nullptr;
    ASSERT_TRUE(Freeze<InterruptedEpt>(entry, ReadOnce(entry, kRelaxed)));
  };
  EXPECT_EQ(guest.vcpu->Translate(kPage, Rights::kWrite).fault,
            FaultCause::kNotPresent);
  EXPECT_EQ(ReadOnce(entry, kRelaxed), InterruptedEpt::kFrozen);
}

// --- Roots of several tables.

template <class F>
class WideVcpuTest : public ::testing::Test {};
using WideFormats = ::testing::Types<RiscvSv39x4, Arm64Stage2Of4KWith40Bits>;
TYPED_TEST_SUITE(WideVcpuTest, WideFormats);

// Both have 2^27 frames to a table of the root; A is bit 6 (Privileged 12.4),
// or AF bit 10 (DDI 0487 D8.3).
template <class F>
constexpr std::uint64_t kWideA = std::is_same_v<F, RiscvSv39x4> ? 0x40 : 0x400;
constexpr std::uint64_t kBorder = std::uint64_t{1} << 27;

TYPED_TEST(WideVcpuTest, BothSidesOfABorderAreTranslatedAndMarked) {
  using F = TypeParam;
  const std::uint64_t end = (std::is_same_v<F, RiscvSv39x4> ? 4 : 2) * kBorder;
  OneVcpu<F> guest;
  for (const std::uint64_t gfn : {kBorder - 1, kBorder, end - 1}) {
    ASSERT_EQ(guest.Map(Gfn{gfn}, Pfn{gfn % 1000}, Rights::kAll),
              MapOutcome::kDone);
  }
  // Walked from the root, from cached inner entries, and from the TLB.
  for (int round = 0; round < 3; ++round) {
    for (const std::uint64_t gfn : {kBorder - 1, kBorder, end - 1}) {
      const Translation found = guest.vcpu->Translate(Gfn{gfn}, Rights::kWrite);
      EXPECT_TRUE(found) << gfn;
      EXPECT_EQ(found.pfn, Pfn{gfn % 1000});
      EXPECT_NE(guest.WordAt(Gfn{gfn}, Level{1}) & kWideA<F>, 0u);
    }
  }
  EXPECT_EQ(guest.vcpu->stats().walks, 3u);
  // The same place under another table of the root.
  EXPECT_EQ(guest.vcpu->Translate(Gfn{0}, Rights::kRead).fault,
            FaultCause::kNotPresent);
  EXPECT_EQ(guest.vcpu
                ->Translate(Gfn{2 * kBorder - 1 - (end == 2 * kBorder)},
                            Rights::kRead)
                .fault,
            FaultCause::kNotPresent);
}

TYPED_TEST(WideVcpuTest, BehindTheLastTableIsAFault) {
  using F = TypeParam;
  OneVcpu<F> guest;
  const std::uint64_t end = (std::is_same_v<F, RiscvSv39x4> ? 4 : 2) * kBorder;
  for (const std::uint64_t gfn : {end, end + kBorder, ~std::uint64_t{0}}) {
    EXPECT_EQ(guest.vcpu->Translate(Gfn{gfn}, Rights::kRead).fault,
              FaultCause::kNotPresent);
  }
}

TYPED_TEST(WideVcpuTest, RightsAreTheLeafsAlone) {
  using F = TypeParam;
  OneVcpu<F> guest;
  ASSERT_EQ(guest.Map(Gfn{kBorder}, Pfn{5}, Rights::kReadExecute),
            MapOutcome::kDone);
  EXPECT_TRUE(guest.vcpu->Translate(Gfn{kBorder}, Rights::kRead));
  EXPECT_TRUE(guest.vcpu->Translate(Gfn{kBorder}, Rights::kExecute));
  EXPECT_EQ(guest.vcpu->Translate(Gfn{kBorder}, Rights::kWrite).fault,
            FaultCause::kForbidden);
}

TEST(FiveLevelVcpuTest, AWalkMarksFiveEntries) {
  OneVcpu<X86_64La57> guest;
  constexpr Gfn kLast{(std::uint64_t{1} << 45) - 1};
  ASSERT_EQ(guest.Map(kLast, Pfn{77}, Rights::kAll), MapOutcome::kDone);
  for (int level = 2; level <= 5; ++level) {
    guest.SetWordAt(kLast, Level{level},
                    guest.WordAt(kLast, Level{level}) & ~std::uint64_t{0x20});
  }
  EXPECT_EQ(guest.vcpu->Translate(kLast, Rights::kRead).pfn, Pfn{77});
  for (int level = 1; level <= 5; ++level) {
    EXPECT_NE(guest.WordAt(kLast, Level{level}) & 0x20, 0u) << level;
  }
  EXPECT_FALSE(guest.vcpu->Translate(kLast + 1, Rights::kRead));
}

TEST(VcpuFlushTest, AZapWaitsForAVcpuAtWorkAndNoLonger) {
  Guest<Ept> guest(1);
  ASSERT_EQ(guest.Map(kPage, Pfn{77}, Rights::kAll), MapOutcome::kDone);
  GuestVcpu<Ept> vcpu(guest.cpus, 0, guest.memory, *guest.tree.root());
  absl::Notification zapped;
  vcpu.Resume();
  ASSERT_TRUE(vcpu.Translate(kPage, Rights::kRead));
  std::thread zapper([&] {
    const Guest<Ept>::Walk walk(guest.domain);
    EXPECT_EQ(guest.tree.Zap(walk, GfnRange{kPage, kNeighbour}, ZapFlush::kEach,
                             [](const TakenLeaf<Ept>&) {}),
              1u);
    zapped.Notify();
  });
  // References go on, and one of them answers.
  while (vcpu.Translate(kPage, Rights::kRead)) {
    EXPECT_FALSE(zapped.HasBeenNotified());
  }
  EXPECT_EQ(vcpu.stats().flushes, 1u);
  zapper.join();
  vcpu.Pause();
}

TEST(VcpuFlushTest, AZapDoesNotWaitForAVcpuInAFault) {
  Guest<Ept> guest(1);
  ASSERT_EQ(guest.Map(kPage, Pfn{77}, Rights::kAll), MapOutcome::kDone);
  GuestVcpu<Ept> vcpu(guest.cpus, 0, guest.memory, *guest.tree.root());
  const Running running(vcpu);
  ASSERT_TRUE(vcpu.Translate(kPage, Rights::kRead));
  {
    // Waits for the very thread that zaps: a deadlock if the zap waited.
    const NotRunning out(vcpu);
    std::thread zapper([&] {
      const Guest<Ept>::Walk walk(guest.domain);
      guest.tree.Zap(walk, GfnRange{kPage, kNeighbour}, ZapFlush::kEach,
                     [](const TakenLeaf<Ept>&) {});
    });
    zapper.join();
  }
  EXPECT_FALSE(vcpu.Translate(kPage, Rights::kRead));
}

TEST(VcpuFlushTest, PollAnswersWithoutAReference) {
  Guest<Ept> guest(1);
  GuestVcpu<Ept> vcpu(guest.cpus, 0, guest.memory, *guest.tree.root());
  const Running running(vcpu);
  std::thread flusher([&] { guest.cpus.Flush(GfnRange{}); });
  while (vcpu.stats().flushes == 0) vcpu.Poll();
  flusher.join();
}

TEST(VcpuFlushTest, ThePositionIsTheCountOfCompletedTranslations) {
  OneVcpu<Ept> guest;
  ASSERT_EQ(guest.Map(kPage, Pfn{77}, Rights::kAll), MapOutcome::kDone);
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(guest.vcpu->Translate(kPage, Rights::kRead));
  }
  EXPECT_FALSE(guest.vcpu->Translate(Gfn{0}, Rights::kRead));
  EXPECT_EQ(guest.cpus.PositionOf(0), 0u);
  std::thread flusher([&] { guest.cpus.Flush(GfnRange{}); });
  while (guest.vcpu->stats().flushes == 0) guest.vcpu->Poll();
  flusher.join();
  EXPECT_EQ(guest.cpus.PositionOf(0), 10u);
}

// --- Formats whose walkers set no bits. Words by hand: see test/formats.h and
// the tests of each format.

// A leaf of Pfn 77 with all rights: cold, accessed, and written too.
template <class F>
struct Words;
template <>
struct Words<EptTracked> {
  static constexpr std::uint64_t kCold = 0x8070'0000'0004'D030;
  static constexpr std::uint64_t kRead = 0x8070'0000'0004'D135;
  static constexpr std::uint64_t kWritten = 0x8070'0000'0004'D337;
  static constexpr std::uint64_t kAgedAndDirty = 0x8070'0000'0004'D230;
};
template <>
struct Words<Arm64FaultingOf16K> {
  static constexpr std::uint64_t kCold = 0x0080'0000'0013'437F;
  static constexpr std::uint64_t kRead = 0x0080'0000'0013'477F;
  static constexpr std::uint64_t kWritten = 0x0080'0000'0013'47FF;
  static constexpr std::uint64_t kAgedAndDirty = 0x0080'0000'0013'43FF;
};
template <>
struct Words<RiscvSv39Svade> {
  static constexpr std::uint64_t kCold = 0x1'341F;
  static constexpr std::uint64_t kRead = 0x1'345F;
  static constexpr std::uint64_t kWritten = 0x1'34DF;
  static constexpr std::uint64_t kAgedAndDirty = 0x1'349F;
};

template <class F>
class UnmarkingVcpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(guest_.Map(kPage, Pfn{77}, Rights::kAll), MapOutcome::kDone);
  }
  // What a reference comes to, and that it leaves the entry alone.
  FaultCause Ask(std::uint64_t word, Rights needed) {
    guest_.SetWordAt(kPage, Level{1}, word);
    guest_.Flush();
    const Translation found = guest_.vcpu->Translate(kPage, needed);
    EXPECT_EQ(guest_.WordAt(kPage, Level{1}), word);
    EXPECT_TRUE(!found || found.pfn == Pfn{77});
    return found.fault;
  }
  OneVcpu<F> guest_;
};
using UnmarkingFormats =
    ::testing::Types<EptTracked, Arm64FaultingOf16K, RiscvSv39Svade>;
TYPED_TEST_SUITE(UnmarkingVcpuTest, UnmarkingFormats);

TYPED_TEST(UnmarkingVcpuTest, ItFaultsWhereABitIsMissingAndSetsNone) {
  using W = Words<TypeParam>;
  constexpr FaultCause kUnmarked = FaultCause::kUnmarked;
  for (const Rights needed :
       {Rights::kRead, Rights::kWrite, Rights::kExecute}) {
    EXPECT_EQ(this->Ask(W::kCold, needed), kUnmarked);
    EXPECT_EQ(this->Ask(W::kAgedAndDirty, needed), kUnmarked);
    EXPECT_EQ(this->Ask(W::kWritten, needed), FaultCause::kNone);
  }
  EXPECT_EQ(this->Ask(W::kRead, Rights::kRead), FaultCause::kNone);
  EXPECT_EQ(this->Ask(W::kRead, Rights::kExecute), FaultCause::kNone);
  EXPECT_EQ(this->Ask(W::kRead, Rights::kWrite), kUnmarked);
}

TYPED_TEST(UnmarkingVcpuTest, WhatIsCachedOfACleanLeafDoesNotGrantWriting) {
  using F = TypeParam;
  using W = Words<F>;
  EXPECT_EQ(this->Ask(W::kRead, Rights::kRead), FaultCause::kNone);
  EXPECT_EQ(this->guest_.vcpu->Translate(kPage, Rights::kWrite).fault,
            FaultCause::kUnmarked);
  this->guest_.SetWordAt(kPage, Level{1}, W::kWritten);
  EXPECT_TRUE(this->guest_.vcpu->Translate(kPage, Rights::kWrite));
}

// Until a flush it goes on with what it had, as where hardware sets the bits.
TYPED_TEST(UnmarkingVcpuTest, AClearedPageCostsItsOwnerOneFault) {
  using F = TypeParam;
  auto& guest = this->guest_;
  EXPECT_EQ(this->Ask(Words<F>::kWritten, Rights::kWrite), FaultCause::kNone);
  EXPECT_TRUE(TestClearYoung<F>(guest.EntryAt(kPage, Level{1})).young);
  EXPECT_EQ(guest.WordAt(kPage, Level{1}), Words<F>::kAgedAndDirty);
  EXPECT_TRUE(guest.vcpu->Translate(kPage, Rights::kWrite));
  EXPECT_FALSE(TestYoung<F>(guest.EntryAt(kPage, Level{1})).young);
  guest.Flush();
  EXPECT_FALSE(guest.vcpu->Translate(kPage, Rights::kRead));
  EXPECT_EQ(guest.vcpu->last_fault().cause, FaultCause::kUnmarked);
}

// VTCR_EL2.HA set and HD clear: the access flag is hardware's, a write faults.
TEST(WriteFaultingVcpuTest, ItSetsTheAccessFlagAndNoMore) {
  using W = Words<Arm64FaultingOf16K>;
  OneVcpu<Arm64WriteFaultingOf16K> guest;
  ASSERT_EQ(guest.Map(kPage, Pfn{77}, Rights::kAll), MapOutcome::kDone);
  EXPECT_EQ(guest.WordAt(kPage, Level{1}), W::kCold);
  EXPECT_EQ(guest.vcpu->Translate(kPage, Rights::kWrite).fault,
            FaultCause::kUnmarked);
  EXPECT_EQ(guest.WordAt(kPage, Level{1}), W::kCold);
  EXPECT_TRUE(guest.vcpu->Translate(kPage, Rights::kRead));
  EXPECT_EQ(guest.WordAt(kPage, Level{1}), W::kRead);
  EXPECT_EQ(guest.vcpu->Translate(kPage, Rights::kWrite).fault,
            FaultCause::kUnmarked);
  guest.SetWordAt(kPage, Level{1}, W::kAgedAndDirty);
  EXPECT_TRUE(guest.vcpu->Translate(kPage, Rights::kWrite));
  EXPECT_EQ(guest.WordAt(kPage, Level{1}), W::kWritten);
}

#if PTAGE_HARDENED && GTEST_HAS_DEATH_TEST
TEST(VcpuDeathTest, AReferenceOutsideOfItsTimeTraps) {
  Guest<Ept> guest(1);
  GuestVcpu<Ept> vcpu(guest.cpus, 0, guest.memory, *guest.tree.root());
  EXPECT_DEATH(static_cast<void>(vcpu.Translate(kPage, Rights::kRead)), "");
}
#endif

}  // namespace
}  // namespace ptage::sim
