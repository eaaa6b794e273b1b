// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of legacy_shadow.h: a guest's faults and writes to its tables, while
// others ask and invalidate. What is below it (the walk of the guest's tables,
// the tree, the lock) is searched by itself; here it is the order in which the
// MMU uses them. How slots, roots and what is in the way of a fault are taken
// away is in legacy_removal_searches.h.

#ifndef PTAGE_TEST_RELACY_LEGACY_SHADOW_SEARCHES_H_
#define PTAGE_TEST_RELACY_LEGACY_SHADOW_SEARCHES_H_

#include <cstddef>

#include "absl/types/span.h"
#include "ptage/guest_walk.h"
#include "ptage/invalidate.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/legacy_guest.h"
#include "test/relacy/search.h"
#include "test/relacy/shadowed.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

// --- The guest fills a table and links it; another of its CPUs faults.

struct FaultAgainstLinking : rl::test_suite<FaultAgainstLinking, 2> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  UnwatchedHeap heap;
  LegacyGuest<> guest;

  void before() { guest.Make(); }
  void thread(unsigned index) {
    if (index == 0) {
      WriteOnce(guest.frames().WordAt(kTableFrame, 0), PageWord(kA), kRelaxed);
      guest.Write(kRootFrame, 0, TableWord(kTableFrame));
      return;
    }
    GuestTranslation walked;
    const FaultOutcome outcome = guest.Fault(0, Rights::kRead, walked);
    Require(outcome == FaultOutcome::kMapped || walked.level == Level{2},
            "what the guest wrote before it linked a table is there");
  }
  void after() {
    guest.Check();
    guest.Clear();
  }
};

// --- The guest changes an entry while another of its CPUs faults, which finds
// its tables built, or builds them.

enum class Changed { kToAnotherPage, kToNothing };

template <Changed kChanged>
struct FaultAgainstChange : rl::test_suite<FaultAgainstChange<kChanged>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  UnwatchedHeap heap;
  LegacyGuest<> guest;

  void before() { guest.MakeWithPages(); }
  void thread(unsigned index) {
    if (index == 0) {
      guest.Write(kTableFrame, 0,
                  kChanged == Changed::kToAnotherPage ? PageWord(kB)
                                                      : GuardedGuest::kEmpty);
    } else {
      const FaultOutcome outcome = guest.Fault(0, Rights::kRead);
      Require(
          outcome == FaultOutcome::kMapped || kChanged == Changed::kToNothing,
          "a page that is there is mapped");
    }
  }
  void after() {
    guest.Check();
    guest.Clear();
  }
};

// --- The guest changes an entry that another of its CPUs uses.

struct ChangeAgainstCpu : rl::test_suite<ChangeAgainstCpu, 2> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  UnwatchedHeap heap;
  LegacyGuest<ShadowCpu> guest;

  void before() {
    guest.MakeWithPages();
    (void)guest.Fault(0, Rights::kRead);
  }
  void thread(unsigned index) {
    if (index == 0) {
      guest.Write(kTableFrame, 0, PageWord(kB));
      return;
    }
    for (int i = 0; i < 2; ++i) {
      const Word said =
          ReadOnce(guest.frames().WordAt(kTableFrame, 0), kAcquire);
      guest.flusher().Walk(
          guest.arena(), guest.root(), 0, AccessKind::kRead,
          [this](Word before) {
            guest.Accessed(Backed(before), before, Rights::kRead);
          },
          [&](Word leaf) {
            Require(GuardedGuest::FrameOf(said).value == Backed(leaf).value,
                    "who sees the change uses nothing from before");
          });
    }
  }
  void after() {
    guest.Check();
    guest.Clear();
  }
};

// --- A trapped write to a part of a word of a page, whose other parts another
// CPU of the guest's writes.

struct WriteAgainstNeighbour : rl::test_suite<WriteAgainstNeighbour, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  UnwatchedHeap heap;
  LegacyGuest<> guest;

  void before() {
    guest.Make();
    WriteOnce(guest.frames().WordAt(kA, 0), 0, kRelaxed);
  }
  void thread(unsigned index) {
    if (index == 0) {
      const std::byte byte{0x5A};
      (void)guest->GuestWrite(kA, 1, absl::MakeConstSpan(&byte, 1),
                              [](const ZappedLeaf&) {});
      return;
    }
    Entry& word = guest.frames().WordAt(kA, 0);
    Word seen = ReadOnce(word, kRelaxed);
    while (!TryCmpxchg(word, seen, seen | Word{0x77} << 16, kRelaxed)) {
      seen = ReadOnce(word, kRelaxed);
    }
  }
  void after() {
    Require(ReadOnce(guest.frames().WordAt(kA, 0), kRelaxed) == 0x77'5A00,
            "what is written to a part of a word leaves the others");
    guest.Clear();
  }
};

// --- Two faults, of both pages of a table, or of one.

template <unsigned kSecond>
struct TwoLegacyFaults : rl::test_suite<TwoLegacyFaults<kSecond>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  UnwatchedHeap heap;
  LegacyGuest<> guest;

  void before() { guest.MakeWithPages(); }
  void thread(unsigned index) {
    const unsigned page = index == 0 ? 0 : kSecond;
    const FaultOutcome outcome = guest.Fault(page, Rights::kRead);
    Require(outcome == FaultOutcome::kMapped ||
                (kSecond == 0 && outcome == FaultOutcome::kSpurious),
            "a page that is there is mapped");
    Require(guest.IsThere(page),
            "who is told that a page is mapped finds it so");
  }
  void after() {
    guest.Check();
    guest.Clear();
  }
};

// --- A page becomes a table, by a fault of what it would map, while a fault of
// a write maps it.

struct TableAgainstWriter : rl::test_suite<TableAgainstWriter, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  UnwatchedHeap heap;
  LegacyGuest<> guest;

  void before() {
    guest.WriteTable(1, kA, kB);
    guest.MakeWithPages();
  }
  void thread(unsigned index) {
    if (index == 0) {
      Require(guest.Fault(2, Rights::kRead) == FaultOutcome::kMapped,
              "a page that is there is mapped");
      Require(guest->CountEntries(kA, Rights::kWrite) == 0,
              "no leaf of a table's frame is writable");
      return;
    }
    const FaultOutcome outcome = guest.Fault(0, Rights::kReadWrite);
    Require(outcome == FaultOutcome::kMapped ||
                outcome == FaultOutcome::kGuestTable,
            "a page that is there is mapped");
  }
  void after() {
    guest.Check();
    guest.Clear();
  }
};

// --- A frame is taken away while a fault maps it, and is not mapped again
// before the end.

struct FaultAgainstInvalidation : rl::test_suite<FaultAgainstInvalidation, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);
  static constexpr GfnRange kTaken{kA, kB};

  UnwatchedHeap heap;
  LegacyGuest<> guest;

  void before() { guest.MakeWithPages(); }
  void thread(unsigned index) {
    if (index == 1) {
      (void)guest.Fault(0, Rights::kRead);
      return;
    }
    const ScopedInvalidation open(guest->invalidations(), kTaken);
    (void)guest->ZapFrames(kTaken, guest.Sink());
    Require(guest->CountEntries(kA) == 0,
            "nothing maps a frame that is being taken away");
  }
  void after() {
    guest.Check();
    guest.Clear();
  }
};

// --- The same while others ask.

struct ZapAgainstAge : rl::test_suite<ZapAgainstAge, 2> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  UnwatchedHeap heap;
  LegacyGuest<> guest;

  void before() {
    guest.MakeWithPages();
    (void)guest.Fault(0, Rights::kRead);
  }
  void thread(unsigned index) {
    if (index == 0) {
      (void)guest->ZapFrames(kPages, guest.Sink());
    } else {
      guest.AskUsed(kA);
    }
  }
  void after() {
    guest.Check();
    guest.Clear();
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_LEGACY_SHADOW_SEARCHES_H_
