// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/vm.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/riscv64.h"
#include "ptage/spte/x86_64.h"
#include "test/machine.h"

namespace ptage {
namespace {

using test::Answer;
using test::BitRmaps;
using test::LocklessRmaps;
using test::LocklessRmapsUnderLock;
using test::Machine;
using test::SingleRmaps;

constexpr std::uint64_t kFrames = 1024;
constexpr Level k4K{1};

// L2 frame n stands for L1 frame n mod 96: frames beyond are aliases.
constexpr std::uint64_t kNestedFrames = 160;
std::optional<Gfn> TranslateNested(NestedGfn nested) {
  if (nested.value >= kNestedFrames) return std::nullopt;
  return Gfn{nested.value % 96};
}

template <class T>
class VmTest : public testing::Test {};

template <class F_, template <class> class D_>
struct Case {
  using F = F_;
  using D = D_<F_>;
};
template <class F>
using Single = SingleRmaps<F>;
template <class F>
using Bit = BitRmaps<F>;
template <class F>
using Free = LocklessRmaps<F>;
template <class F>
using FreeUnderLock = LocklessRmapsUnderLock<F>;

using Cases = testing::Types<Case<Ept, Single>, Case<Ept, Bit>, Case<Ept, Free>,
                             Case<Ept, FreeUnderLock>, Case<X86_64, Single>,
                             Case<X86_64, Bit>, Case<X86_64, Free>,
                             Case<RiscvSv39x4, Free>>;
TYPED_TEST_SUITE(VmTest, Cases);

// What a walker does when the guest touches a mapped page.
template <class F>
void Touch(SpteCell<F>& entry, bool write) {
  for (;;) {
    const typename F::Word seen = ReadOnce(entry, kAcquire);
    ASSERT_TRUE(F::IsPresent(seen));
    typename F::Word used = seen | F::kAccessed;
    if (write) used |= F::kDirty;
    if (TryCmpxchg(entry, seen, used, kRelaxed)) return;
  }
}

// A machine with no page tables at all: which names map which frame, and which
// were used. One mutex would guard it; here one thread does.
struct Model {
  struct Mapping {
    std::uint64_t gfn;
    bool accessed;
    bool dirty;
  };
  std::map<std::uint64_t, Mapping> direct;
  std::map<std::uint64_t, Mapping> nested;

  std::vector<Mapping*> Of(std::uint64_t gfn) {
    std::vector<Mapping*> all;
    for (auto* map : {&direct, &nested}) {
      for (auto& [name, mapping] : *map) {
        if (mapping.gfn == gfn) all.push_back(&mapping);
      }
    }
    return all;
  }
  std::uint64_t NestedNames(std::uint64_t gfn) const {
    return static_cast<std::uint64_t>(std::count_if(
        nested.begin(), nested.end(),
        [&](const auto& item) { return item.second.gfn == gfn; }));
  }
};

TYPED_TEST(VmTest, RandomOperationsAgreeWithAPlainModel) {
  using F = typename TypeParam::F;
  constexpr bool kFast = TypeParam::D::kFastAging;
  for (const unsigned seed : {1u, 2u, 3u}) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    Machine<F, typename TypeParam::D> machine(64, 256, k4K);
    auto& vm = *machine.vm;
    ASSERT_TRUE(
        vm.AddMemslot({Gfn{0}, Gfn{kFrames}}, Pfn{1 << 20}, Rights::kAll).ok());
    Model model;
    const auto below = [&](std::uint64_t n) { return random() % n; };
    // A scheme that frees in its own time is waited for: of chunks, two batches
    // may be on their way.
    const auto faulted = [&](auto fault) {
      FaultOutcome outcome = fault();
      if constexpr (!test::kGoesOnWhenAsked) {
        for (int turn = 0; turn < 2 && outcome == FaultOutcome::kNoMemory;
             ++turn) {
          machine.domain.WaitForRetired();
          outcome = fault();
        }
      }
      return outcome;
    };
    for (int step = 0; step < 20000; ++step) {
      const bool write = below(2) == 0;
      const Rights access = write ? Rights::kWrite : Rights::kRead;
      switch (below(8)) {
        case 0:
        case 1: {
          const std::uint64_t gfn = below(128);
          const bool mapped = model.direct.count(gfn) != 0;
          ASSERT_EQ(faulted([&] { return vm.Fault(Gfn{gfn}, access); }),
                    mapped ? FaultOutcome::kSpurious : FaultOutcome::kMapped);
          if (!mapped) model.direct[gfn] = {gfn, true, write};
          break;
        }
        case 2:
        case 3: {
          const std::uint64_t name = below(kNestedFrames);
          const bool mapped = model.nested.count(name) != 0;
          ASSERT_EQ(faulted([&] {
                      return vm.NestedFault(NestedGfn{name}, access,
                                            TranslateNested);
                    }),
                    mapped ? FaultOutcome::kSpurious : FaultOutcome::kMapped);
          if (!mapped) model.nested[name] = {name % 96, true, write};
          break;
        }
        case 4: {  // the guest touches what is mapped
          const LocklessWalk walk(machine.domain);
          const std::uint64_t name = below(128);
          if (auto found = model.direct.find(name);
              found != model.direct.end()) {
            Touch<F>(*vm.tdp().tree().Lookup(walk, Gfn{name}).entry, write);
            found->second.accessed = true;
            found->second.dirty |= write;
          }
          if (auto found = model.nested.find(name);
              found != model.nested.end()) {
            Touch<F>(*vm.shadow().tree().Lookup(walk, Gfn{name}).entry, write);
            found->second.accessed = true;
            found->second.dirty |= write;
          }
          break;
        }
        case 5: {  // one frame is taken away
          const std::uint64_t gfn = below(128);
          std::multiset<std::pair<bool, bool>> want;
          for (auto* mapping : model.Of(gfn)) {
            want.insert({mapping->accessed, mapping->dirty});
          }
          std::multiset<std::pair<bool, bool>> got;
          vm.Invalidate({Gfn{gfn}, Gfn{gfn + 1}}, [&](const ZappedLeaf& leaf) {
            EXPECT_EQ(leaf.gfn, Gfn{gfn});
            EXPECT_EQ(leaf.pfn, Pfn{(1 << 20) + gfn});
            got.insert({leaf.accessed, leaf.dirty});
          });
          ASSERT_EQ(got, want) << "gfn " << gfn;
          for (auto* map : {&model.direct, &model.nested}) {
            std::erase_if(
                *map, [&](const auto& item) { return item.second.gfn == gfn; });
          }
          break;
        }
        case 6: {  // L1 changes its tables
          const std::uint64_t name = below(kNestedFrames);
          std::uint64_t zapped = 0;
          vm.InvalidateNested(
              {NestedGfn{name}, NestedGfn{name + 4}},
              [&](const ZappedLeaf&) { ++zapped; }, [] {});
          ASSERT_EQ(zapped, std::erase_if(model.nested, [&](const auto& item) {
                      return item.first >= name && item.first < name + 4;
                    }));
          break;
        }
        default: {  // a question about a range
          const std::uint64_t begin = below(128);
          const GfnRange range{Gfn{begin}, Gfn{begin + 1 + below(64)}};
          const AgeAction action =
              below(2) == 0 ? AgeAction::kTest : AgeAction::kTestAndClear;
          const AgeMode mode =
              below(2) == 0 ? AgeMode::kSlow : AgeMode::kFastOnly;
          Answer answer(range.begin, range.Frames());
          const AgeResult result = vm.Age(range, action, mode, answer.output());
          AgeResult want;
          for (Gfn gfn = range.begin; gfn < range.end; gfn = gfn + 1) {
            const bool unanswered = !kFast && mode == AgeMode::kFastOnly &&
                                    model.NestedNames(gfn.value) > 1;
            bool young = false;
            const auto ask = [&](Model::Mapping& mapping, bool fast) {
              if (mapping.accessed) {
                young = true;
                want.young = true;
                want.was_fast |= fast;
              }
              if (action == AgeAction::kTestAndClear) mapping.accessed = false;
            };
            for (auto& [name, mapping] : model.direct) {
              if (mapping.gfn == gfn.value) ask(mapping, true);
            }
            for (auto& [name, mapping] : model.nested) {
              if (mapping.gfn == gfn.value && !unanswered) ask(mapping, kFast);
            }
            want.complete &= !unanswered;
            ASSERT_EQ(answer.Young(gfn), young) << "gfn " << gfn.value;
            ASSERT_EQ(answer.Unknown(gfn), unanswered) << "gfn " << gfn.value;
          }
          ASSERT_EQ(result.young, want.young);
          ASSERT_EQ(result.was_fast, want.was_fast);
          ASSERT_EQ(result.complete, want.complete);
          break;
        }
      }
      ASSERT_EQ(vm.shadow().live(), model.nested.size());
    }
    machine.vm.reset();
    test::FreeAll(machine.domain);
    EXPECT_EQ(machine.arena.InUse(), 0u);
    EXPECT_EQ(machine.pool.InUse(), 0u);
  }
}

TYPED_TEST(VmTest, MemslotsAreCheckedAndNamedInTheError) {
  using F = typename TypeParam::F;
  Machine<F, typename TypeParam::D> machine;
  auto& vm = *machine.vm;
  EXPECT_TRUE(
      vm.AddMemslot({Gfn{10}, Gfn{20}}, Pfn{5}, Rights::kReadExecute).ok());
  const absl::Status reversed =
      vm.AddMemslot({Gfn{40}, Gfn{30}}, Pfn{5}, Rights::kAll);
  EXPECT_EQ(reversed.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(reversed.message(), testing::HasSubstr("40"));
  const absl::Status overlap =
      vm.AddMemslot({Gfn{19}, Gfn{30}}, Pfn{5}, Rights::kAll);
  EXPECT_EQ(overlap.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(overlap.message(), testing::HasSubstr("[10, 20)"));
  EXPECT_EQ(vm.Fault(Gfn{9}, Rights::kRead), FaultOutcome::kNoSlot);
  EXPECT_EQ(vm.Fault(Gfn{20}, Rights::kRead), FaultOutcome::kNoSlot);
  EXPECT_EQ(vm.Fault(Gfn{10}, Rights::kWrite), FaultOutcome::kNotPermitted);
  EXPECT_EQ(vm.Fault(Gfn{10}, Rights::kExecute), FaultOutcome::kMapped);
  EXPECT_EQ(vm.NestedFault(NestedGfn{1}, Rights::kRead,
                           [](NestedGfn) { return std::nullopt; }),
            FaultOutcome::kReflected);
}

TYPED_TEST(VmTest, AFaultMapsTheLargestPageThatFits) {
  using F = typename TypeParam::F;
  Machine<F, typename TypeParam::D> machine;
  auto& vm = *machine.vm;
  // Guest and host are aligned alike to 2 MiB from frame 512 on, not below.
  ASSERT_TRUE(
      vm.AddMemslot({Gfn{100}, Gfn{2000}}, Pfn{512 + 100}, Rights::kAll).ok());
  ASSERT_EQ(vm.Fault(Gfn{700}, Rights::kRead), FaultOutcome::kMapped);
  ASSERT_EQ(vm.Fault(Gfn{200}, Rights::kRead), FaultOutcome::kMapped);
  ASSERT_EQ(vm.Fault(Gfn{1600}, Rights::kRead), FaultOutcome::kMapped);
  const LocklessWalk walk(machine.domain);
  EXPECT_EQ(vm.tdp().tree().Lookup(walk, Gfn{513}).level, Level{2});
  EXPECT_EQ(F::FrameOf(vm.tdp().tree().Lookup(walk, Gfn{513}).word), Pfn{1024});
  EXPECT_EQ(vm.tdp().tree().Lookup(walk, Gfn{200}).level, Level{1});
  EXPECT_EQ(vm.tdp().tree().Lookup(walk, Gfn{1600}).level, Level{1});
  // Asked about a part of the large page, the bit stays for the others.
  EXPECT_TRUE(vm.TestClearYoung({Gfn{600}, Gfn{601}}).young);
  EXPECT_TRUE(vm.TestClearYoung({Gfn{512}, Gfn{1024}}).young);
  EXPECT_FALSE(vm.TestYoung({Gfn{512}, Gfn{1024}}).young);
}

TYPED_TEST(VmTest, AnInvalidationFlushesBothMmusBeforeItReturns) {
  using F = typename TypeParam::F;
  Machine<F, typename TypeParam::D> machine(64, 256, k4K);
  auto& vm = *machine.vm;
  ASSERT_TRUE(vm.AddMemslot({Gfn{0}, Gfn{64}}, Pfn{512}, Rights::kAll).ok());
  ASSERT_EQ(vm.Fault(Gfn{5}, Rights::kRead), FaultOutcome::kMapped);
  ASSERT_EQ(vm.NestedFault(NestedGfn{101}, Rights::kRead, TranslateNested),
            FaultOutcome::kMapped);
  ASSERT_EQ(vm.Invalidate({Gfn{4}, Gfn{6}}, [](const ZappedLeaf&) {}), 2u);
  // Frames of the guest for the direct tables, of L2 for the nested ones.
  EXPECT_THAT(machine.flusher.flushed,
              testing::ElementsAre(GfnRange{Gfn{4}, Gfn{6}},
                                   GfnRange{Gfn{101}, Gfn{102}}));
  machine.flusher.flushed.clear();
  ASSERT_EQ(vm.Invalidate({Gfn{4}, Gfn{6}}, [](const ZappedLeaf&) {}), 0u);
  EXPECT_THAT(machine.flusher.flushed, testing::IsEmpty());
}

TYPED_TEST(VmTest, AFaultDuringAnInvalidationIsRetried) {
  using F = typename TypeParam::F;
  Machine<F, typename TypeParam::D> machine(64, 256, k4K);
  auto& vm = *machine.vm;
  ASSERT_TRUE(vm.AddMemslot({Gfn{0}, Gfn{64}}, Pfn{512}, Rights::kAll).ok());
  ASSERT_EQ(vm.Fault(Gfn{5}, Rights::kRead), FaultOutcome::kMapped);
  // The sink runs while the invalidation is open.
  FaultOutcome inside = FaultOutcome::kMapped;
  FaultOutcome outside = FaultOutcome::kNoSlot;
  vm.Invalidate({Gfn{5}, Gfn{7}}, [&](const ZappedLeaf&) {
    inside = vm.Fault(Gfn{6}, Rights::kRead);
    outside = vm.Fault(Gfn{7}, Rights::kRead);
  });
  EXPECT_EQ(inside, FaultOutcome::kRetry);
  EXPECT_EQ(outside, FaultOutcome::kMapped);
  // One that ended between the translation and the lock.
  const auto translate = [&](NestedGfn) -> std::optional<Gfn> {
    vm.Invalidate({Gfn{30}, Gfn{31}}, [](const ZappedLeaf&) {});
    return Gfn{30};
  };
  EXPECT_EQ(vm.NestedFault(NestedGfn{1}, Rights::kRead, translate),
            FaultOutcome::kRetry);
  // The same when L1's tables change under the translation.
  const auto change = [&](NestedGfn) -> std::optional<Gfn> {
    vm.InvalidateNested(
        {NestedGfn{1}, NestedGfn{2}}, [](const ZappedLeaf&) {}, [] {});
    return Gfn{30};
  };
  EXPECT_EQ(vm.NestedFault(NestedGfn{1}, Rights::kRead, change),
            FaultOutcome::kRetry);
  EXPECT_EQ(vm.NestedFault(NestedGfn{1}, Rights::kRead, TranslateNested),
            FaultOutcome::kMapped);
}

TYPED_TEST(VmTest, ARemovedSlotsFramesAreZappedAndFaultNoMore) {
  using F = typename TypeParam::F;
  Machine<F, typename TypeParam::D> machine(64, 256, k4K);
  auto& vm = *machine.vm;
  const GfnRange frames{Gfn{0}, Gfn{64}};
  const GfnRange others{Gfn{64}, Gfn{128}};
  ASSERT_TRUE(vm.AddMemslot(frames, Pfn{512}, Rights::kAll).ok());
  ASSERT_TRUE(vm.AddMemslot(others, Pfn{1024}, Rights::kAll).ok());
  ASSERT_EQ(vm.Fault(Gfn{5}, Rights::kWrite), FaultOutcome::kMapped);
  ASSERT_EQ(vm.Fault(Gfn{70}, Rights::kRead), FaultOutcome::kMapped);
  const auto sixth = [](NestedGfn) { return std::optional(Gfn{6}); };
  ASSERT_EQ(vm.NestedFault(NestedGfn{9}, Rights::kRead, sixth),
            FaultOutcome::kMapped);
  std::vector<std::pair<std::uint64_t, bool>> zapped;
  FaultOutcome inside = FaultOutcome::kMapped;
  const auto sink = [&](const ZappedLeaf& leaf) {
    zapped.emplace_back(leaf.gfn.value, leaf.dirty);
    // The direct ones are zapped without the lock.
    if (leaf.gfn == Gfn{5}) inside = vm.Fault(Gfn{7}, Rights::kRead);
  };
  EXPECT_EQ(vm.RemoveMemslot({Gfn{0}, Gfn{63}}, sink).code(),
            absl::StatusCode::kNotFound);
  EXPECT_THAT(zapped, testing::IsEmpty());
  EXPECT_TRUE(vm.RemoveMemslot(frames, sink).ok());
  EXPECT_THAT(zapped, testing::ElementsAre(testing::Pair(5, true),
                                           testing::Pair(6, false)));
  EXPECT_EQ(inside, FaultOutcome::kRetry);
  EXPECT_EQ(vm.shadow().live(), 0u);
  EXPECT_EQ(vm.Fault(Gfn{5}, Rights::kRead), FaultOutcome::kNoSlot);
  EXPECT_EQ(vm.NestedFault(NestedGfn{9}, Rights::kRead, sixth),
            FaultOutcome::kNoSlot);
  EXPECT_FALSE(vm.TestYoung(frames).young);
  EXPECT_TRUE(vm.TestYoung(others).young);
}

TYPED_TEST(VmTest, AMovedSlotsMemoryIsMappedElsewhere) {
  using F = typename TypeParam::F;
  Machine<F, typename TypeParam::D> machine(64, 256, k4K);
  auto& vm = *machine.vm;
  ASSERT_TRUE(vm.AddMemslot({Gfn{0}, Gfn{64}}, Pfn{512}, Rights::kAll).ok());
  ASSERT_TRUE(vm.AddMemslot({Gfn{64}, Gfn{80}}, Pfn{1024}, Rights::kAll).ok());
  ASSERT_EQ(vm.Fault(Gfn{5}, Rights::kRead), FaultOutcome::kMapped);
  int zapped = 0;
  FaultOutcome inside = FaultOutcome::kMapped;
  const auto sink = [&](const ZappedLeaf&) {
    ++zapped;
    // It finds the slot where it was, and must not map it there.
    inside = vm.Fault(Gfn{7}, Rights::kRead);
  };
  EXPECT_EQ(vm.MoveMemslot({Gfn{0}, Gfn{64}}, Gfn{60}, sink).code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(zapped, 0);
  EXPECT_TRUE(vm.MoveMemslot({Gfn{0}, Gfn{64}}, Gfn{100}, sink).ok());
  EXPECT_EQ(zapped, 1);
  EXPECT_EQ(inside, FaultOutcome::kRetry);
  EXPECT_EQ(vm.Fault(Gfn{5}, Rights::kRead), FaultOutcome::kNoSlot);
  ASSERT_EQ(vm.Fault(Gfn{105}, Rights::kRead), FaultOutcome::kMapped);
  const LocklessWalk walk(machine.domain);
  EXPECT_EQ(F::FrameOf(vm.tdp().tree().Lookup(walk, Gfn{105}).word), Pfn{517});
}

// Threads fault, direct and nested, and age, while slots come, go and move.
// Whatever is mapped in the end, a slot that is there maps.
TYPED_TEST(VmTest, SlotsChangeUnderFaultsAndAging) {
  using F = typename TypeParam::F;
  constexpr std::uint64_t kSlots = 4;
  constexpr std::uint64_t kSize = 16;
  Machine<F, typename TypeParam::D> machine(64, 1024, k4K);
  auto& vm = *machine.vm;
  const auto frames = [](std::uint64_t slot) {
    return GfnRange{Gfn{slot * kSize}, Gfn{(slot + 1) * kSize}};
  };
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> mapped{0};
  std::vector<std::thread> threads;
  for (unsigned seed : {1u, 2u}) {
    threads.emplace_back([&, seed] {
      std::mt19937 random(seed);
      while (!stop.load()) {
        const Gfn gfn{random() % (kSlots * kSize)};
        const FaultOutcome outcome =
            random() % 2 == 0
                ? vm.Fault(gfn, Rights::kRead)
                : vm.NestedFault(NestedGfn{random() % 64}, Rights::kRead,
                                 [&](NestedGfn) { return std::optional(gfn); });
        if (outcome == FaultOutcome::kMapped) mapped.fetch_add(1);
        const GfnRange all{Gfn{0}, Gfn{kSlots * kSize}};
        (void)vm.TestClearYoungFastOnly(all);
      }
    });
  }
  std::mt19937 random(3);
  std::map<std::uint64_t, std::uint64_t> bases;  // by slot
  std::uint64_t next = 1;
  const auto end = absl::Now() + absl::Milliseconds(100);
  while (absl::Now() < end || mapped.load() < 300) {
    const std::uint64_t slot = random() % kSlots;
    const std::uint64_t other = random() % kSlots;
    const auto sink = [&](const ZappedLeaf& leaf) {
      // Of the memory that the slot has at this moment.
      const std::uint64_t place = leaf.gfn.value / kSize;
      EXPECT_EQ(leaf.pfn.value, bases.at(place) + leaf.gfn.value % kSize);
    };
    if (!bases.contains(slot)) {
      const std::uint64_t base = kSize * 64 * next++;
      ASSERT_TRUE(vm.AddMemslot(frames(slot), Pfn{base}, Rights::kAll).ok());
      bases[slot] = base;
    } else if (!bases.contains(other)) {
      ASSERT_TRUE(vm.MoveMemslot(frames(slot), frames(other).begin, sink).ok());
      bases[other] = bases.at(slot);
      bases.erase(slot);
    } else {
      ASSERT_TRUE(vm.RemoveMemslot(frames(slot), sink).ok());
      bases.erase(slot);
    }
  }
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
  const LocklessWalk walk(machine.domain);
  for (std::uint64_t gfn = 0; gfn < kSlots * kSize; ++gfn) {
    const auto word = vm.tdp().tree().Lookup(walk, Gfn{gfn}).word;
    if (!F::IsPresent(word)) continue;
    ASSERT_TRUE(bases.contains(gfn / kSize)) << gfn;
    EXPECT_EQ(F::FrameOf(word).value, bases.at(gfn / kSize) + gfn % kSize);
  }
}

TYPED_TEST(VmTest, AFullRmapIsZappedAndTheFaultSucceeds) {
  using F = typename TypeParam::F;
  using M = Machine<F, typename TypeParam::D>;
  M machine(64, 400, k4K);
  auto& vm = *machine.vm;
  ASSERT_TRUE(vm.AddMemslot({Gfn{0}, Gfn{64}}, Pfn{512}, Rights::kAll).ok());
  const auto one = [](NestedGfn) -> std::optional<Gfn> { return Gfn{3}; };
  for (std::uint64_t name = 0; name < kDefaultRmapCap; ++name) {
    ASSERT_EQ(vm.NestedFault(NestedGfn{name}, Rights::kRead, one),
              FaultOutcome::kMapped);
  }
  EXPECT_EQ(vm.shadow().live(), kDefaultRmapCap);
  ASSERT_EQ(vm.NestedFault(NestedGfn{kDefaultRmapCap}, Rights::kRead, one),
            FaultOutcome::kMapped);
  EXPECT_EQ(vm.shadow().live(), 1u);
}

// The chunks of a list that was zapped serve the next one, though a lockless
// list's wait for grace periods, and a fault's own walk is in their way.
TYPED_TEST(VmTest, ChunksThatCameBackServeTheNextFault) {
  using F = typename TypeParam::F;
  Machine<F, typename TypeParam::D> machine(64, 2, k4K);
  // A scheme that cannot be asked to go on gives chunks back when it likes.
  if (TypeParam::D::kFastAging && !test::kGoesOnWhenAsked) GTEST_SKIP();
  auto& vm = *machine.vm;
  ASSERT_TRUE(vm.AddMemslot({Gfn{0}, Gfn{64}}, Pfn{512}, Rights::kAll).ok());
  for (std::uint64_t gfn = 0; gfn < 20; ++gfn) {
    const auto translate = [&](NestedGfn) { return std::optional(Gfn{gfn}); };
    // Two chunks in any discipline, of the two that there are.
    for (std::uint64_t name = 0; name < 9; ++name) {
      ASSERT_EQ(
          vm.NestedFault(NestedGfn{100 * gfn + name}, Rights::kRead, translate),
          FaultOutcome::kMapped)
          << gfn << " " << name;
    }
    ASSERT_EQ(vm.Invalidate({Gfn{gfn}, Gfn{gfn + 1}}, [](const ZappedLeaf&) {}),
              9u);
  }
}

// Neither a chunk nor a table is left: the fault says so and leaves its entry
// empty, what was mapped answers as before, and when memory comes back the same
// fault succeeds. Nothing leaks.
TYPED_TEST(VmTest, AFaultWithoutMemoryLeavesNothingBehind) {
  using F = typename TypeParam::F;
  constexpr std::size_t kFits =
      test::RmapPool<typename TypeParam::D>::kFirst;  // in the only chunk
  // A root for each MMU, and a path below one.
  constexpr std::size_t kTables = 2 * kRootTables<F> + F::kLevels - 1;
  Machine<F, typename TypeParam::D> machine(kTables, 1, k4K);
  auto& vm = *machine.vm;
  const GfnRange all{Gfn{0}, Gfn{64}};
  ASSERT_TRUE(vm.AddMemslot(all, Pfn{512}, Rights::kAll).ok());
  const auto one = [](NestedGfn) -> std::optional<Gfn> { return Gfn{3}; };
  const auto fault = [&](std::uint64_t name) {
    return vm.NestedFault(NestedGfn{name}, Rights::kRead, one);
  };
  for (std::uint64_t name = 0; name < kFits; ++name) {
    ASSERT_EQ(fault(name), FaultOutcome::kMapped);
  }
  const auto expect_as_before = [&] {
    EXPECT_EQ(vm.shadow().live(), kFits);
    EXPECT_EQ(machine.pool.InUse(), 1u);
    EXPECT_EQ(machine.arena.InUse(), kTables);
    EXPECT_TRUE(vm.TestYoung({Gfn{3}, Gfn{4}}).young);
  };

  EXPECT_EQ(fault(kFits), FaultOutcome::kNoMemory);
  expect_as_before();
  {
    const LocklessWalk walk(machine.domain);
    EXPECT_EQ(vm.shadow().tree().Lookup(walk, Gfn{kFits}).word, F::kEmpty);
  }
  // Its leaf table would be another.
  EXPECT_EQ(fault(5 * kEntriesPerTable<F>), FaultOutcome::kNoMemory);
  expect_as_before();

  ASSERT_EQ(vm.InvalidateNested(
                {NestedGfn{0}, NestedGfn{1}}, [](const ZappedLeaf&) {}, [] {}),
            1u);
  EXPECT_EQ(fault(kFits), FaultOutcome::kMapped);
  expect_as_before();
  EXPECT_EQ(vm.Invalidate(all, [](const ZappedLeaf&) {}), kFits);
  EXPECT_EQ(machine.pool.InUse(), 0u);
}

// Faults and invalidations go on beside a walk that does nothing for a second;
// what they retire is held until it ends.
TYPED_TEST(VmTest, AWalkThatStopsForASecondHoldsMemoryAndNobody) {
  using F = typename TypeParam::F;
  constexpr bool kFast = TypeParam::D::kFastAging;
  Machine<F, typename TypeParam::D> machine(64, 2, k4K);
  auto& vm = *machine.vm;
  const GfnRange all{Gfn{0}, Gfn{64}};
  ASSERT_TRUE(vm.AddMemslot(all, Pfn{512}, Rights::kAll).ok());
  const auto one = [](NestedGfn) -> std::optional<Gfn> { return Gfn{3}; };
  const auto map_nine = [&] {
    FaultOutcome outcome = FaultOutcome::kMapped;
    for (std::uint64_t name = 0; name < 9; ++name) {
      if (outcome != FaultOutcome::kMapped) break;
      outcome = vm.NestedFault(NestedGfn{name}, Rights::kRead, one);
    }
    return outcome;
  };
  ASSERT_EQ(map_nine(), FaultOutcome::kMapped);

  std::atomic<bool> began{false};
  std::atomic<bool> changed{false};
  std::thread walker([&] {
    const LocklessWalk walk(machine.domain);
    began.store(true);
    absl::SleepFor(absl::Seconds(1));
    // Whoever waited for this walk would wait for ever.
    while (!changed.load()) std::this_thread::yield();
  });
  while (!began.load()) std::this_thread::yield();
  // The lockless list's chunks wait for the walk; others' are free at once.
  for (int i = 0; i < 3; ++i) {
    EXPECT_NE(vm.Invalidate(all, [](const ZappedLeaf&) {}), 0u);
    EXPECT_EQ(map_nine(),
              kFast && i > 0 ? FaultOutcome::kNoMemory : FaultOutcome::kMapped);
  }
  EXPECT_TRUE(vm.TestClearYoung(all).young);
  changed.store(true);
  walker.join();
  vm.Invalidate(all, [](const ZappedLeaf&) {});
  if (kFast && !test::kGoesOnWhenAsked) {
    // The batch that waited, and the one that filled meanwhile.
    for (int i = 0; i < 2; ++i) test::FreeAll(machine.domain);
  }
  EXPECT_EQ(map_nine(), FaultOutcome::kMapped);
}

TYPED_TEST(VmTest, FastOnlyDoesNotWaitForAHeldLock) {
  using F = typename TypeParam::F;
  Machine<F, typename TypeParam::D> machine(64, 256, k4K);
  auto& vm = *machine.vm;
  ASSERT_TRUE(vm.AddMemslot({Gfn{0}, Gfn{64}}, Pfn{512}, Rights::kAll).ok());
  for (const std::uint64_t name : {1u, 2u, 97u}) {
    ASSERT_EQ(vm.NestedFault(NestedGfn{name}, Rights::kRead, TranslateNested),
              FaultOutcome::kMapped);
  }
  ASSERT_EQ(vm.Fault(Gfn{9}, Rights::kRead), FaultOutcome::kMapped);
  absl::MutexLock held(&machine.mmu_lock);
  Answer answer(Gfn{0}, 64);
  const AgeResult result =
      vm.TestClearYoungFastOnly({Gfn{0}, Gfn{64}}, answer.output());
  EXPECT_TRUE(result.young);
  EXPECT_TRUE(result.was_fast);
  // A list is what the others would have to wait for.
  constexpr bool kFast = TypeParam::D::kFastAging;
  EXPECT_EQ(result.complete, kFast);
  EXPECT_EQ(answer.Unknown(Gfn{1}), !kFast);  // 1 and 97 alias it
  EXPECT_TRUE(answer.Young(Gfn{2}));
  EXPECT_TRUE(answer.Young(Gfn{9}));
}

// Faults, touches, questions and invalidations at once. What must balance: each
// time an entry became young, by a fault or a touch, it was cleared once by a
// question, or was handed over young by a zap, or is still young at the end.
TYPED_TEST(VmTest, NoAccessIsLostUnderConcurrentChange) {
  using F = typename TypeParam::F;
  Machine<F, typename TypeParam::D> machine(64, 256, k4K);
  auto& vm = *machine.vm;
  constexpr std::uint64_t kPages = 48;
  const GfnRange all{Gfn{0}, Gfn{kPages}};
  ASSERT_TRUE(vm.AddMemslot(all, Pfn{512}, Rights::kAll).ok());
  const auto translate = [](NestedGfn nested) -> std::optional<Gfn> {
    return Gfn{nested.value % kPages};
  };
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> became_young{0};
  std::atomic<std::uint64_t> handed_over{0};
  std::atomic<std::uint64_t> zaps{0};
  const auto guest = [&](unsigned seed) {
    std::mt19937 random(seed);
    while (!stop.load()) {
      // One page in eight has a second name.
      const std::uint64_t page = random() % kPages;
      const std::uint64_t name =
          page % 8 == 0 && random() % 2 == 0 ? page + kPages : page;
      const bool nested = random() % 2 == 0;
      const FaultOutcome outcome =
          nested ? vm.NestedFault(NestedGfn{name}, Rights::kWrite, translate)
                 : vm.Fault(Gfn{page}, Rights::kWrite);
      if (outcome == FaultOutcome::kMapped) became_young.fetch_add(1);
      const LocklessWalk walk(machine.domain);
      const FoundEntry<F> found =
          nested ? vm.shadow().tree().Lookup(walk, Gfn{name})
                 : vm.tdp().tree().Lookup(walk, Gfn{page});
      if (!F::IsPresent(found.word) || IsYoung<F>(found.word)) continue;
      if (TryCmpxchg(*found.entry, found.word,
                     found.word | F::kAccessed | F::kDirty, kRelaxed)) {
        became_young.fetch_add(1);
      }
    }
  };
  std::vector<std::thread> threads;
  threads.emplace_back(guest, 1);
  threads.emplace_back(guest, 2);
  threads.emplace_back([&] {
    std::mt19937 random(3);
    while (!stop.load()) {
      const Gfn gfn{random() % kPages};
      zaps.fetch_add(vm.Invalidate({gfn, gfn + 1}, [&](const ZappedLeaf& leaf) {
        if (leaf.accessed) handed_over.fetch_add(1);
      }));
      std::this_thread::yield();
    }
  });
  AgeCounts counts;
  const AgeOutput output{.counts = &counts};
  const absl::Time end = absl::Now() + absl::Milliseconds(400);
  while (absl::Now() < end || counts.young < 100 || zaps.load() < 100) {
    vm.TestClearYoungFastOnly(all, output);
    vm.TestClearYoung(all, output);
  }
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
  vm.TestClearYoung(all, output);
  EXPECT_EQ(counts.young - counts.lost_races + handed_over.load(),
            became_young.load());
}

// A root of four tables, of 2^27 frames each, for both MMUs.
TEST(WideVmTest, AMemslotAndNestedFramesLieAcrossABorder) {
  using F = RiscvSv39x4;
  constexpr std::uint64_t kBorder = std::uint64_t{1} << 27;
  Machine<F, LocklessRmapsUnderLock<F>> machine(64, 256, k4K);
  auto& vm = *machine.vm;
  const GfnRange slot{Gfn{kBorder - 8}, Gfn{kBorder + 8}};
  ASSERT_TRUE(vm.AddMemslot(slot, Pfn{1 << 20}, Rights::kAll).ok());
  for (const std::uint64_t gfn : {kBorder - 1, kBorder}) {
    EXPECT_EQ(vm.Fault(Gfn{gfn}, Rights::kRead), FaultOutcome::kMapped);
  }
  // Nested frames of the last border, for other gfns.
  EXPECT_EQ(vm.NestedFault(NestedGfn{3 * kBorder - 1}, Rights::kRead,
                           [](NestedGfn) { return Gfn{kBorder - 3}; }),
            FaultOutcome::kMapped);
  EXPECT_EQ(vm.NestedFault(NestedGfn{3 * kBorder}, Rights::kRead,
                           [](NestedGfn) { return Gfn{kBorder + 2}; }),
            FaultOutcome::kMapped);
  Answer answer(slot.begin, slot.Frames());
  EXPECT_TRUE(vm.TestClearYoungFastOnly(slot, answer.output()).young);
  for (std::uint64_t i = 0; i < slot.Frames(); ++i) {
    EXPECT_EQ(answer.Young(slot.begin + i),
              i == 5 || i == 7 || i == 8 || i == 10)
        << i;
  }
  EXPECT_EQ(vm.TestYoung(slot),
            (AgeResult{.young = false, .was_fast = false, .complete = true}));
  EXPECT_EQ(vm.Invalidate(slot, [](const ZappedLeaf&) {}), 4u);
}

// A guest can ask for any address.
TEST(WideVmTest, ANestedFrameThatTheTreeHasNoPlaceForIsReflected) {
  using F = RiscvSv39x4;
  constexpr std::uint64_t kEnd = std::uint64_t{1} << 29;
  Machine<F, LocklessRmapsUnderLock<F>> machine(64, 256, k4K);
  auto& vm = *machine.vm;
  ASSERT_TRUE(vm.AddMemslot({Gfn{0}, Gfn{8}}, Pfn{8}, Rights::kAll).ok());
  const auto all = [](NestedGfn nested) { return Gfn{nested.value % 8}; };
  EXPECT_EQ(vm.NestedFault(NestedGfn{kEnd - 1}, Rights::kRead, all),
            FaultOutcome::kMapped);
  for (const std::uint64_t nested : {kEnd, kEnd + 7, ~std::uint64_t{0}}) {
    EXPECT_EQ(vm.NestedFault(NestedGfn{nested}, Rights::kRead, all),
              FaultOutcome::kReflected);
    EXPECT_EQ(vm.Fault(Gfn{nested}, Rights::kRead), FaultOutcome::kNoSlot);
  }
  EXPECT_EQ(vm.shadow().live(), 1u);
  // Nor does it matter where L1 says that it changed something.
  const auto none = [](const ZappedLeaf&) {};
  EXPECT_EQ(
      vm.InvalidateNested({NestedGfn{kEnd}, NestedGfn{2 * kEnd}}, none, [] {}),
      0u);
  EXPECT_EQ(
      vm.InvalidateNested({NestedGfn{0}, NestedGfn{2 * kEnd}}, none, [] {}),
      1u);
}

TEST(WideVmTest, AMemslotEndsWhereTheRootDoes) {
  using F = RiscvSv39x4;
  constexpr Gfn kEnd{std::uint64_t{1} << 29};
  Machine<F, LocklessRmapsUnderLock<F>> machine(64, 256, k4K);
  auto& vm = *machine.vm;
  const Gfn first{kEnd.value - 4};
  EXPECT_FALSE(vm.AddMemslot({first, kEnd + 1}, Pfn{8}, Rights::kAll).ok());
  ASSERT_TRUE(vm.AddMemslot({first, kEnd}, Pfn{8}, Rights::kAll).ok());
  EXPECT_EQ(vm.Fault(first + 3, Rights::kWrite), FaultOutcome::kMapped);
  EXPECT_TRUE(vm.TestClearYoung(GfnRange{first, kEnd}).young);
}

}  // namespace
}  // namespace ptage
