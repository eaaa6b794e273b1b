// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of lru/page_word.h: claims against claims, marks, additions and
// frees of the same page.

#ifndef PTAGE_TEST_RELACY_LRU_SEARCHES_H_
#define PTAGE_TEST_RELACY_LRU_SEARCHES_H_

#include "ptage/lru/page_word.h"
#include "ptage/once.h"
#include "test/relacy/search.h"

namespace ptage::relacy {

// A page, and what belongs to whoever has it.
struct LruPageState {
  PageCell cell;
  Plain<unsigned> data;

  void SetUp(bool resident) {
    WriteOnce(cell, 0u, kRelaxed);
    data.Set(0);
    PageUse use;
    if (resident) (void)AddPage(cell, 1, use);
  }
};

// Two evictors, and an owner who frees the page and adds a new one.
struct EvictorsAgainstOwner : rl::test_suite<EvictorsAgainstOwner, 3> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  LruPageState page;
  bool held = false;

  void before() { page.SetUp(true); }
  void thread(unsigned index) {
    if (index == 2) {
      PageUse use;
      if (!FreePage(page.cell)) return;
      Require(AddPage(page.cell, 2, use), "what was freed can be added");
      return;
    }
    if (ClaimPage(page.cell) != ClaimOutcome::kClaimed) return;
    Require(!held, "a page has one evictor");
    held = true;
    page.data.Set(page.data.Get() + 1);
    held = false;
    ReleasePage(page.cell, EvictionVerdict::kBusy);
  }
  void after() {
    const auto state = PageWord(ReadOnce(page.cell, kRelaxed)).state();
    Require(state == PageState::kAbsent || state == PageState::kResident,
            "nobody has the page for ever");
  }
};

// A mark stops a claim, or is taken by who has claimed.
struct MarkAgainstEvictor : rl::test_suite<MarkAgainstEvictor, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  LruPageState page;
  bool made = false;

  void before() { page.SetUp(true); }
  void thread(unsigned index) {
    if (index == 0) {
      made = MarkPage(page.cell);
      return;
    }
    bool before = made;
    const ClaimOutcome outcome = ClaimPage(page.cell);
    Require(!before || outcome == ClaimOutcome::kYoung,
            "a marked page is not claimed");
    if (outcome != ClaimOutcome::kClaimed) return;
    before = made;
    const bool taken = TakeMark(page.cell);
    Require(taken || !before, "a mark made before is taken");
    ReleasePage(page.cell,
                taken ? EvictionVerdict::kYoung : EvictionVerdict::kEvicted);
  }
};

// Two marks, and somebody who takes marks twice.
struct MarksAgainstTaker : rl::test_suite<MarksAgainstTaker, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  LruPageState page;
  // Whether the last mark made was not taken.
  bool left = false;

  void before() { page.SetUp(true); }
  void thread(unsigned index) {
    for (int turn = 0; turn < 2; ++turn) {
      if (index == 0) {
        if (MarkPage(page.cell)) left = true;
      } else if (TakeMark(page.cell)) {
        left = false;
      }
    }
  }
  void after() {
    Require(!left || PageWord(ReadOnce(page.cell, kRelaxed)).marked(),
            "no mark is lost");
  }
};

// Two uses of a page that has been claimed, and its evictor, who asks twice.
struct UsesAgainstTaker : rl::test_suite<UsesAgainstTaker, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  LruPageState page;
  // Whether the last use was not told to the evictor.
  bool left = false;

  void before() {
    page.SetUp(true);
    (void)ClaimPage(page.cell);
  }
  void thread(unsigned index) {
    for (unsigned turn = 0; turn < 2; ++turn) {
      if (index == 0) {
        PageUse use;
        (void)UsePage(page.cell, 2 + turn, use);
        left = true;
      } else if (TakeMark(page.cell)) {
        left = false;
      }
    }
  }
  void after() {
    Require(!left || PageWord(ReadOnce(page.cell, kRelaxed)).marked(),
            "no use of a claimed page is lost");
  }
};

// Of a page nobody can say whether it is used, while somebody marks it.
struct KeeperAgainstMark : rl::test_suite<KeeperAgainstMark, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  LruPageState page;

  void before() { page.SetUp(true); }
  void thread(unsigned index) {
    if (index == 0) {
      KeepPage(page.cell, 5);
    } else {
      (void)MarkPage(page.cell);
    }
  }
  void after() {
    const PageWord word(ReadOnce(page.cell, kRelaxed));
    Require(word.tick() == 5, "what is unknown does not look old");
    Require(word.marked(), "and its mark stays");
  }
};

enum class Asking { kClaims, kTakes };

// One mark, and two who ask for it.
template <Asking kAsking>
struct OneMark : rl::test_suite<OneMark<kAsking>, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  LruPageState page;
  int young = 0;

  void before() {
    page.SetUp(true);
    (void)MarkPage(page.cell);
  }
  void thread(unsigned) {
    young += kAsking == Asking::kTakes
                 ? TakeMark(page.cell)
                 : ClaimPage(page.cell) == ClaimOutcome::kYoung;
  }
  void after() { Require(young == 1, "a mark speaks once"); }
};

struct TwoAdders : rl::test_suite<TwoAdders, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  LruPageState page;
  int added = 0;

  void before() { page.SetUp(false); }
  void thread(unsigned) {
    PageUse use;
    added += AddPage(page.cell, 2, use);
  }
  void after() { Require(added == 1, "a page is added once"); }
};

// What the evictor did is done when the page comes back; what was done before
// the page came, when it is claimed.
struct AdderAgainstEvictor : rl::test_suite<AdderAgainstEvictor, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  LruPageState page;

  void before() { page.SetUp(true); }
  void thread(unsigned index) {
    if (index == 0) {
      if (ClaimPage(page.cell) != ClaimOutcome::kClaimed) return;
      page.data.Set(1);
      ReleasePage(page.cell, EvictionVerdict::kEvicted);
      return;
    }
    PageUse use;
    if (AddPage(page.cell, 2, use)) page.data.Set(2);
  }
};

struct EvictorAfterAdder : rl::test_suite<EvictorAfterAdder, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  LruPageState page;

  void before() { page.SetUp(false); }
  void thread(unsigned index) {
    PageUse use;
    if (index == 0) {
      page.data.Set(1);
      (void)AddPage(page.cell, 2, use);
    } else if (ClaimPage(page.cell) == ClaimOutcome::kClaimed) {
      page.data.Set(2);
      ReleasePage(page.cell, EvictionVerdict::kEvicted);
    }
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_LRU_SEARCHES_H_
