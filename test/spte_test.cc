// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/spte.h"

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/once.h"
#include "ptage/types.h"
#include "test/formats.h"

namespace ptage {
namespace {

using test::TinyFormat;
using test::Truth;

// --- What a format is, and what it is not.

struct FrozenIsAccessed : TinyFormat {
  static constexpr Word kFrozen = 0x808;
};
struct FrozenIsDirty : TinyFormat {
  static constexpr Word kFrozen = 0x804;
};
// Bit 10 is the accessed flag of ARM64, though not of this format.
struct FrozenIsAccessedElsewhere : TinyFormat {
  static constexpr Word kFrozen = 0xC00;
};
struct FrozenIsEmpty : TinyFormat {
  static constexpr Word kFrozen = 0x800;
};
struct FrozenIsPresent : TinyFormat {
  static constexpr Word kFrozen = 0x801;
};
struct EmptyIsPresent : TinyFormat {
  static constexpr Word kEmpty = 0x1;
};
struct NoWord : TinyFormat {
 private:
  using Word = std::uint32_t;
};
struct ShortWord : TinyFormat {
  using Word = std::uint16_t;
};
struct SignedWord : TinyFormat {
  using Word = std::int32_t;
};
struct CannotSplit : TinyFormat {
  static Word SplitLeaf(Word, Level, unsigned) = delete;
};
struct FrameIsANumber : TinyFormat {
  static constexpr std::uint64_t FrameOf(Word word) { return word >> 12; }
};
struct PresenceIsANumber : TinyFormat {
  static constexpr int IsPresent(Word word) { return word & 1; }
};

static_assert(SpteFormat<TinyFormat>);
static_assert(!SpteFormat<FrozenIsAccessed>);
static_assert(!SpteFormat<FrozenIsDirty>);
static_assert(!SpteFormat<FrozenIsAccessedElsewhere>);
static_assert(!SpteFormat<FrozenIsEmpty>);
static_assert(!SpteFormat<FrozenIsPresent>);
static_assert(!SpteFormat<EmptyIsPresent>);
static_assert(!SpteFormat<NoWord>);
static_assert(!SpteFormat<ShortWord>);
static_assert(!SpteFormat<SignedWord>);
static_assert(!SpteFormat<CannotSplit>);
static_assert(!SpteFormat<FrameIsANumber>);
static_assert(!SpteFormat<PresenceIsANumber>);
static_assert(!SpteFormat<int>);

// x86-64: accessed 5, dirty 6 (SDM 3A 4.8). EPT: 8, 9 (SDM 3C 29.3.5). ARM64
// stage 2: AF 10, S2AP[1] 7, DBM 51 (DDI 0487 D8.3). RISC-V: A 6, D 7
// (Privileged, Sv39).
TEST(SpteFormatTest, NoArchitecturesAccessedOrDirtyBitMayBeInTheSentinel) {
  for (const unsigned bit : {5u, 6u, 8u, 9u, 10u, 7u, 51u}) {
    EXPECT_EQ(kAccessedOrDirtyOfAnyFormat >> bit & 1, 1u) << "bit " << bit;
  }
}

TEST(SpteFormatTest, EntriesAndFramesFollowFromTheIndexBits) {
  EXPECT_EQ(kEntriesPerTable<TinyFormat>, 4u);
  EXPECT_EQ(FramesAt<TinyFormat>(Level{1}), 1u);
  EXPECT_EQ(FramesAt<TinyFormat>(Level{2}), 4u);
  EXPECT_EQ(FramesAt<TinyFormat>(Level{3}), 16u);
}

// --- Answers.

TEST(SpteAgeTest, FrozenIsUnknownToFastOnlyAndYoungToSlow) {
  EXPECT_EQ(ToResult(SpteAge::kFrozen, AgeMode::kFastOnly),
            (AgeResult{.young = false, .was_fast = false, .complete = false}));
  EXPECT_EQ(ToResult(SpteAge::kFrozen, AgeMode::kSlow),
            (AgeResult{.young = true, .was_fast = false, .complete = true}));
}

TEST(SpteAgeTest, EverythingElseIsAnsweredInEitherMode) {
  constexpr AgeResult kYes{.young = true, .was_fast = false, .complete = true};
  constexpr AgeResult kNo{.young = false, .was_fast = false, .complete = true};
  for (const AgeMode mode : {AgeMode::kFastOnly, AgeMode::kSlow}) {
    EXPECT_EQ(ToResult(SpteAge::kAbsent, mode), kNo);
    EXPECT_EQ(ToResult(SpteAge::kCold, mode), kNo);
    EXPECT_EQ(ToResult(SpteAge::kYoung, mode), kYes);
    EXPECT_EQ(ToResult(SpteAge::kLostRace, mode), kYes);
  }
}

TEST(SpteAgeTest, CountsSayWhatWasExaminedAndWhatWasLeftOut) {
  struct {
    SpteAge age;
    unsigned examined, young, lost_races, unanswered;
  } constexpr kTable[] = {
      {SpteAge::kAbsent, 0, 0, 0, 0}, {SpteAge::kCold, 1, 0, 0, 0},
      {SpteAge::kYoung, 1, 1, 0, 0},  {SpteAge::kLostRace, 1, 1, 1, 0},
      {SpteAge::kFrozen, 0, 0, 0, 1},
  };
  for (const auto& row : kTable) {
    const AgeCounts counts = CountsOf(row.age);
    EXPECT_EQ(counts.examined, row.examined);
    EXPECT_EQ(counts.young, row.young);
    EXPECT_EQ(counts.lost_races, row.lost_races);
    EXPECT_EQ(counts.unanswered, row.unanswered);
  }
}

// --- Entries of every format.

template <class F>
class SpteTest : public ::testing::Test {
 protected:
  using Word = typename F::Word;

  static SpteAge Age(SpteCell<F>& entry, AgeAction action) {
    return AgeEntry<F>(entry, action, [] { return true; });
  }
  static Word Read(const SpteCell<F>& entry) {
    return ReadOnce(entry, kRelaxed);
  }
  static void Write(SpteCell<F>& entry, Word word) {
    WriteOnce(entry, word, kRelaxed);
  }
};

TYPED_TEST_SUITE(SpteTest, test::AllFormats, test::FormatNames);

TYPED_TEST(SpteTest, YoungMeansPresentAndAccessed) {
  using F = TypeParam;
  using T = Truth<F>;
  EXPECT_TRUE(IsYoung<F>(T::kYoung));
  EXPECT_TRUE(IsYoung<F>(T::kYoungDirty));
  EXPECT_FALSE(IsYoung<F>(T::kCold));
  EXPECT_FALSE(IsYoung<F>(T::kDirty));
  EXPECT_FALSE(IsYoung<F>(F::kEmpty));
  EXPECT_FALSE(IsYoung<F>(F::kFrozen));
  // Not present: hardware ignores the rest.
  EXPECT_FALSE(IsYoung<F>(F::kEmpty | T::kAccessedBit));
}

TYPED_TEST(SpteTest, DirtyMeansPresentAndWritten) {
  using F = TypeParam;
  using T = Truth<F>;
  EXPECT_TRUE(IsDirty<F>(T::kDirty));
  EXPECT_TRUE(IsDirty<F>(T::kYoungDirty));
  EXPECT_FALSE(IsDirty<F>(T::kYoung));
  EXPECT_FALSE(IsDirty<F>(T::kCold));
  EXPECT_FALSE(IsDirty<F>(F::kEmpty | T::kDirtyBit));
  EXPECT_FALSE(IsDirty<F>(F::kFrozen));
}

TYPED_TEST(SpteTest, AFreshLeafIsNeitherAccessedNorDirty) {
  using F = TypeParam;
  using T = Truth<F>;
  EXPECT_EQ(F::MakeLeaf(T::kPfn, Level{1}, Rights::kAll), T::kCold);
  EXPECT_EQ(F::FrameOf(T::kYoungDirty), T::kPfn);
  EXPECT_TRUE(F::IsLeaf(T::kCold, Level{1}));
}

TYPED_TEST(SpteTest, AColdEntryIsCold) {
  using F = TypeParam;
  for (const auto word : {Truth<F>::kCold, Truth<F>::kDirty}) {
    SpteCell<F> entry(word);
    EXPECT_EQ(this->Age(entry, AgeAction::kTest), SpteAge::kCold);
    EXPECT_EQ(this->Age(entry, AgeAction::kTestAndClear), SpteAge::kCold);
    EXPECT_EQ(this->Read(entry), word);
  }
}

TYPED_TEST(SpteTest, AnEmptyEntryIsAbsent) {
  using F = TypeParam;
  SpteCell<F> entry(F::kEmpty);
  EXPECT_EQ(this->Age(entry, AgeAction::kTest), SpteAge::kAbsent);
  EXPECT_EQ(this->Age(entry, AgeAction::kTestAndClear), SpteAge::kAbsent);
  EXPECT_EQ(this->Read(entry), F::kEmpty);
}

TYPED_TEST(SpteTest, AFrozenEntryIsLeftToItsOwner) {
  using F = TypeParam;
  SpteCell<F> entry(F::kFrozen);
  EXPECT_EQ(this->Age(entry, AgeAction::kTest), SpteAge::kFrozen);
  EXPECT_EQ(this->Age(entry, AgeAction::kTestAndClear), SpteAge::kFrozen);
  EXPECT_EQ(this->Read(entry), F::kFrozen);
}

TYPED_TEST(SpteTest, TestingDoesNotClear) {
  using F = TypeParam;
  SpteCell<F> entry(Truth<F>::kYoungDirty);
  EXPECT_EQ(this->Age(entry, AgeAction::kTest), SpteAge::kYoung);
  EXPECT_EQ(this->Read(entry), Truth<F>::kYoungDirty);
}

TYPED_TEST(SpteTest, ClearingTakesTheAccessedBitAndNothingElse) {
  using F = TypeParam;
  using T = Truth<F>;
  struct {
    typename F::Word before, after;
  } const kCases[] = {
      {T::kYoung, T::kCold},
      {T::kYoungDirty, T::kDirty},
      {T::kYoungReadOnly,
       static_cast<typename F::Word>(T::kYoungReadOnly - T::kAccessedBit)},
      // All bits that a word has, but those that make it no leaf.
      {static_cast<typename F::Word>(~typename F::Word{0}),
       static_cast<typename F::Word>(~test::kGoesWithAge<F>)},
  };
  for (const auto& c : kCases) {
    SpteCell<F> entry(c.before);
    EXPECT_EQ(this->Age(entry, AgeAction::kTestAndClear), SpteAge::kYoung);
    EXPECT_EQ(this->Read(entry), c.after);
    EXPECT_EQ(this->Age(entry, AgeAction::kTestAndClear), SpteAge::kCold);
    EXPECT_EQ(this->Read(entry), c.after);
  }
}

// A store to the entry, even of the value that is there, or a compare-and-swap
// that fails, ends the process here: on hardware it would take the line away
// from its owner.
template <class F>
[[noreturn]] void AgeEntriesOfAReadOnlyPage() {
  using T = Truth<F>;
  constexpr std::size_t kPage = 4096;
  void* const page = mmap(nullptr, kPage, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) std::exit(1);
  auto* const entries = static_cast<SpteCell<F>*>(page);
  const typename F::Word words[] = {T::kCold, T::kDirty, F::kEmpty, F::kFrozen};
  for (int i = 0; i < 4; ++i) new (&entries[i]) SpteCell<F>(words[i]);
  new (&entries[4]) SpteCell<F>(T::kYoung);
  if (mprotect(page, kPage, PROT_READ) != 0) std::exit(1);
  for (int i = 0; i < 4; ++i) {
    (void)TestClearYoung<F>(entries[i]);
    (void)TestClearYoungFastOnly<F>(entries[i]);
  }
  std::exit(TestYoung<F>(entries[4]).young ? 0 : 1);
}

TYPED_TEST(SpteTest, WhatIsNotClearedIsNotWritten) {
  EXPECT_EXIT(AgeEntriesOfAReadOnlyPage<TypeParam>(),
              ::testing::ExitedWithCode(0), "");
}

TYPED_TEST(SpteTest, TheThreeQuestions) {
  using F = TypeParam;
  using T = Truth<F>;
  SpteCell<F> entry(T::kYoung);
  EXPECT_TRUE(TestYoung<F>(entry).young);
  EXPECT_TRUE(TestYoung<F>(entry).young);
  EXPECT_TRUE(TestClearYoung<F>(entry).young);
  EXPECT_FALSE(TestYoung<F>(entry).young);
  this->Write(entry, T::kYoung);
  EXPECT_TRUE(TestClearYoungFastOnly<F>(entry).young);
  EXPECT_EQ(this->Read(entry), T::kCold);
  EXPECT_EQ(TestClearYoungFastOnly<F>(entry), AgeResult{});
  EXPECT_EQ(TestClearYoung<F>(entry), AgeResult{});

  this->Write(entry, F::kFrozen);
  EXPECT_TRUE(TestYoung<F>(entry).young);
  EXPECT_TRUE(TestClearYoung<F>(entry).young);
  EXPECT_TRUE(TestClearYoung<F>(entry).complete);
  EXPECT_FALSE(TestClearYoungFastOnly<F>(entry).young);
  EXPECT_FALSE(TestClearYoungFastOnly<F>(entry).complete);
  EXPECT_EQ(this->Read(entry), F::kFrozen);
}

// --- Identity.

TYPED_TEST(SpteTest, BelongsIsAskedOnceAndOfAYoungEntryOnly) {
  using F = TypeParam;
  using T = Truth<F>;
  struct {
    typename F::Word word;
    int asked;
  } const kCases[] = {
      {T::kYoung, 1}, {T::kCold, 0}, {F::kEmpty, 0}, {F::kFrozen, 0}};
  for (const AgeAction action : {AgeAction::kTest, AgeAction::kTestAndClear}) {
    for (const auto& c : kCases) {
      SpteCell<F> entry(c.word);
      int asked = 0;
      (void)AgeEntry<F>(entry, action, [&] {
        ++asked;
        return true;
      });
      EXPECT_EQ(asked, c.asked);
    }
  }
}

TYPED_TEST(SpteTest, AnEntryOfAnotherPageIsAbsentAndKeepsItsBit) {
  using F = TypeParam;
  for (const AgeAction action : {AgeAction::kTest, AgeAction::kTestAndClear}) {
    SpteCell<F> entry(Truth<F>::kYoung);
    EXPECT_EQ(AgeEntry<F>(entry, action, [] { return false; }),
              SpteAge::kAbsent);
    EXPECT_EQ(this->Read(entry), Truth<F>::kYoung);
  }
}

// Whatever happens to the entry between the read and the change, the answer is
// young and what the other thread wrote stays. Were the entry read after
// belongs() answered, the other page's bit would be taken here.
TYPED_TEST(SpteTest, ALostRaceAnswersYoungAndLeavesTheOthersValue) {
  using F = TypeParam;
  using T = Truth<F>;
  const typename F::Word others[] = {
      F::kEmpty,          // zapped
      F::kFrozen,         // taken
      T::kCold,           // cleared by another ager
      T::kOtherYoung,     // given to another page
      T::kYoungDirty,     // written through
      T::kYoungReadOnly,  // write-protected
  };
  for (const typename F::Word other : others) {
    SpteCell<F> entry(T::kYoung);
    const SpteAge age = AgeEntry<F>(entry, AgeAction::kTestAndClear, [&] {
      this->Write(entry, other);
      return true;
    });
    EXPECT_EQ(age, SpteAge::kLostRace);
    EXPECT_EQ(this->Read(entry), other);
    EXPECT_TRUE(ToResult(age, AgeMode::kFastOnly).young);
  }
}

// The write between read and change is still there afterwards.
TYPED_TEST(SpteTest, ADirtyBitSetMeanwhileIsNotLost) {
  using F = TypeParam;
  using T = Truth<F>;
  SpteCell<F> entry(T::kYoung);
  (void)AgeEntry<F>(entry, AgeAction::kTestAndClear, [&] {
    test::TouchAsHardware<F>(entry, test::Access::kWrite);
    return true;
  });
  EXPECT_EQ(this->Read(entry), T::kYoungDirty);
}

TYPED_TEST(SpteTest, AgeSeenDecidesOnTheValueThatWasRead) {
  using F = TypeParam;
  using T = Truth<F>;
  const auto yes = [] { return true; };
  SpteCell<F> entry(T::kYoung);
  // Read cold: cold, though it is young by now.
  EXPECT_EQ(AgeSeen<F>(entry, T::kCold, AgeAction::kTestAndClear, yes),
            SpteAge::kCold);
  EXPECT_EQ(this->Read(entry), T::kYoung);
  // Read young: young, though it is gone by now.
  this->Write(entry, F::kEmpty);
  EXPECT_EQ(AgeSeen<F>(entry, T::kYoung, AgeAction::kTestAndClear, yes),
            SpteAge::kLostRace);
  EXPECT_EQ(AgeSeen<F>(entry, T::kYoung, AgeAction::kTest, yes),
            SpteAge::kYoung);
  EXPECT_EQ(this->Read(entry), F::kEmpty);
}

// --- Ownership.

TYPED_TEST(SpteTest, FreezeTakesTheValueThatWasSeen) {
  using F = TypeParam;
  using T = Truth<F>;
  for (const auto word : {T::kYoungDirty, T::kCold}) {
    SpteCell<F> entry(word);
    EXPECT_TRUE(Freeze<F>(entry, word));
    EXPECT_EQ(this->Read(entry), F::kFrozen);
  }
}

TYPED_TEST(SpteTest, AnEmptyEntryCanBeClaimed) {
  using F = TypeParam;
  SpteCell<F> entry(F::kEmpty);
  EXPECT_TRUE(Freeze<F>(entry, F::kEmpty));
  EXPECT_EQ(this->Read(entry), F::kFrozen);
  EXPECT_FALSE(Freeze<F>(entry, F::kEmpty));
}

TYPED_TEST(SpteTest, FreezeFailsIfTheEntryChanged) {
  using F = TypeParam;
  using T = Truth<F>;
  for (const auto now : {T::kYoung, T::kOtherYoung, T::kDirty}) {
    SpteCell<F> entry(now);
    EXPECT_FALSE(Freeze<F>(entry, T::kCold));
    EXPECT_EQ(this->Read(entry), now);
  }
  SpteCell<F> frozen(F::kFrozen);
  EXPECT_FALSE(Freeze<F>(frozen, T::kCold));
}

TYPED_TEST(SpteTest, OnlyTheOwnerTakesAnEntryOutOfFrozen) {
  using F = TypeParam;
  using T = Truth<F>;
  SpteCell<F> entry(F::kFrozen);
  EXPECT_FALSE(Install<F>(entry, T::kCold));
  EXPECT_FALSE(Freeze<F>(entry, F::kEmpty));
  EXPECT_EQ(Zap<F>(
                entry, [] { FAIL() << "flushed"; },
                [](auto) { FAIL() << "handed over"; }),
            ZapOutcome::kFrozen);
  EXPECT_FALSE(
      test::TouchAsHardware<F>(entry, test::Access::kWrite).translated);
  EXPECT_EQ(this->Read(entry), F::kFrozen);
}

TYPED_TEST(SpteTest, TheOwnerRestoresPublishesOrEmpties) {
  using F = TypeParam;
  using T = Truth<F>;
  SpteCell<F> entry(F::kFrozen);
  Restore<F>(entry, T::kYoungDirty);
  EXPECT_EQ(this->Read(entry), T::kYoungDirty);
  this->Write(entry, F::kFrozen);
  Restore<F>(entry, F::kEmpty);
  EXPECT_EQ(this->Read(entry), F::kEmpty);
  this->Write(entry, F::kFrozen);
  Publish<F>(entry, T::kOtherYoung);
  EXPECT_EQ(this->Read(entry), T::kOtherYoung);
  this->Write(entry, F::kFrozen);
  Empty<F>(entry);
  EXPECT_EQ(this->Read(entry), F::kEmpty);
}

TYPED_TEST(SpteTest, InstallOverwritesNothing) {
  using F = TypeParam;
  using T = Truth<F>;
  for (const auto there : {T::kCold, T::kOtherYoung}) {
    SpteCell<F> entry(there);
    EXPECT_FALSE(Install<F>(entry, T::kYoung));
    EXPECT_EQ(this->Read(entry), there);
  }
  SpteCell<F> entry(F::kEmpty);
  EXPECT_TRUE(Install<F>(entry, T::kYoung));
  EXPECT_EQ(this->Read(entry), T::kYoung);
  EXPECT_FALSE(Install<F>(entry, T::kYoung));
}

#if PTAGE_HARDENED
TYPED_TEST(SpteTest, BrokenPreconditionsTrap) {
  using F = TypeParam;
  SpteCell<F> entry(F::kFrozen);
  EXPECT_DEATH((void)Freeze<F>(entry, F::kFrozen), "");
  EXPECT_DEATH(Restore<F>(entry, F::kFrozen), "");
  EXPECT_DEATH(Publish<F>(entry, F::kEmpty), "");
  EXPECT_DEATH(Publish<F>(entry, F::kFrozen), "");
  EXPECT_DEATH((void)Install<F>(entry, F::kEmpty), "");
}
#endif

// --- Zap.

TYPED_TEST(SpteTest, ZapFreezesFlushesHandsOverAndThenEmpties) {
  using F = TypeParam;
  using T = Truth<F>;
  for (const auto word : {T::kYoungDirty, T::kCold, T::kYoung, T::kDirty}) {
    SpteCell<F> entry(word);
    std::vector<std::string> steps;
    const ZapOutcome outcome = Zap<F>(
        entry,
        [&] {
          steps.emplace_back("flush");
          EXPECT_EQ(this->Read(entry), F::kFrozen);
        },
        [&](typename F::Word taken) {
          steps.emplace_back("sink");
          EXPECT_EQ(taken, word);
          EXPECT_EQ(this->Read(entry), F::kFrozen);
          // Nobody can take the entry, or read "empty", before the access is
          // on record.
          EXPECT_FALSE(Install<F>(entry, T::kOtherYoung));
          EXPECT_TRUE(TestClearYoung<F>(entry).young);
          EXPECT_FALSE(TestClearYoungFastOnly<F>(entry).complete);
        });
    EXPECT_EQ(outcome, ZapOutcome::kZapped);
    EXPECT_EQ(steps, (std::vector<std::string>{"flush", "sink"}));
    EXPECT_EQ(this->Read(entry), F::kEmpty);
  }
}

TYPED_TEST(SpteTest, ThereIsNothingToZapInAnEmptyEntry) {
  using F = TypeParam;
  SpteCell<F> entry(F::kEmpty);
  EXPECT_EQ(Zap<F>(
                entry, [] { FAIL() << "flushed"; },
                [](auto) { FAIL() << "handed over"; }),
            ZapOutcome::kAbsent);
  EXPECT_EQ(this->Read(entry), F::kEmpty);
}

TYPED_TEST(SpteTest, ZapSeenDoesNothingIfTheEntryChanged) {
  using F = TypeParam;
  using T = Truth<F>;
  const typename F::Word others[] = {T::kYoung, T::kDirty, T::kOtherYoung,
                                     F::kEmpty, F::kFrozen};
  for (const typename F::Word now : others) {
    SpteCell<F> entry(now);
    EXPECT_FALSE(ZapSeen<F>(
        entry, T::kCold, [] { FAIL() << "flushed"; },
        [](auto) { FAIL() << "handed over"; }));
    EXPECT_EQ(this->Read(entry), now);
  }
  SpteCell<F> entry(T::kYoungDirty);
  typename F::Word taken = 0;
  EXPECT_TRUE(ZapSeen<F>(
      entry, T::kYoungDirty, [] {}, [&](auto word) { taken = word; }));
  EXPECT_EQ(taken, T::kYoungDirty);
  EXPECT_EQ(this->Read(entry), F::kEmpty);
}

}  // namespace
}  // namespace ptage
