// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Nested faults of several threads, through few frames of L1 with many names
// each, against aging, invalidations of both kinds, and each other. When all
// have ended, rmaps and entries tell the same. And splits of large pages beside
// all of that, after which each access and each write is where it has to be.

#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/fault_lock.h"
#include "ptage/memory.h"
#include "ptage/memslot.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"
#include "ptage/vm.h"
#include "test/machine.h"
#include "test/stress.h"

namespace ptage {
namespace {

constexpr std::uint64_t kFrames = 8;
// So that a list may be full.
constexpr std::uint64_t kNames = kFrames * (kDefaultRmapCap + 100);

template <class D>
class VmNestedStressTest : public testing::Test {
 protected:
  using Machine = test::Machine<Ept, D>;

  void SetUp() override {
    ASSERT_TRUE(vm().AddMemslot(kAll, Pfn{512}, Rights::kAll).ok());
  }
  auto& vm() { return *machine_.vm; }

  // L1's frame behind a name changes now and then, and nobody says so.
  FaultOutcome Fault(std::uint64_t name, std::uint64_t shift, Rights access) {
    return vm().NestedFault(NestedGfn{name}, access,
                            [&](NestedGfn) -> std::optional<NestedMapping> {
                              return NestedMapping(
                                  Gfn{(name + shift) % kFrames},
                                  access | Rights::kRead);
                            });
  }

  static constexpr GfnRange kAll{Gfn{0}, Gfn{kFrames}};
  Machine machine_{64, 4096, Level{1}};
};

using Disciplines =
    testing::Types<test::SingleRmaps<Ept>, test::BitRmaps<Ept>,
                   test::LocklessRmaps<Ept>, test::LocklessRmapsUnderLock<Ept>>;
TYPED_TEST_SUITE(VmNestedStressTest, Disciplines);

TYPED_TEST(VmNestedStressTest, RmapsAndEntriesTellTheSameInTheEnd) {
  auto& vm = this->vm();
  std::vector<std::mt19937> randoms;
  for (unsigned seed = 1; seed <= 5; ++seed) randoms.emplace_back(seed);
  const auto fault = [&](std::mt19937& random) {
    for (int i = 0; i < 64; ++i) {
      const std::uint64_t shift = random() % 512 == 0 ? 1 : 0;
      const Rights access =
          random() % 2 == 0 ? Rights::kReadWrite : Rights::kRead;
      const FaultOutcome outcome =
          this->Fault(random() % kNames, shift, access);
      // No memory: the chunks of lists that were zapped wait for walks.
      ASSERT_TRUE(outcome == FaultOutcome::kMapped ||
                  outcome == FaultOutcome::kSpurious ||
                  outcome == FaultOutcome::kRetry ||
                  outcome == FaultOutcome::kNoMemory);
    }
  };
  const std::vector<std::function<void()>> bodies = {
      [&] { fault(randoms[0]); }, [&] { fault(randoms[1]); },
      [&] { fault(randoms[2]); },
      [&] { (void)vm.TestClearYoungFastOnly(this->kAll); },
      [&] {
        if (randoms[4]() % 8 != 0) return;
        const auto drop = [](const ZappedLeaf&) {};
        if (randoms[4]() % 2 == 0) {
          const Gfn gfn{randoms[4]() % kFrames};
          (void)vm.Invalidate(GfnRange{gfn, gfn + 1}, drop);
        } else {
          const NestedGfn nested{randoms[4]() % kNames};
          (void)vm.InvalidateNested(NestedRange{nested, nested + 200}, drop,
                                    [] {});
        }
      }};
  test::Stress(bodies);

  const LocklessWalk walk(this->machine_.domain);
  std::uint64_t leaves = 0;
  for (std::uint64_t name = 0; name < kNames; ++name) {
    const FoundEntry<Ept> found = vm.shadow().tree().Lookup(walk, Gfn{name});
    ASSERT_FALSE(IsFrozen<Ept>(found.word));
    if (!Ept::IsPresent(found.word)) continue;
    ++leaves;
    const Gfn gfn = RecordedFrame<Ept>(this->machine_.arena, *found.entry);
    ASSERT_EQ(Ept::FrameOf(found.word), Pfn{512 + gfn.value});
    Memslot<Ept>* const slot = vm.memslots().Find(walk, gfn);
    ASSERT_NE(slot, nullptr);
    ASSERT_TRUE(this->machine_.rmaps.Contains(slot->HeadOf(gfn, Level{1}),
                                              *found.entry));
  }
  std::uint64_t entries = 0;
  for (Gfn gfn = this->kAll.begin; gfn < this->kAll.end; gfn = gfn + 1) {
    entries +=
        vm.shadow().CountEntries(*vm.memslots().Find(walk, gfn), gfn, Level{1});
  }
  EXPECT_GT(leaves, 0u);
  EXPECT_EQ(entries, leaves);
  EXPECT_EQ(vm.shadow().live(), leaves);
}

// --- Large pages of L2, which are split, and mapped large again.

constexpr std::uint64_t kLarge = 512;
constexpr std::uint64_t kMemory = 2 * kLarge;
constexpr GfnRange kRange{Gfn{0}, Gfn{kMemory}};
// Two for each frame.
constexpr std::uint64_t kNamed = 2 * kMemory;

template <class D>
class VmNestedSplitStressTest : public testing::Test {
 protected:
  using Machine = test::Machine<Ept, D>;

  void SetUp() override {
    ASSERT_TRUE(vm().AddMemslot(kRange, Pfn{kMemory}, Rights::kAll).ok());
  }
  auto& vm() { return *machine_.vm; }
  FaultOutcome Fault(std::uint64_t name, Rights access) {
    return vm().NestedFault(NestedGfn{name}, access, [&](NestedGfn) {
      return std::optional(
          NestedMapping(Gfn{name % kMemory}, Rights::kAll, Level{2}));
    });
  }
  // A CPU's write. False: it has to fault.
  bool Write(std::uint64_t name) {
    const LocklessWalk walk(machine_.domain, WalkEntry::kWait);
    const FoundEntry<Ept> found = vm().shadow().tree().Lookup(walk, Gfn{name});
    return Ept::IsPresent(found.word) &&
           TryCmpxchg(*found.entry, found.word,
                      found.word | Ept::kAccessed | Ept::kDirty, kRelaxed);
  }

  // By frames, of one thread each.
  struct Frames {
    void Add(const ZappedLeaf& leaf) {
      for (std::uint64_t i = 0; i < (leaf.level > Level{1} ? kLarge : 1); ++i) {
        if (leaf.accessed) accessed[leaf.gfn.value + i] = 1;
        if (leaf.dirty) dirty[leaf.gfn.value + i] = 1;
      }
    }
    std::vector<char> accessed = std::vector<char>(kMemory);
    std::vector<char> dirty = std::vector<char>(kMemory);
  };

  Machine machine_{64, 4096, Level{1}};
};
TYPED_TEST_SUITE(VmNestedSplitStressTest, Disciplines);

TYPED_TEST(VmNestedSplitStressTest,
           NoAccessAndNoWriteIsLostWhilePagesAreSplit) {
  auto& vm = this->vm();
  std::vector<std::mt19937> randoms;
  for (unsigned seed = 1; seed <= 5; ++seed) randoms.emplace_back(seed);
  std::vector<typename TestFixture::Frames> made(2), told(4);
  const auto use = [&](unsigned thread) {
    for (int i = 0; i < 16; ++i) {
      const std::uint64_t name = randoms[thread]() % kNamed;
      const bool faults = randoms[thread]() % 2 == 0;
      if (faults ? this->Fault(name, Rights::kWrite) != FaultOutcome::kMapped
                 : !this->Write(name)) {
        continue;
      }
      made[thread].dirty[name % kMemory] = 1;
      // A fault that grants a right leaves that to the walk that comes next.
      if (!faults) made[thread].accessed[name % kMemory] = 1;
    }
  };
  const auto age = [&](unsigned thread, AgeMode mode) {
    test::Answer answer(Gfn{0}, kMemory);
    (void)vm.Age(kRange, AgeAction::kTestAndClear, mode, answer.output());
    for (std::uint64_t gfn = 0; gfn < kMemory; ++gfn) {
      if (answer.Young(Gfn{gfn})) told[thread].accessed[gfn] = 1;
    }
  };
  std::uint64_t split = 0;
  std::uint64_t removed = 0;
  const std::vector<std::function<void()>> bodies = {
      [&] { use(0); },
      [&] { use(1); },
      [&] { age(0, AgeMode::kFastOnly); },
      [&] { age(1, AgeMode::kSlow); },
      [&] {
        const Gfn gfn{randoms[2]() % kMemory};
        const LocklessWalk walk(this->machine_.domain, WalkEntry::kWait);
        const FaultLock::Exclusive lock(vm.fault_lock());
        split += vm.shadow().SplitLarge(walk, {gfn, gfn + 1}, Level{1}).done;
      },
      [&] {
        if (randoms[3]() % 4 != 0) return;
        // Else nothing is large any more.
        const NestedGfn first{randoms[3]() % (kNamed / kLarge) * kLarge};
        removed += vm.RemoveNestedTables(
            {first, first + kLarge},
            [&](const ZappedLeaf& leaf) { told[2].Add(leaf); });
      },
      [&] {
        if (randoms[4]() % 16 != 0) return;
        const Gfn gfn{randoms[4]() % kMemory};
        (void)vm.Invalidate({gfn, gfn + 1},
                            [&](const ZappedLeaf& leaf) { told[3].Add(leaf); });
      }};
  test::Stress(bodies);
  EXPECT_GT(split, 0u);
  EXPECT_GT(removed, 0u);

  const LocklessWalk walk(this->machine_.domain, WalkEntry::kWait);
  typename TestFixture::Frames left;
  std::uint64_t leaves = 0;
  for (std::uint64_t name = 0; name < kNamed;) {
    const FoundEntry<Ept> found = vm.shadow().tree().Lookup(walk, Gfn{name});
    const std::uint64_t frames = FramesAt<Ept>(found.level);
    ASSERT_FALSE(IsFrozen<Ept>(found.word));
    if (Ept::IsPresent(found.word)) {
      ++leaves;
      const Gfn gfn = RecordedFrame<Ept>(this->machine_.arena, *found.entry);
      ASSERT_EQ(gfn.value, name % kMemory);
      ASSERT_EQ(Ept::FrameOf(found.word), Pfn{kMemory + gfn.value});
      ASSERT_TRUE(this->machine_.rmaps.Contains(
          vm.memslots().Find(walk, gfn)->HeadOf(gfn, found.level),
          *found.entry));
      left.Add({.gfn = gfn,
                .level = found.level,
                .pfn = Ept::FrameOf(found.word),
                .accessed = IsYoung<Ept>(found.word),
                .dirty = IsDirty<Ept>(found.word)});
    }
    name = name / frames * frames + frames;
  }
  EXPECT_EQ(vm.shadow().live(), leaves);
  told.push_back(left);
  std::uint64_t used = 0;
  for (std::uint64_t gfn = 0; gfn < kMemory; ++gfn) {
    bool accessed = false;
    bool dirty = false;
    for (const auto& one : told) {
      accessed |= one.accessed[gfn] != 0;
      dirty |= one.dirty[gfn] != 0;
    }
    for (const auto& one : made) {
      ASSERT_TRUE(one.accessed[gfn] == 0 || accessed) << gfn;
      ASSERT_TRUE(one.dirty[gfn] == 0 || dirty) << gfn;
      used += one.dirty[gfn] != 0 ? 1 : 0;
    }
  }
  EXPECT_GT(used, 0u);
}

}  // namespace
}  // namespace ptage
