// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What a discipline is, and what all of them promise, over every format.

#include "ptage/rmap.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <type_traits>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/rmap/chunk_list.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/rmap_fixture.h"

namespace ptage {
namespace {

using test::RmapMachine;
using test::TinyFormat;
using test::Truth;
using test::WordOf;

// --- What a discipline is.

// One entry, remembered outside of the head; nothing that the concept does not
// ask for.
class MinimalDiscipline {
 public:
  using Format = TinyFormat;
  static constexpr bool kFastAging = true;
  static constexpr bool kParallelWriters = false;

  RmapAdd Add(RmapHead&, SpteCell<TinyFormat>& entry) {
    if (entry_ != nullptr) return RmapAdd::kFull;
    entry_ = &entry;
    return RmapAdd::kDone;
  }
  bool Remove(RmapHead&, SpteCell<TinyFormat>& entry) {
    if (entry_ != &entry) return false;
    entry_ = nullptr;
    return true;
  }
  SpteCell<TinyFormat>* Any(RmapHead&) { return entry_; }
  std::uint32_t Count(RmapHead&) { return entry_ != nullptr ? 1 : 0; }
  bool Contains(RmapHead&, SpteCell<TinyFormat>& entry) {
    return entry_ == &entry;
  }
  AgeResult Age(RmapHead&, RmapFrame frame, AgeAction action, AgeMode mode,
                AgeCounts&) {
    asked = frame;
    asked_action = action;
    asked_mode = mode;
    return AgeResult{.young = true, .was_fast = true, .complete = false};
  }

  RmapFrame asked{};
  AgeAction asked_action{};
  AgeMode asked_mode{};

 private:
  SpteCell<TinyFormat>* entry_ = nullptr;
};

struct WithoutFormat {};
struct AddsSilently : MinimalDiscipline {
  void Add(RmapHead&, SpteCell<TinyFormat>&);
};
struct CannotAge : MinimalDiscipline {
  AgeResult Age(RmapHead&, RmapFrame, AgeAction, AgeMode, AgeCounts&) = delete;
};
struct CountsNothing : MinimalDiscipline {
  AgeResult Age(RmapHead&, RmapFrame, AgeAction, AgeMode);
};

static_assert(RmapDiscipline<MinimalDiscipline>);
static_assert(!RmapDiscipline<WithoutFormat>);
static_assert(!RmapDiscipline<AddsSilently>);
static_assert(!RmapDiscipline<CannotAge>);
static_assert(!RmapDiscipline<CountsNothing>);
static_assert(!RmapDiscipline<int>);

TEST(RmapQuestionsTest, EachAsksItsOwn) {
  MinimalDiscipline rmaps;
  RmapHead head{};
  const RmapFrame frame{Gfn{7}, Level{2}};
  constexpr AgeResult kAnswer{
      .young = true, .was_fast = true, .complete = false};
  EXPECT_EQ(TestYoung(rmaps, head, frame), kAnswer);
  EXPECT_EQ(rmaps.asked_action, AgeAction::kTest);
  EXPECT_EQ(rmaps.asked_mode, AgeMode::kSlow);
  EXPECT_EQ(TestClearYoung(rmaps, head, frame), kAnswer);
  EXPECT_EQ(rmaps.asked_action, AgeAction::kTestAndClear);
  EXPECT_EQ(rmaps.asked_mode, AgeMode::kSlow);
  EXPECT_EQ(TestClearYoungFastOnly(rmaps, head, frame), kAnswer);
  EXPECT_EQ(rmaps.asked_action, AgeAction::kTestAndClear);
  EXPECT_EQ(rmaps.asked_mode, AgeMode::kFastOnly);
  EXPECT_EQ(rmaps.asked.gfn, Gfn{7});
  EXPECT_EQ(rmaps.asked.level, Level{2});
}

static_assert(sizeof(RmapHead) == sizeof(void*));

// --- What all disciplines promise.

template <class D>
class RmapTest : public ::testing::Test {
 protected:
  using Word = typename D::Format::Word;

  static_assert(RmapDiscipline<D>);

  static constexpr Gfn kGfn{0x77};
  static constexpr RmapFrame kFrame{kGfn, Level{1}};

  void MustAdd(std::size_t i, Word word) {
    machine_.MustAdd(head_, machine_.entry(i), kGfn, word);
  }
  Word Read(std::size_t i) { return ReadOnce(machine_.entry(i), kRelaxed); }
  AgeResult Age(AgeAction action, AgeMode mode) {
    return machine_.rmaps().Age(head_, kFrame, action, mode, counts_);
  }

  RmapMachine<D> machine_;
  RmapHead head_{};
  AgeCounts counts_;
};

TYPED_TEST_SUITE(RmapTest, test::AllDisciplines, test::DisciplineNames);

constexpr AgeResult kYoung{.young = true, .was_fast = false, .complete = true};
constexpr AgeResult kCold{.young = false, .was_fast = false, .complete = true};
constexpr AgeResult kUnknown{
    .young = false, .was_fast = false, .complete = false};
constexpr AgeMode kModes[] = {AgeMode::kSlow, AgeMode::kFastOnly};

TYPED_TEST(RmapTest, ZeroFilledMemoryIsAnArrayOfEmptyHeads) {
  RmapHead heads[3];
  std::memset(static_cast<void*>(heads), 0, sizeof(heads));
  for (RmapHead& head : heads) {
    EXPECT_EQ(this->machine_.Count(head), 0u);
    EXPECT_EQ(this->machine_.Any(head), nullptr);
    EXPECT_FALSE(this->machine_.Contains(head, this->machine_.entry(0)));
    EXPECT_FALSE(this->machine_.Remove(head, this->machine_.entry(0)));
    for (const AgeMode mode : kModes) {
      EXPECT_EQ(this->machine_.rmaps().Age(head, this->kFrame,
                                           AgeAction::kTestAndClear, mode,
                                           this->counts_),
                kCold);
    }
    EXPECT_EQ(WordOf(head), 0u);
  }
  EXPECT_EQ(this->counts_.examined + this->counts_.unanswered, 0u);
}

TYPED_TEST(RmapTest, WhereItIsOrderedAllEntriesCanBeVisited) {
  if constexpr (!OrderedRmaps<TypeParam>) {
    GTEST_SKIP() << "it is not";
  } else {
    using T = Truth<typename TypeParam::Format>;
    using Entry = SpteCell<typename TypeParam::Format>;
    auto& rmaps = this->machine_.rmaps();
    std::vector<Entry*> seen;
    const auto all = [&](Entry& entry) {
      seen.push_back(&entry);
      return true;
    };
    EXPECT_TRUE(rmaps.Visit(this->head_, all));
    EXPECT_TRUE(seen.empty());
    for (std::size_t count = 1; count <= 30; ++count) {
      this->MustAdd(count - 1, T::kCold);
      rmaps.Announce(this->head_);
      EXPECT_EQ(this->machine_.Count(this->head_), count);
      seen.clear();
      EXPECT_TRUE(rmaps.Visit(this->head_, all));
      std::sort(seen.begin(), seen.end());
      ASSERT_EQ(seen.size(), count);
      for (std::size_t i = 0; i < count; ++i) {
        EXPECT_TRUE(std::binary_search(seen.begin(), seen.end(),
                                       &this->machine_.entry(i)));
      }
    }
    seen.clear();
    EXPECT_FALSE(rmaps.Visit(this->head_, [&](Entry& entry) {
      seen.push_back(&entry);
      return seen.size() < 20;
    }));
    EXPECT_EQ(seen.size(), 20u);
  }
}

TYPED_TEST(RmapTest, TheWordTellsEmptyFromSingleFromMany) {
  using T = Truth<typename TypeParam::Format>;
  EXPECT_EQ(WordOf(this->head_), 0u);
  this->MustAdd(0, T::kCold);
  EXPECT_EQ(WordOf(this->head_),
            reinterpret_cast<std::uintptr_t>(&this->machine_.entry(0)));
  this->MustAdd(1, T::kCold);
  EXPECT_EQ(WordOf(this->head_) & 3, 1u);
  EXPECT_TRUE(this->machine_.Remove(this->head_, this->machine_.entry(0)));
  EXPECT_EQ(WordOf(this->head_),
            reinterpret_cast<std::uintptr_t>(&this->machine_.entry(1)));
  EXPECT_TRUE(this->machine_.Remove(this->head_, this->machine_.entry(1)));
  EXPECT_EQ(WordOf(this->head_), 0u);
}

// Adds and removes in random order, against a plain list.
TYPED_TEST(RmapTest, HoldsWhatWasAddedAndNotRemoved) {
  constexpr std::size_t kEntries = 20;
  std::mt19937 random(1);
  std::vector<std::size_t> model;
  for (int turn = 0; turn < 3'000; ++turn) {
    const std::size_t i = random() % kEntries;
    const auto there = std::find(model.begin(), model.end(), i);
    // Grows and shrinks by turns.
    if (there == model.end() && (turn / 100 % 2 == 0 || random() % 4 == 0)) {
      ASSERT_EQ(this->machine_.Add(this->head_, this->machine_.entry(i)),
                RmapAdd::kDone);
      model.push_back(i);
    } else {
      ASSERT_EQ(this->machine_.Remove(this->head_, this->machine_.entry(i)),
                there != model.end());
      if (there != model.end()) model.erase(there);
    }
    ASSERT_EQ(this->machine_.Count(this->head_), model.size());
    for (std::size_t j = 0; j < kEntries; ++j) {
      ASSERT_EQ(this->machine_.Contains(this->head_, this->machine_.entry(j)),
                std::find(model.begin(), model.end(), j) != model.end());
    }
    const auto* const any = this->machine_.Any(this->head_);
    if (model.empty()) {
      ASSERT_EQ(any, nullptr);
    } else {
      ASSERT_TRUE(std::any_of(model.begin(), model.end(), [&](std::size_t j) {
        return any == &this->machine_.entry(j);
      }));
    }
    ASSERT_EQ(this->machine_.pool().InUse(),
              this->machine_.pool().ChunksFor(model.size()));
  }
}

TYPED_TEST(RmapTest, AtTheCapAnEntryIsRefusedAndTheOthersStay) {
  for (const std::uint32_t cap : {1u, 2u, 6u, 7u}) {
    RmapMachine<TypeParam> machine(16, cap);
    RmapHead head{};
    for (std::uint32_t i = 0; i < cap; ++i) {
      ASSERT_EQ(machine.Add(head, machine.entry(i)), RmapAdd::kDone);
    }
    EXPECT_EQ(machine.Add(head, machine.entry(cap)), RmapAdd::kFull);
    EXPECT_EQ(machine.Count(head), cap);
    EXPECT_FALSE(machine.Contains(head, machine.entry(cap)));
    EXPECT_TRUE(machine.Remove(head, machine.entry(0)));
    EXPECT_EQ(machine.Add(head, machine.entry(cap)), RmapAdd::kDone);
  }
}

TYPED_TEST(RmapTest, WithoutAChunkAnEntryIsRefusedAndTheOthersStay) {
  // 1 entry without a chunk.
  for (const std::size_t chunks : {std::size_t{0}, std::size_t{1}}) {
    RmapMachine<TypeParam> machine(chunks);
    RmapHead head{};
    const std::size_t fit = chunks == 0 ? 1 : test::RmapPool<TypeParam>::kFirst;
    for (std::size_t i = 0; i < fit; ++i) {
      ASSERT_EQ(machine.Add(head, machine.entry(i)), RmapAdd::kDone);
    }
    EXPECT_EQ(machine.Add(head, machine.entry(fit)), RmapAdd::kNoMemory);
    EXPECT_EQ(machine.Count(head), fit);
    for (std::size_t i = 0; i < fit; ++i) {
      EXPECT_TRUE(machine.Contains(head, machine.entry(i)));
    }
    EXPECT_FALSE(machine.Contains(head, machine.entry(fit)));
  }
}

// --- Aging.

TYPED_TEST(RmapTest, ASingleEntryIsAgedInEitherMode) {
  using T = Truth<typename TypeParam::Format>;
  this->MustAdd(0, T::kYoungDirty);
  for (const AgeMode mode : kModes) {
    EXPECT_EQ(this->Age(AgeAction::kTest, mode), kYoung);
    EXPECT_EQ(this->Read(0), T::kYoungDirty);
    EXPECT_EQ(this->Age(AgeAction::kTestAndClear, mode), kYoung);
    EXPECT_EQ(this->Read(0), T::kDirty);
    EXPECT_EQ(this->Age(AgeAction::kTestAndClear, mode), kCold);
    WriteOnce(this->machine_.entry(0), T::kYoungDirty, kRelaxed);
  }
  EXPECT_EQ(this->counts_.examined, 6u);
  EXPECT_EQ(this->counts_.young, 4u);
}

TYPED_TEST(RmapTest, SlowAsksEveryEntry) {
  using T = Truth<typename TypeParam::Format>;
  for (std::size_t n = 2; n <= 14; ++n) {
    RmapMachine<TypeParam> machine;
    RmapHead head{};
    for (std::size_t i = 0; i < n; ++i) {
      machine.MustAdd(head, machine.entry(i), this->kGfn, T::kYoung);
    }
    AgeCounts counts;
    EXPECT_EQ(machine.rmaps().Age(head, this->kFrame, AgeAction::kTestAndClear,
                                  AgeMode::kSlow, counts),
              kYoung);
    EXPECT_EQ(counts.examined, n);
    EXPECT_EQ(counts.young, n);
    for (std::size_t i = 0; i < n; ++i) {
      EXPECT_EQ(ReadOnce(machine.entry(i), kRelaxed), T::kCold);
    }
    // One of them is enough, whichever.
    for (std::size_t i = 0; i < n; ++i) {
      EXPECT_EQ(TestClearYoung(machine.rmaps(), head, this->kFrame), kCold);
      WriteOnce(machine.entry(i), T::kYoung, kRelaxed);
      EXPECT_EQ(TestYoung(machine.rmaps(), head, this->kFrame), kYoung);
      EXPECT_EQ(TestClearYoung(machine.rmaps(), head, this->kFrame), kYoung);
    }
  }
}

// Whatever fast-only cannot answer without waiting, it leaves as it is.
TYPED_TEST(RmapTest, FastOnlyLeavesAListUnknownAndUntouched) {
  using T = Truth<typename TypeParam::Format>;
  if constexpr (TypeParam::kFastAging) GTEST_SKIP() << "it has an answer";
  this->MustAdd(0, T::kYoung);
  this->MustAdd(1, T::kYoung);
  EXPECT_EQ(this->Age(AgeAction::kTestAndClear, AgeMode::kFastOnly), kUnknown);
  EXPECT_EQ(this->Age(AgeAction::kTest, AgeMode::kFastOnly), kUnknown);
  EXPECT_EQ(this->Read(0), T::kYoung);
  EXPECT_EQ(this->Read(1), T::kYoung);
  EXPECT_EQ(this->counts_.unanswered, 2u);
  EXPECT_EQ(this->counts_.examined, 0u);
  // Once it is a single one again, it is answered.
  EXPECT_TRUE(this->machine_.Remove(this->head_, this->machine_.entry(0)));
  EXPECT_EQ(this->Age(AgeAction::kTestAndClear, AgeMode::kFastOnly), kYoung);
  EXPECT_EQ(this->Read(1), T::kCold);
}

// A discipline that calls itself fast has one.
TYPED_TEST(RmapTest, FastOnlyAnswersForAListIfItIsFast) {
  using T = Truth<typename TypeParam::Format>;
  if constexpr (!TypeParam::kFastAging) GTEST_SKIP() << "it is not";
  for (std::size_t n = 2; n <= 50; ++n) {
    RmapMachine<TypeParam> machine;
    RmapHead head{};
    for (std::size_t i = 0; i < n; ++i) {
      machine.MustAdd(head, machine.entry(i), this->kGfn, T::kYoung);
    }
    AgeCounts counts;
    EXPECT_EQ(machine.rmaps().Age(head, this->kFrame, AgeAction::kTestAndClear,
                                  AgeMode::kFastOnly, counts),
              kYoung);
    EXPECT_EQ(counts.examined, n);
    EXPECT_EQ(counts.young, n);
    EXPECT_EQ(counts.unanswered, 0u);
    for (std::size_t i = 0; i < n; ++i) {
      EXPECT_EQ(ReadOnce(machine.entry(i), kRelaxed), T::kCold);
    }
    EXPECT_EQ(TestClearYoungFastOnly(machine.rmaps(), head, this->kFrame),
              kCold);
  }
}

TYPED_TEST(RmapTest, AnEntryOfAnotherFrameOrLevelIsNotAged) {
  using T = Truth<typename TypeParam::Format>;
  const RmapFrame others[] = {{Gfn{0x78}, Level{1}}, {Gfn{0x77}, Level{2}}};
  for (std::size_t n = 1; n <= 2; ++n) {
    this->MustAdd(n - 1, T::kYoung);
    for (const RmapFrame& other : others) {
      AgeCounts counts;
      EXPECT_EQ(this->machine_.rmaps().Age(this->head_, other,
                                           AgeAction::kTestAndClear,
                                           AgeMode::kSlow, counts),
                kCold);
      EXPECT_EQ(counts.examined, 0u);
      EXPECT_EQ(this->Read(n - 1), T::kYoung);
    }
  }
}

// A stale single: the head as it was read leads to an entry that has been given
// to another frame.
TYPED_TEST(RmapTest, AReusedEntryKeepsItsBit) {
  using T = Truth<typename TypeParam::Format>;
  this->MustAdd(0, T::kYoung);
  this->machine_.Set(this->machine_.entry(0), Gfn{0x99}, T::kOtherYoung);
  for (const AgeMode mode : kModes) {
    EXPECT_EQ(this->Age(AgeAction::kTestAndClear, mode), kCold);
  }
  EXPECT_EQ(this->Read(0), T::kOtherYoung);
}

// The same of a large leaf where a table is by now: its mark is for others.
TYPED_TEST(RmapTest, AnEntryThatLeadsToATableByNowKeepsItsMark) {
  using F = typename TypeParam::Format;
  using Bits = typename F::Word;
  auto& machine = this->machine_;
  const RmapFrame large{Gfn{0}, Level{2}};
  SpteCell<F>& entry = machine.entry(0);
  machine.arena().InfoOf(machine.arena().TableOf(entry)).level.Set(2);
  const Bits leaf =
      Bits{F::MakeLeaf(Pfn{0}, Level{2}, Rights::kAll) | F::kAccessed};
  machine.MustAdd(this->head_, entry, large.gfn, leaf);
  AgeCounts counts;
  EXPECT_TRUE(
      machine.rmaps()
          .Age(this->head_, large, AgeAction::kTest, AgeMode::kFastOnly, counts)
          .young);
  const Bits inner = Bits{F::MakeInner(Pfn{0}) | F::kAccessed};
  WriteOnce(entry, inner, kRelaxed);
  for (const AgeMode mode : kModes) {
    EXPECT_EQ(machine.rmaps().Age(this->head_, large, AgeAction::kTestAndClear,
                                  mode, counts),
              kCold);
  }
  EXPECT_EQ(this->Read(0), inner);
}

TYPED_TEST(RmapTest, AFrozenEntryIsYoungToSlowAndUnknownToFastOnly) {
  using F = typename TypeParam::Format;
  using T = Truth<F>;
  this->MustAdd(0, T::kCold);
  WriteOnce(this->machine_.entry(0), F::kFrozen, kRelaxed);
  EXPECT_EQ(this->Age(AgeAction::kTestAndClear, AgeMode::kFastOnly), kUnknown);
  EXPECT_EQ(this->Age(AgeAction::kTestAndClear, AgeMode::kSlow), kYoung);
  EXPECT_EQ(this->counts_.unanswered, 2u);
  EXPECT_EQ(this->Read(0), F::kFrozen);
}

// In an rmap from before it becomes present until after it is frozen for good.
TYPED_TEST(RmapTest, AnEntryIsAbsentFromClaimToPublish) {
  using F = typename TypeParam::Format;
  using T = Truth<F>;
  auto& entry = this->machine_.entry(0);
  ASSERT_TRUE(Freeze<F>(entry, F::kEmpty));
  RecordFrame<F>(this->machine_.arena(), entry, this->kGfn);
  ASSERT_EQ(this->machine_.Add(this->head_, entry), RmapAdd::kDone);
  EXPECT_EQ(this->Age(AgeAction::kTestAndClear, AgeMode::kFastOnly), kUnknown);
  Publish<F>(entry, T::kYoung);
  EXPECT_EQ(this->Age(AgeAction::kTest, AgeMode::kFastOnly), kYoung);
  EXPECT_EQ(Zap<F>(
                entry, [] {},
                [&](typename F::Word word) {
                  EXPECT_EQ(word, T::kYoung);
                  EXPECT_TRUE(this->machine_.Remove(this->head_, entry));
                }),
            ZapOutcome::kZapped);
  EXPECT_EQ(this->Age(AgeAction::kTest, AgeMode::kFastOnly), kCold);
}

}  // namespace
}  // namespace ptage
