// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of fast_fault.h, and of what EptTracked makes of an entry: accesses
// of CPUs that set no bit, against aging, cleaning, zap and eviction.

#ifndef PTAGE_TEST_RELACY_FAST_FAULT_SEARCHES_H_
#define PTAGE_TEST_RELACY_FAST_FAULT_SEARCHES_H_

#include "ptage/fast_fault.h"
#include "ptage/once.h"
#include "ptage/spte.h"
#include "ptage/spte/ept_tracked.h"
#include "ptage/types.h"
#include "test/relacy/search.h"

namespace ptage::relacy {

// A page, its entry, and what happened to both.
class TrackedPage {
 public:
  using F = EptTracked;
  using Word = F::Word;
  static constexpr Pfn kPfn{0x10};
  static constexpr Pfn kOther{0x11};

  static Word Leaf(Pfn pfn) { return F::MakeLeaf(pfn, Level{1}, Rights::kAll); }

  SpteCell<F>& entry() { return entry_; }
  // Alone: the page is mapped, and was not used.
  void Start() { WriteOnce(entry_, Leaf(kPfn), kRelaxed); }

  // A CPU reads or writes the page, with a fault or two before. It may give up,
  // as it would be interrupted.
  void Access(Rights access) {
    for (int tries = 0; tries < 2; ++tries) {
      const Word seen = ReadOnce(entry_, kAcquire);
      // What hardware does: it looks at bits 2:0, and at nothing else.
      const auto live = static_cast<Rights>(seen & 7);
      if (Allows(live, access)) {
        LetThrough(seen, access);
        return;
      }
      const FastFaultOutcome outcome = FastFaultSeen<F>(entry_, seen, access);
      if (outcome == FastFaultOutcome::kFixed && F::FrameOf(seen) == kPfn) {
        if (!IsYoung<F>(seen)) ++accesses_set_;
        if (!IsDirty<F>(seen) && Allows(access, Rights::kWrite)) ++dirty_set_;
      }
      if (NeedsSlowPath(outcome)) return;
    }
  }
  void Age() {
    if (AgeEntry<F>(entry_, AgeAction::kTestAndClear, [] { return true; }) ==
        SpteAge::kYoung) {
      ++accesses_taken_;
    }
  }
  void Clean() {
    if (AgeSeen<F, F::kDirty>(entry_, ReadOnce(entry_, kAcquire),
                              AgeAction::kTestAndClear,
                              [] { return true; }) == SpteAge::kYoung) {
      ++dirty_taken_;
    }
  }
  // Someone was handed the page's leaf, or found it in the table.
  void Found(Word leaf) {
    if (IsYoung<F>(leaf)) ++accesses_taken_;
    if (IsDirty<F>(leaf)) ++dirty_taken_;
    Require(F::FrameOf(leaf) == kPfn && F::RightsOf(leaf) == Rights::kAll,
            "no permission is lost");
  }
  void Check() const {
    Require(accesses_taken_ >= accesses_set_, "no access is lost");
    Require(accesses_taken_ <= accesses_set_, "no access is made up");
    Require(dirty_taken_ >= dirty_set_, "no write is lost");
    Require(dirty_taken_ <= dirty_set_, "no write is made up");
  }

 private:
  static void LetThrough(Word seen, Rights access) {
    if (F::FrameOf(seen) != kPfn) return;
    Require(IsYoung<F>(seen), "an access is let through by a young leaf alone");
    Require(!Allows(access, Rights::kWrite) || IsDirty<F>(seen),
            "a write is let through by a dirty leaf alone");
  }

  SpteCell<F> entry_;
  // Bits that faults set, and bits that somebody got.
  unsigned accesses_set_ = 0;
  unsigned accesses_taken_ = 0;
  unsigned dirty_set_ = 0;
  unsigned dirty_taken_ = 0;
};

// --- Aging, while one CPU reads and one writes.

struct AgedAndUsed : rl::test_suite<AgedAndUsed, 3> {
  static constexpr Plan kPlan = kEveryInterleaving;

  TrackedPage page;

  void before() { page.Start(); }
  void thread(unsigned index) {
    switch (index) {
      case 0:
        page.Age();
        page.Age();
        break;
      case 1:
        page.Access(Rights::kRead);
        break;
      default:
        page.Access(Rights::kWrite);
    }
  }
  void after() {
    page.Found(ReadOnce(page.entry(), kRelaxed));
    page.Check();
  }
};

// --- Cleaning and aging, while a CPU writes.

struct CleanedAndUsed : rl::test_suite<CleanedAndUsed, 3> {
  static constexpr Plan kPlan = kEveryInterleaving;

  TrackedPage page;

  void before() { page.Start(); }
  void thread(unsigned index) {
    switch (index) {
      case 0:
        page.Clean();
        break;
      case 1:
        page.Age();
        break;
      default:
        page.Access(Rights::kWrite);
        page.Access(Rights::kRead);
        page.Access(Rights::kWrite);
    }
  }
  void after() {
    page.Found(ReadOnce(page.entry(), kRelaxed));
    page.Check();
  }
};

// --- Zap, and another page in the same entry, while a CPU reads and one ages.

struct ZappedAndUsed : rl::test_suite<ZappedAndUsed, 3> {
  static constexpr Plan kPlan = kEveryInterleaving;

  using F = TrackedPage::F;
  TrackedPage page;
  F::Word other =
      Used<F>(TrackedPage::Leaf(TrackedPage::kOther), Rights::kRead);

  void before() { page.Start(); }
  void thread(unsigned index) {
    switch (index) {
      case 0:
        Zap<F>(page.entry(), [] {}, [&](F::Word leaf) { page.Found(leaf); });
        Require(Install<F>(page.entry(), other),
                "a mapping that was zapped stays away");
        break;
      case 1:
        page.Access(Rights::kRead);
        break;
      default:
        page.Access(Rights::kWrite);
    }
  }
  void after() {
    const F::Word left = ReadOnce(page.entry(), kRelaxed);
    Require(F::FrameOf(left) == TrackedPage::kOther,
            "a mapping that was zapped stays away");
    page.Check();
  }
};

// --- An evictor, who gives back what he finds young.

struct EvictedUnlessUsed : rl::test_suite<EvictedUnlessUsed, 3> {
  static constexpr Plan kPlan = kEveryInterleaving;

  using F = TrackedPage::F;
  TrackedPage page;
  bool evicted = false;

  void before() { page.Start(); }
  void thread(unsigned index) {
    if (index == 0) {
      const F::Word seen = ReadOnce(page.entry(), kRelaxed);
      if (!Freeze<F>(page.entry(), seen)) return;
      if (IsYoung<F>(seen)) {
        Restore<F>(page.entry(), seen);
        return;
      }
      page.Found(seen);
      Empty<F>(page.entry());
      evicted = true;
      return;
    }
    page.Access(index == 1 ? Rights::kRead : Rights::kWrite);
  }
  void after() {
    const F::Word left = ReadOnce(page.entry(), kRelaxed);
    Require(!evicted || left == F::kEmpty,
            "a mapping that was zapped stays away");
    if (!evicted) page.Found(left);
    page.Check();
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_FAST_FAULT_SEARCHES_H_
