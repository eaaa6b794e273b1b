// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of legacy_shadow.h: slots that come and go, roots that are dropped,
// and what is taken away to make room for a fault, while the guest's other CPUs
// fault and write to its tables, and others ask. Tables are freed as soon as
// the contract of reclamation lets them be, and used again. That a slot stays
// while one walks who has found it is searched with published.h.

#ifndef PTAGE_TEST_RELACY_LEGACY_REMOVAL_SEARCHES_H_
#define PTAGE_TEST_RELACY_LEGACY_REMOVAL_SEARCHES_H_

#include <cstddef>

#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/types.h"
#include "test/relacy/frees_after_walks.h"
#include "test/relacy/legacy_guest.h"
#include "test/relacy/search.h"
#include "test/relacy/shadowed.h"

namespace ptage::relacy {

template <std::size_t kTables = 4>
using ReclaimedGuest = LegacyGuest<NoFlush, FreesAfterWalks, kTables>;

// What goes on meanwhile.
enum class Beside { kFault, kAsker, kWrite };

// --- A slot is taken away, of which one page is mapped.

template <Beside kBeside>
struct SlotRemoval : rl::test_suite<SlotRemoval<kBeside>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  UnwatchedHeap heap;
  ReclaimedGuest<> guest;

  void before() {
    guest.MakeWithPages();
    (void)guest.Fault(0, Rights::kRead);
  }
  void thread(unsigned index) {
    if (index == 0) {
      Require(guest->RemoveMemslot(kPages, guest.Sink()).ok(),
              "a slot that is there can be removed");
      RequireGone();
    } else if (kBeside == Beside::kFault) {
      const FaultOutcome outcome = guest.Fault(1, Rights::kReadWrite);
      Require(
          outcome == FaultOutcome::kMapped || outcome == FaultOutcome::kNoSlot,
          "a page is mapped while its slot is there");
    } else if (kBeside == Beside::kAsker) {
      guest.AskUsed(kA);
    } else {
      guest.Write(kTableFrame, 0, PageWord(kB));
    }
  }
  void after() {
    RequireGone();
    guest.Check();
    guest.Clear();
  }
  void RequireGone() {
    Require(!guest.IsThere(0) && !guest.IsThere(1),
            "nothing maps a frame of a slot that is gone");
  }
};

// --- A slot comes. One fault writes to a page of it that another takes for a
// table.

struct SlotAgainstBuilder : rl::test_suite<SlotAgainstBuilder, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  UnwatchedHeap heap;
  ReclaimedGuest<> guest;

  void before() {
    guest.WriteTable(0, kTableFrame, kA);
    guest.WriteTable(1, kA, kB);
    guest.MakeWithoutSlot();
    // Which builds all but the leaf.
    (void)guest.Fault(0, Rights::kRead);
  }
  void thread(unsigned index) {
    if (index == 0) {
      guest.AddSlot();
      const FaultOutcome outcome = guest.Fault(0, Rights::kReadWrite);
      Require(outcome == FaultOutcome::kMapped ||
                  outcome == FaultOutcome::kGuestTable,
              "a page that is there is mapped");
      return;
    }
    (void)guest.Fault(2, Rights::kRead);
    Require(guest->CountEntries(kA, Rights::kWrite) == 0,
            "no leaf of a table's frame is writable");
  }
  void after() {
    guest.Check();
    guest.Clear();
  }
};

// --- A root is dropped that is not loaded, and is loaded meanwhile.

struct DropAgainstLoad : rl::test_suite<DropAgainstLoad, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  UnwatchedHeap heap;
  ReclaimedGuest<> guest;

  void before() {
    guest.MakeWithPages();
    (void)guest.Fault(0, Rights::kRead);
    guest.Unload();
  }
  void thread(unsigned index) {
    if (index == 0) {
      (void)guest->DropRoot(kRootFrame, guest.Sink());
      return;
    }
    guest.Load();
    const FaultOutcome outcome = guest.Fault(0, Rights::kRead);
    Require(
        outcome == FaultOutcome::kMapped || outcome == FaultOutcome::kSpurious,
        "a page that is there is mapped");
    Require(guest.IsThere(0), "a root in use is not dropped");
  }
  void after() {
    Require(guest.IsThere(0), "a root in use is not dropped");
    guest.Check();
    guest.Clear();
  }
};

// --- One of two roots is dropped, while a fault in the other needs the table
// that the one leads to.

struct DropAgainstFault : rl::test_suite<DropAgainstFault, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  UnwatchedHeap heap;
  ReclaimedGuest<> guest;

  void before() {
    WriteOnce(guest.frames().WordAt(kB, 0), TableWord(kTableFrame), kRelaxed);
    guest.MakeWithPages();
    guest.Unload();
    guest.Load(kB);
    (void)guest.Fault(0, Rights::kRead);
    guest.Unload();
    guest.Load(kRootFrame);
  }
  void thread(unsigned index) {
    if (index == 0) {
      Require(guest->DropRoot(kB, guest.Sink()),
              "a root that is not loaded can be dropped");
      return;
    }
    const FaultOutcome outcome = guest.Fault(0, Rights::kRead);
    Require(
        outcome == FaultOutcome::kMapped || outcome == FaultOutcome::kSpurious,
        "a page that is there is mapped");
    Require(guest.IsThere(0), "who is told that a page is mapped finds it so");
  }
  void after() {
    Require(guest.IsThere(0), "who is told that a page is mapped finds it so");
    guest.Check();
    guest.Clear();
  }
};

// --- The only root is dropped, with all below it.

template <Beside kBeside>
struct RootRemoval : rl::test_suite<RootRemoval<kBeside>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  UnwatchedHeap heap;
  ReclaimedGuest<> guest;

  void before() {
    guest.MakeWithPages();
    (void)guest.Fault(0, Rights::kRead);
    guest.Unload();
  }
  void thread(unsigned index) {
    if (index == 0) {
      Require(guest->DropRoot(kRootFrame, guest.Sink()),
              "a root that is not loaded can be dropped");
    } else if (kBeside == Beside::kAsker) {
      guest.AskUsed(kA);
    } else {
      guest.Write(kTableFrame, 0, PageWord(kB));
    }
  }
  void after() {
    Require(guest->tables() == 0, "nothing is left");
    guest.CheckScores();
    guest.Clear();
  }
};

// --- A fault needs a table, and there is memory for the root and one: that of
// another page goes.

template <Beside kBeside>
struct RoomForTable : rl::test_suite<RoomForTable<kBeside>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  UnwatchedHeap heap;
  ReclaimedGuest<2> guest;

  void before() {
    guest.WriteTable(1, kA, kB);
    guest.MakeWithPages();
    (void)guest.Fault(1, Rights::kRead);
  }
  void thread(unsigned index) {
    if (index == 0) {
      const FaultOutcome outcome = guest.Fault(2, Rights::kRead);
      // Else both make room again and again.
      Require(outcome == FaultOutcome::kMapped || kBeside == Beside::kFault,
              "who makes room has it");
    } else if (kBeside == Beside::kFault) {
      (void)guest.Fault(1, Rights::kRead);
    } else if (kBeside == Beside::kAsker) {
      guest.AskUsed(kB);
    } else {
      guest.Write(kTableFrame, 1, GuardedGuest::kEmpty);
    }
  }
  void after() {
    Require(!guest.IsThere(1) || !guest.IsThere(2), "who makes room has it");
    guest.Check();
    guest.Clear();
  }
};

// --- A fault maps a frame that is mapped as often as it may be: the leaf that
// is there goes.

template <Beside kBeside>
struct RoomInList : rl::test_suite<RoomInList<kBeside>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  UnwatchedHeap heap;
  ReclaimedGuest<> guest{/*cap=*/1};

  void before() {
    guest.MakeWithPages(kA, kA);
    (void)guest.Fault(0, Rights::kRead);
  }
  void thread(unsigned index) {
    if (index == 0) {
      const FaultOutcome outcome = guest.Fault(1, Rights::kRead);
      Require(outcome == FaultOutcome::kMapped || kBeside == Beside::kFault,
              "who makes room has it");
    } else if (kBeside == Beside::kFault) {
      (void)guest.Fault(0, Rights::kRead);
    } else if (kBeside == Beside::kAsker) {
      guest.AskUsed(kA);
    } else {
      guest.Write(kTableFrame, 0, PageWord(kB));
    }
  }
  void after() {
    Require(guest->CountEntries(kA) == 1, "no rmap has more than it may");
    guest.Check();
    guest.Clear();
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_LEGACY_REMOVAL_SEARCHES_H_
