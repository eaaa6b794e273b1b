// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of shadow_mmu.h: faults, zaps and new guests while others ask. What
// is below it (entries, trees, rmaps, counts) is searched by itself; here it is
// the order in which the MMU uses them.

#ifndef PTAGE_TEST_RELACY_SHADOW_MMU_SEARCHES_H_
#define PTAGE_TEST_RELACY_SHADOW_MMU_SEARCHES_H_

#include <cstdint>
#include <optional>

#include "ptage/memory.h"
#include "ptage/memslot.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/once/mutex.h"
#include "ptage/page_table.h"
#include "ptage/prune.h"
#include "ptage/rmap.h"
#include "ptage/rmap/lockless.h"
#include "ptage/shadow_mmu.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/checked_arena.h"
#include "test/relacy/frees_at_the_end.h"
#include "test/relacy/guarded_format.h"
#include "test/relacy/score.h"
#include "test/relacy/search.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

// The page of L2 that is mapped, all of its tree, and L1's memory.
inline constexpr NestedGfn kNestedPage{0};
inline constexpr NestedRange kAllNested{NestedGfn{0}, NestedGfn{4}};
inline constexpr GfnRange kMemory{kA, Gfn{2}};

using ShadowArena = CheckedArena<3, GuardedFormat>;
using ShadowLockless = Lockless<GuardedFormat, ShadowArena, GuardedPool>;

// Where it is told of a split, the entry must be frozen: no CPU holds the large
// leaf any more when the table is found.
struct ShadowFlusher {
  void Flush(GfnRange) {
    if (splitting == nullptr) return;
    Require(IsFrozen<GuardedFormat>(ReadOnce(*splitting, kRelaxed)),
            "no CPU holds a large leaf where it finds a table");
  }
  const SpteCell<GuardedFormat>* splitting = nullptr;
};

// How the MMU is told to take entries away.
enum class ZapWay { kFrames, kNested, kTables };

// The MMU of a nested guest, over two frames of L1's memory, and what became of
// their pages. Nobody frees a table or a chunk before the end.
template <class D, InnerAging kInner = InnerAging::kIgnore>
class Shadows {
 public:
  using Mmu = ShadowMmu<GuardedFormat, ShadowArena, FreesAtTheEnd,
                        ShadowFlusher, D, kInner>;
  using Walk = typename Mmu::Walk;

  // Alone, before the threads and after them.
  void Make() {
    slots_.emplace(reclaimer_);
    Require(slots_->Add(kMemory, Backing(kA), Rights::kAll, kMemory.end).ok(),
            "there is a slot");
    const Walk walk(reclaimer_);
    slot_ = slots_->Find(walk, kA);
    for (const Gfn gfn : {kA, kB}) {
      for (const Level level : {Level{1}, Level{2}}) {
        WriteOnce(slot_->HeadOf(gfn, level).word, 0, kRelaxed);
      }
    }
    mmu_.emplace(arena_, reclaimer_, flusher_, rmaps_, *slots_);
    Require(mmu_->valid(), "there is memory for the root");
  }
  void Clear() {
    mmu_.reset();
    slots_.reset();
    reclaimer_.FreeAll();
  }
  // A page that came and went: its table is there, and its record.
  void MapAndZap() {
    Fault(kA, Rights::kRead);
    Zap(ZapWay::kNested);
  }

  // A fault, whose thread holds the MMU lock as it has to, or is the only one
  // that wants it.
  std::optional<FaultOutcome> TryFault(NestedMapping mapping, Rights access,
                                       MmuLock lock) {
    const Walk walk(reclaimer_);
    const auto outcome =
        mmu_->Fault(walk, kNestedPage, *slot_, mapping, access, lock, Sink());
    if (outcome == FaultOutcome::kMapped ||
        outcome == FaultOutcome::kSpurious) {
      const Word seen = Find(walk);
      Require(GuardedFormat::IsPresent(seen) &&
                  GuardedFormat::FrameOf(seen) == Backing(mapping.gfn) &&
                  Allows(GuardedFormat::RightsOf(seen), access),
              "who is told that a page is mapped finds it so");
    }
    return outcome;
  }
  void Fault(NestedMapping mapping, Rights access) {
    Require(
        TryFault(mapping, access, MmuLock::kShared) == FaultOutcome::kMapped,
        "a fault that nobody hinders maps the page");
    score(mapping.gfn).Accessed(0, AccessKind::kRead);
  }
  // As a VM has it, until the page is mapped. Returns how.
  FaultOutcome FaultAtLast(NestedMapping mapping, Rights access) {
    for (;;) {
      mmu_lock_.ReaderLock();
      std::optional<FaultOutcome> outcome =
          TryFault(mapping, access, MmuLock::kShared);
      mmu_lock_.ReaderUnlock();
      if (!outcome.has_value()) {
        const HostedMutexLock hold(&mmu_lock_);
        outcome = TryFault(mapping, access, MmuLock::kExclusive);
      }
      if (*outcome != FaultOutcome::kRetry) return *outcome;
      SpinPause();
    }
  }
  // Takes away whatever is mapped, with the MMU lock held.
  template <class Told>
  void Zap(ZapWay way, Told&& told) {
    const Walk walk(reclaimer_);
    const auto sink = [&](const ZappedLeaf& leaf) {
      Sink()(leaf);
      told();
    };
    switch (way) {
      case ZapWay::kFrames:
        (void)mmu_->ZapFrames(walk, kMemory, sink);
        break;
      case ZapWay::kNested:
        (void)mmu_->ZapNested(walk, kAllNested, sink);
        break;
      case ZapWay::kTables:
        (void)mmu_->RemoveTables(walk, kAllNested, sink);
        break;
    }
  }
  void Zap(ZapWay way) {
    Zap(way, [] {});
  }
  // Two small pages beside the large one, of its second frame: its rmap is full
  // of memory that there is.
  void MapBeside() {
    const Walk walk(reclaimer_);
    for (const NestedGfn nested : {NestedGfn{2}, NestedGfn{3}}) {
      Require(mmu_->Fault(walk, nested, *slot_, kB, Rights::kRead,
                          MmuLock::kShared, Sink()) == FaultOutcome::kMapped,
              "there is memory for two names");
    }
  }
  // Splits the large page, with the MMU lock held. False: no memory. `checked`:
  // nobody else flushes.
  enum class Flushes { kChecked, kUnchecked };
  bool Split(Flushes flushes = Flushes::kUnchecked) {
    const Walk walk(reclaimer_);
    if (flushes == Flushes::kChecked) flusher_.splitting = EntryOf(walk, kA);
    const Resized resized =
        mmu_->SplitLarge(walk, GfnRange{kB, kMemory.end}, Level{1});
    flusher_.splitting = nullptr;
    Require(resized.done + (resized.no_memory ? 1 : 0) == 1,
            "a large page is split, or there is no memory");
    return resized.done == 1;
  }
  // The entry on the way to what maps a frame of the large page.
  SpteCell<GuardedFormat>* EntryOf(const Walk& walk, Gfn gfn) {
    return mmu_->tree().Lookup(walk, Gfn{kNestedPage.value + gfn.value}).entry;
  }
  // A CPU's write to the page. False: it has to fault.
  bool Write() {
    const Walk walk(reclaimer_);
    const FoundEntry<GuardedFormat> found =
        mmu_->tree().Lookup(walk, Gfn{kNestedPage.value});
    return AccessSeen(*found.entry, found.word, AccessKind::kWrite);
  }
  // Alone: the word of the small page, of `names`, that maps the frame.
  Word PartOf(Gfn gfn, std::uint32_t names = 1) {
    const Walk walk(reclaimer_);
    const SpteCell<GuardedFormat>& entry = *EntryOf(walk, gfn);
    const Word word = ReadOnce(entry, kRelaxed);
    Require(GuardedFormat::IsPresent(word) &&
                (word & GuardedFormat::kLarge) == 0 &&
                GuardedFormat::FrameOf(word) == Backing(gfn) &&
                RecordedFrame<GuardedFormat>(arena_, entry) == gfn,
            "a part maps its frame, and records it");
    Require(mmu_->CountEntries(*slot_, gfn, Level{1}) == names &&
                mmu_->CountEntries(*slot_, gfn, Level{2}) == 0 &&
                mmu_->live() == 2,
            "each part is in the rmap of its frame, and is counted");
    return word;
  }
  // Alone, where the page could not be split: that of the large one.
  Word Unsplit() {
    const Walk walk(reclaimer_);
    const Word word = Find(walk);
    Require((word & GuardedFormat::kLarge) != 0 &&
                mmu_->CountEntries(*slot_, kA, Level{2}) == 1 &&
                mmu_->CountEntries(*slot_, kA, Level{1}) == 0 &&
                mmu_->CountEntries(*slot_, kB, Level{1}) == 2 &&
                mmu_->live() == 3,
            "what cannot be split is as it was");
    return word;
  }
  // A CPU's read of the page.
  void Read() {
    const Walk walk(reclaimer_);
    const FoundEntry<GuardedFormat> found =
        mmu_->tree().Lookup(walk, Gfn{kNestedPage.value});
    if (!AccessSeen(*found.entry, found.word, AccessKind::kRead)) return;
    score(Backed(found.word)).Accessed(found.word, AccessKind::kRead);
  }
  // The entry of the page.
  Word Find(const Walk& walk) {
    return mmu_->tree().Lookup(walk, Gfn{kNestedPage.value}).word;
  }
  [[nodiscard]] bool IsThere() {
    const Walk walk(reclaimer_);
    return GuardedFormat::IsPresent(Find(walk));
  }

  struct Answer {
    bool Young(Gfn gfn) const { return (young >> gfn.value & 1) != 0; }
    bool Unknown(Gfn gfn) const { return (unknown >> gfn.value & 1) != 0; }
    AgeResult result;
    std::uint64_t young = 0;
    std::uint64_t unknown = 0;
    AgeCounts counts;
  };
  // A question, of both frames or of one. What it cleared is written down;
  // after a lost race the bit is still somewhere.
  Answer Ask(AgeAction action, AgeMode mode, GfnRange range = kMemory) {
    const Answer answer = Question(action, mode, range);
    if (action == AgeAction::kTestAndClear) Cleared(answer);
    return answer;
  }
  Answer AskSkippingCold(Pruning pruning)
    requires(kInner == InnerAging::kSkipCold)
  {
    const Answer answer = QuestionSkippingCold(pruning);
    Cleared(answer);
    return answer;
  }
  // The same, and nothing is written down.
  Answer Question(AgeAction action, AgeMode mode, GfnRange range = kMemory) {
    Answer answer;
    answer.result = mmu_->Age(range, action, mode, OutputTo(answer));
    return answer;
  }
  Answer QuestionSkippingCold(Pruning pruning)
    requires(kInner == InnerAging::kSkipCold)
  {
    Answer answer;
    answer.result = mmu_->AgeSkippingCold(
        kMemory, pruning, AgeAction::kTestAndClear, OutputTo(answer));
    return answer;
  }

  // Alone.
  void Check() {
    const Walk walk(reclaimer_);
    const Word left = Find(walk);
    Require(!IsFrozen<GuardedFormat>(left), "nothing stays frozen");
    std::uint32_t entries = 0;
    for (const Gfn gfn : {kA, kB}) {
      const std::uint32_t here = mmu_->CountEntries(*slot_, gfn, Level{1});
      Require(here == 0 || Backed(left) == gfn,
              "an entry is in the rmap of the frame that it maps");
      entries += here;
    }
    entries += mmu_->CountEntries(*slot_, kA, Level{2});
    const bool present = GuardedFormat::IsPresent(left);
    Require(entries == (present ? 1u : 0u) && mmu_->live() == entries,
            "each entry is in one rmap, and is counted");
    if (present) score(Backed(left)).Found(left);
    for (const Score& score : scores_) score.Check();
  }

  Mmu* operator->() { return &*mmu_; }
  Score& score(Gfn gfn) { return scores_[gfn.value]; }

 private:
  auto Sink() {
    return [this](const ZappedLeaf& leaf) {
      score(leaf.gfn).Found(
          GuardedFormat::kPresent |
          (leaf.accessed ? GuardedFormat::kAccessed : Word{0}) |
          (leaf.dirty ? GuardedFormat::kDirty : Word{0}));
    };
  }
  static AgeOutput OutputTo(Answer& answer) {
    return AgeOutput{.begin = kA,
                     .young = Bitmap(&answer.young, 2),
                     .unknown = Bitmap(&answer.unknown, 2),
                     .counts = &answer.counts};
  }
  // Of a large page, that is of its first frame.
  void Cleared(const Answer& answer) {
    std::uint64_t cleared = answer.counts.young - answer.counts.lost_races;
    for (const Gfn gfn : {kA, kB}) {
      if (!answer.Young(gfn) || cleared == 0) continue;
      score(gfn).Aged(SpteAge::kYoung);
      --cleared;
    }
  }

  ShadowArena arena_;
  FreesAtTheEnd reclaimer_;
  ShadowFlusher flusher_;
  GuardedPool pool_;
  D rmaps_{arena_, pool_};
  HostedMutex mmu_lock_;
  std::optional<Memslots<GuardedFormat, FreesAtTheEnd>> slots_;
  Memslot<GuardedFormat>* slot_ = nullptr;
  std::optional<Mmu> mmu_;
  Score scores_[2];
};

// What L1's tables say of the page: kB by a small one, or kA by a large one.
template <Level kSize>
inline NestedMapping MappingOf() {
  return NestedMapping(kSize == Level{1} ? kB : kA, Rights::kAll, kSize);
}

// --- A fault while others ask: who has seen the entry finds it by its frame.

template <class D, Level kSize, AgeMode kMode>
struct FaultAgainstAsker
    : rl::test_suite<FaultAgainstAsker<D, kSize, kMode>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(1);

  Shadows<D> shadows;

  void before() {
    shadows.Make();
    // A large page finds no table in its way.
    if (kSize == Level{1}) shadows.MapAndZap();
  }
  void thread(unsigned index) {
    const NestedMapping mapping = MappingOf<kSize>();
    if (index == 0) {
      shadows.Fault(mapping, Rights::kRead);
      return;
    }
    const bool there = shadows.IsThere();
    const auto answer = shadows.Ask(AgeAction::kTest, kMode);
    Require(!there || answer.Young(mapping.gfn),
            "who finds a page mapped is told of its access");
  }
  void after() {
    shadows.Check();
    shadows.Clear();
  }
};

// --- A zap while others ask: who is told of nothing finds the access handed
// on.

template <class D, ZapWay kWay, Level kSize, AgeMode kMode>
struct ZapAgainstAsker
    : rl::test_suite<ZapAgainstAsker<D, kWay, kSize, kMode>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(1);

  Shadows<D> shadows;
  Plain<bool> on_record;

  void before() {
    on_record.Set(false);
    shadows.Make();
    shadows.Fault(MappingOf<kSize>(), Rights::kRead);
  }
  void thread(unsigned index) {
    if (index == 0) {
      shadows.Zap(kWay, [this] { on_record.Set(true); });
      return;
    }
    const auto answer = shadows.Ask(AgeAction::kTestAndClear, kMode);
    if (!answer.result.young && answer.result.complete) {
      Require(on_record.Get(), "who finds nothing sees what was zapped");
    }
  }
  void after() {
    Require(!shadows.IsThere(), "what is zapped is not there");
    shadows.Check();
    shadows.Clear();
  }
};

// --- The page is given another frame while others ask.

template <class D, AgeMode kMode>
struct MoveAgainstAsker : rl::test_suite<MoveAgainstAsker<D, kMode>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(1);

  Shadows<D> shadows;

  void before() {
    shadows.Make();
    shadows.Fault(kA, Rights::kRead);
  }
  void thread(unsigned index) {
    if (index == 0) {
      shadows.Zap(ZapWay::kNested);
      shadows.Fault(kB, Rights::kRead);
      return;
    }
    for (const Gfn gfn : {kA, kB}) {
      (void)shadows.Ask(AgeAction::kTestAndClear, kMode,
                        GfnRange{gfn, gfn + 1});
    }
  }
  void after() {
    shadows.Check();
    shadows.Clear();
  }
};

// --- Two faults of one page, for which L1 has named one frame, or another by
// then.

template <class D, Gfn kSecond>
struct TwoFaults : rl::test_suite<TwoFaults<D, kSecond>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(1);

  Shadows<D> shadows;

  void before() {
    shadows.Make();
    shadows.MapAndZap();
  }
  void thread(unsigned index) {
    const Gfn gfn = index == 0 ? kA : kSecond;
    if (shadows.FaultAtLast(gfn, Rights::kRead) == FaultOutcome::kMapped) {
      shadows.score(gfn).Accessed(0, AccessKind::kRead);
    }
  }
  void after() {
    shadows.Check();
    shadows.Clear();
  }
};

// --- A fault gives an entry more rights.

enum class Meanwhile { kAsked, kRead };

template <class D, Meanwhile kMeanwhile>
struct MoreRightsAgainst : rl::test_suite<MoreRightsAgainst<D, kMeanwhile>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(1);

  Shadows<D> shadows;

  void before() {
    shadows.Make();
    shadows.Fault(NestedMapping(kA, Rights::kReadExecute), Rights::kRead);
    // A CPU finds it cold.
    if (kMeanwhile == Meanwhile::kRead) {
      (void)shadows.Ask(AgeAction::kTestAndClear, AgeMode::kSlow);
    }
  }
  void thread(unsigned index) {
    if (index == 0) {
      (void)shadows.FaultAtLast(kA, Rights::kWrite);
      shadows.score(kA).Accessed(GuardedFormat::kAccessed, AccessKind::kWrite);
    } else if (kMeanwhile == Meanwhile::kAsked) {
      (void)shadows.Ask(AgeAction::kTestAndClear, AgeMode::kFastOnly);
    } else {
      shadows.Read();
    }
  }
  void after() {
    shadows.Check();
    shadows.Clear();
  }
};

// --- One more guest, while others ask.

template <Pruning kPruning>
struct NewGuestAgainstAsker
    : rl::test_suite<NewGuestAgainstAsker<kPruning>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(1);

  Shadows<ShadowLockless, InnerAging::kSkipCold> shadows;

  void before() {
    shadows.Make();
    shadows.Fault(kA, Rights::kRead);
  }
  void thread(unsigned index) {
    if (index == 0) {
      Require(shadows->AddGuest() == NestedGuest{1}, "there is one guest more");
      return;
    }
    const auto answer = shadows.AskSkippingCold(kPruning);
    Require(answer.Young(kA) && !answer.Young(kB) && answer.result.complete,
            "a new guest has no page, and hides none");
  }
  void after() {
    Require(shadows->guests() == 2, "there are two guests");
    shadows.Check();
    shadows.Clear();
  }
};

// --- A large page is split while others ask: its access is found in the large
// leaf or in the parts.

enum class Before { kAccessed, kCold };

template <class D, Before kBefore, AgeMode kMode, Gfn kFrom>
struct SplitAgainstAsker
    : rl::test_suite<SplitAgainstAsker<D, kBefore, kMode, kFrom>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(1);
  static constexpr GfnRange kAsked{kFrom, kMemory.end};

  Shadows<D> shadows;
  Plain<std::uint64_t> told;

  void before() {
    told.Set(0);
    shadows.Make();
    shadows.Fault(MappingOf<Level{2}>(), Rights::kRead);
    if (kBefore == Before::kCold) {
      (void)shadows.Question(AgeAction::kTestAndClear, AgeMode::kSlow);
    }
  }
  void thread(unsigned index) {
    if (index == 0) {
      Require(shadows.Split(), "there is memory for a split");
      return;
    }
    const auto answer =
        shadows.Question(AgeAction::kTestAndClear, kMode, kAsked);
    told.Set(answer.young);
    for (Gfn gfn = kAsked.begin; gfn < kAsked.end; gfn = gfn + 1) {
      if (kBefore == Before::kCold) {
        Require(!answer.Young(gfn), "no part is young that nobody used");
      } else {
        Require(answer.Young(gfn) || answer.Unknown(gfn),
                "who asks while a page is split is told of its access");
      }
    }
  }
  void after() {
    for (const Gfn gfn : {kA, kB}) {
      const bool young = IsYoung<GuardedFormat>(shadows.PartOf(gfn));
      if (kBefore == Before::kCold) {
        Require(!young, "no part is young that nobody used");
      } else {
        Require(young || (told.Get() >> gfn.value & 1) != 0,
                "no access is lost");
      }
    }
    shadows.Clear();
  }
};

// --- The same where what is cold is skipped.

template <Pruning kPruning>
struct SplitAgainstPruning : rl::test_suite<SplitAgainstPruning<kPruning>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(1);

  using Machine = Shadows<ShadowLockless, InnerAging::kSkipCold>;
  Machine shadows;
  Plain<std::uint64_t> told;

  void before() {
    told.Set(0);
    shadows.Make();
    shadows.Fault(MappingOf<Level{2}>(), Rights::kRead);
  }
  void thread(unsigned index) {
    if (index == 0) {
      Require(shadows.Split(), "there is memory for a split");
      return;
    }
    const auto answer = shadows.QuestionSkippingCold(kPruning);
    told.Set(answer.young);
    for (const Gfn gfn : {kA, kB}) {
      Require(answer.Young(gfn) || answer.Unknown(gfn),
              "who asks while a page is split is told of its access");
    }
  }
  void after() {
    const auto next = shadows.QuestionSkippingCold(Pruning::kExact);
    for (const Gfn gfn : {kA, kB}) {
      Require(next.Young(gfn) || (told.Get() >> gfn.value & 1) != 0,
              "no access is lost");
      (void)shadows.PartOf(gfn);
    }
    shadows.Clear();
  }
};

// --- While a CPU writes to the page.

struct SplitAgainstWriter : rl::test_suite<SplitAgainstWriter, 2> {
  static constexpr Plan kPlan = UpToPreemptions(1);

  Shadows<ShadowLockless> shadows;
  Plain<bool> wrote;

  void before() {
    wrote.Set(false);
    shadows.Make();
    shadows.Fault(MappingOf<Level{2}>(), Rights::kRead);
    (void)shadows.Question(AgeAction::kTestAndClear, AgeMode::kSlow);
  }
  void thread(unsigned index) {
    if (index == 0) {
      Require(shadows.Split(Shadows<ShadowLockless>::Flushes::kChecked),
              "there is memory for a split");
    } else {
      wrote.Set(shadows.Write());
    }
  }
  void after() {
    const Word part = shadows.PartOf(kA);
    (void)shadows.PartOf(kB);
    Require(!wrote.Get() || IsYoung<GuardedFormat>(part), "no access is lost");
    Require(!wrote.Get() || IsDirty<GuardedFormat>(part), "no write is lost");
    shadows.Clear();
  }
};

// --- There is no memory for the rmap of the last part.

template <AgeMode kMode>
struct SplitInVainAgainstAsker
    : rl::test_suite<SplitInVainAgainstAsker<kMode>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(1);

  Shadows<ShadowLockless> shadows;
  Plain<bool> told;

  void before() {
    told.Set(false);
    shadows.Make();
    shadows.Fault(MappingOf<Level{2}>(), Rights::kRead);
    shadows.MapBeside();
  }
  void thread(unsigned index) {
    if (index == 0) {
      Require(!shadows.Split(), "there is no memory for a split");
      return;
    }
    const auto answer = shadows.Question(AgeAction::kTestAndClear, kMode);
    told.Set(answer.Young(kA));
    Require(answer.Young(kA) || answer.Unknown(kA),
            "who asks while a page is split is told of its access");
  }
  void after() {
    Require(IsYoung<GuardedFormat>(shadows.Unsplit()) || told.Get(),
            "no access is lost");
    shadows.Clear();
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_SHADOW_MMU_SEARCHES_H_
