// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of spte.h and of the frame records in memory.h.

#ifndef PTAGE_TEST_RELACY_SPTE_SEARCHES_H_
#define PTAGE_TEST_RELACY_SPTE_SEARCHES_H_

#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/once.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/cpu.h"
#include "test/relacy/score.h"
#include "test/relacy/search.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

// An entry of an indirect table, which may be given from page to page.
class IndirectEntry {
 public:
  using Arena = TableArena<TinyFormat, BlockingLock>;

  // Alone: the entry maps `gfn` by `leaf`, or nothing if that is empty.
  void Start(Gfn gfn, Word leaf) {
    Table<TinyFormat>* const table = arena_.Allocate(TableKind::kIndirect);
    TableInfo<TinyFormat>& info = arena_.InfoOf(table);
    info.base.Set(0);
    info.level.Set(1);
    info.kind.Set(static_cast<std::uint32_t>(TableKind::kIndirect));
    WriteOnce(gfns_[0], gfn.value, kRelaxed);
    WriteOnce(Get(), leaf, kRelaxed);
  }

  Entry& Get() { return tables_[0].entries[0]; }

  SpteAge TestClear(Gfn gfn) {
    return AgeEntry<TinyFormat>(Get(), AgeAction::kTestAndClear, [&] {
      return RecordsFrame<TinyFormat>(arena_, Get(), gfn, Level{1});
    });
  }
  // As a fault does: claims the empty entry, records the frame, installs.
  bool Fault(Gfn gfn, Word leaf) {
    if (!Freeze<TinyFormat>(Get(), TinyFormat::kEmpty)) return false;
    RecordFrame<TinyFormat>(arena_, Get(), gfn);
    Publish<TinyFormat>(Get(), leaf);
    return true;
  }
  Gfn Recorded() { return RecordedFrame<TinyFormat>(arena_, Get()); }

 private:
  Table<TinyFormat> tables_[1];
  TableInfo<TinyFormat> infos_[1];
  Cell<std::uint64_t> gfns_[2];
  Arena arena_{tables_, infos_, gfns_, 1, Pfn{0x100}};
};

// --- Test-and-clear against zap, and reuse of the entry for another frame.

struct ReusedEntry : rl::test_suite<ReusedEntry, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  IndirectEntry entry;
  Score scores[2];

  void before() {
    entry.Start(kA, YoungLeaf(Backing(kA)));
    scores[kA.value].Accessed(Leaf(Backing(kA)), AccessKind::kRead);
  }
  void thread(unsigned index) {
    if (index == 0) {
      scores[kA.value].Aged(entry.TestClear(kA));
      return;
    }
    Zap<TinyFormat>(
        entry.Get(), [] {},
        [&](Word leaf) { scores[entry.Recorded().value].Found(leaf); });
    scores[kB.value].Accessed(Leaf(Backing(kB)), AccessKind::kRead);
    Require(entry.Fault(kB, YoungLeaf(Backing(kB))), "an empty entry is free");
  }
  void after() {
    const Word left = ReadOnce(entry.Get(), kRelaxed);
    Require(entry.Recorded() == kB && Backed(left) == kB,
            "the record belongs to what the entry maps");
    scores[kB.value].Found(left);
    for (const Score& score : scores) score.Check();
  }
};

// The same while a walker reads and writes through the entry.
struct WalkedEntry : rl::test_suite<WalkedEntry, 3> {
  static constexpr Plan kPlan = kEveryInterleaving;

  IndirectEntry entry;
  Score scores[2];

  void before() { entry.Start(kA, Leaf(Backing(kA))); }
  void thread(unsigned index) {
    switch (index) {
      case 0:
        scores[kA.value].Aged(entry.TestClear(kA));
        break;
      case 1:
        for (const AccessKind kind : {AccessKind::kRead, AccessKind::kWrite}) {
          const Word before = Access(entry.Get(), kind);
          if (before == TinyFormat::kEmpty) continue;
          scores[Backed(before).value].Accessed(before, kind);
        }
        break;
      default:
        Zap<TinyFormat>(
            entry.Get(), [] {},
            [&](Word leaf) { scores[Backed(leaf).value].Found(leaf); });
        Require(entry.Fault(kB, Leaf(Backing(kB))), "an empty entry is free");
    }
  }
  void after() {
    const Word left = ReadOnce(entry.Get(), kRelaxed);
    scores[Backed(left).value].Found(left);
    for (const Score& score : scores) score.Check();
  }
};

// Two agers and a walker: what two clearers take is never counted as one.
struct TwoAgers : rl::test_suite<TwoAgers, 3> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Entry entry;
  Score score;

  void before() { WriteOnce(entry, Leaf(Backing(kA)), kRelaxed); }
  void thread(unsigned index) {
    if (index == 2) {
      for (int i = 0; i < 2; ++i) {
        const Word before = Access(entry, AccessKind::kWrite);
        if (before != TinyFormat::kEmpty) {
          score.Accessed(before, AccessKind::kWrite);
        }
      }
      return;
    }
    score.Aged(AgeEntry<TinyFormat>(entry, AgeAction::kTestAndClear,
                                    [] { return true; }));
  }
  void after() {
    score.Found(ReadOnce(entry, kRelaxed));
    score.Check();
  }
};

// The frame stays, under another gfn and by the same value: the access may be
// charged to either gfn, but not to none.
struct SameFrame : rl::test_suite<SameFrame, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  IndirectEntry entry;
  Score score;

  void before() {
    entry.Start(kA, YoungLeaf(Backing(kA)));
    score.Accessed(Leaf(Backing(kA)), AccessKind::kRead);
  }
  void thread(unsigned index) {
    if (index == 0) {
      score.Aged(entry.TestClear(kA));
      return;
    }
    Zap<TinyFormat>(entry.Get(), [] {}, [&](Word leaf) { score.Found(leaf); });
    score.Accessed(Leaf(Backing(kA)), AccessKind::kRead);
    Require(entry.Fault(kB, YoungLeaf(Backing(kA))), "an empty entry is free");
  }
  void after() {
    score.Found(ReadOnce(entry.Get(), kRelaxed));
    score.Check();
  }
};

// --- What "empty" says to who reads it.

struct EmptyAfterRecord : rl::test_suite<EmptyAfterRecord, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Entry entry;
  Cell<std::uint32_t> on_record;

  void before() {
    WriteOnce(entry, YoungLeaf(Backing(kA)), kRelaxed);
    WriteOnce(on_record, 0u, kRelaxed);
  }
  void thread(unsigned index) {
    if (index == 0) {
      Zap<TinyFormat>(
          entry, [] {}, [&](Word) { WriteOnce(on_record, 1u, kRelaxed); });
      return;
    }
    const SpteAge age =
        AgeEntry<TinyFormat>(entry, AgeAction::kTest, [] { return true; });
    if (age == SpteAge::kAbsent) {
      Require(ReadOnce(on_record, kRelaxed) == 1,
              "nobody reads empty before the access is on record");
    }
  }
};

// --- A CPU that has the leaf in its TLB.

struct CachedLeaf : rl::test_suite<CachedLeaf, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Entry entry;
  Cpu cpu;

  void before() { WriteOnce(entry, YoungLeaf(Backing(kA)), kRelaxed); }
  void thread(unsigned index) {
    if (index == 0) {
      for (int i = 0; i < 2; ++i) cpu.Walk(entry, [](Word) {});
      return;
    }
    Zap<TinyFormat>(
        entry, [&] { cpu.Flush(GfnRange{kA, kB}); },
        [&](Word) {
          Require(!cpu.Caches(), "no CPU uses a leaf that was handed on");
        });
    Require(!cpu.Caches(), "no CPU uses a leaf that was handed on");
  }
};

// --- Two zappers and a fault.

struct TwoZappers : rl::test_suite<TwoZappers, 3> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Entry entry;
  Cell<std::uint32_t> on_record;  // the first mapping was handed to someone
  unsigned zapped[2] = {};
  bool installed = false;

  void before() {
    WriteOnce(entry, YoungLeaf(Backing(kA)), kRelaxed);
    WriteOnce(on_record, 0u, kRelaxed);
  }
  void thread(unsigned index) {
    if (index == 2) {
      installed = Install<TinyFormat>(entry, YoungLeaf(Backing(kB)));
      return;
    }
    const ZapOutcome outcome = Zap<TinyFormat>(
        entry, [] {},
        [&](Word leaf) {
          Require(IsYoung<TinyFormat>(leaf), "no access is lost");
          ++zapped[Backed(leaf).value];
          if (Backed(leaf) == kA) WriteOnce(on_record, 1u, kRelaxed);
        });
    if (outcome == ZapOutcome::kAbsent) {
      Require(ReadOnce(on_record, kRelaxed) == 1,
              "who finds nothing to zap sees what was zapped");
    }
  }
  void after() {
    const Word left = ReadOnce(entry, kRelaxed);
    Require(!IsFrozen<TinyFormat>(left), "nothing stays frozen");
    const unsigned remains = TinyFormat::IsPresent(left) ? 1 : 0;
    Require(remains == 0 || left == YoungLeaf(Backing(kA)) ||
                left == YoungLeaf(Backing(kB)),
            "an entry holds what someone installed");
    unsigned held[2] = {zapped[0], zapped[1]};
    if (remains != 0) ++held[Backed(left).value];
    Require(held[kA.value] == 1 && held[kB.value] == (installed ? 1 : 0),
            "each mapping goes to exactly one");
  }
};

// --- Two faults on one entry.

// Direct: by one compare-and-swap. Who then finds the mapping also finds what
// its fault prepared.
struct TwoDirectFaults : rl::test_suite<TwoDirectFaults, 3> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Entry entry;
  Plain<unsigned> contents[2];
  bool won[2] = {};

  void before() {
    WriteOnce(entry, TinyFormat::kEmpty, kRelaxed);
    for (Plain<unsigned>& page : contents) page.Set(0);
  }
  void thread(unsigned index) {
    if (index < 2) {
      contents[index].Set(1);
      won[index] = Install<TinyFormat>(entry, YoungLeaf(Backing(Gfn{index})));
      return;
    }
    // The order in which page_table.h reads entries.
    const Word seen = ReadOnce(entry, kAcquire);
    if (TinyFormat::IsPresent(seen)) {
      Require(contents[Backed(seen).value].Get() == 1,
              "who finds a mapping finds its page filled");
    }
  }
  void after() {
    Require(won[0] != won[1], "exactly one fault wins");
    const Word left = ReadOnce(entry, kRelaxed);
    Require(left == YoungLeaf(Backing(won[0] ? kA : kB)),
            "the entry maps what the winner installed");
  }
};

// Indirect: by claiming the entry, so that the record is the winner's.
struct TwoIndirectFaults : rl::test_suite<TwoIndirectFaults, 3> {
  static constexpr Plan kPlan = kEveryInterleaving;

  IndirectEntry entry;
  Score scores[2];
  bool won[2] = {};

  void before() { entry.Start(kA, TinyFormat::kEmpty); }
  void thread(unsigned index) {
    if (index < 2) {
      const Gfn gfn{index};
      won[index] = entry.Fault(gfn, YoungLeaf(Backing(gfn)));
      if (won[index]) {
        scores[index].Accessed(Leaf(Backing(gfn)), AccessKind::kRead);
      }
      return;
    }
    // The slot was A's before: an ager may hold it from then.
    scores[kA.value].Aged(entry.TestClear(kA));
  }
  void after() {
    Require(won[0] != won[1], "exactly one fault wins");
    const Word left = ReadOnce(entry.Get(), kRelaxed);
    Require(entry.Recorded() == Backed(left),
            "the record belongs to what the entry maps");
    scores[Backed(left).value].Found(left);
    for (const Score& score : scores) score.Check();
  }
};

// --- Frozen is owned, by one after the other.

// `notes` is what an owner knows of the entry and leaves to the next.
struct OwnersInTurn : rl::test_suite<OwnersInTurn, 3> {
  static constexpr Plan kPlan = kEveryInterleaving;

  Entry entry;
  Plain<unsigned> notes;
  unsigned owners = 0;
  Cell<std::uint32_t> step;  // where an owner can be interrupted

  void before() {
    WriteOnce(entry, Leaf(Backing(kA)), kRelaxed);
    WriteOnce(step, 0u, kRelaxed);
    notes.Set(0);
  }
  void Own() {
    Require(++owners == 1, "one thread owns a frozen entry");
    static_cast<void>(ReadOnce(step, kRelaxed));
    notes.Set(notes.Get() + 1);
    --owners;
  }
  void thread(unsigned index) {
    if (index == 2) {
      if (!Freeze<TinyFormat>(entry, TinyFormat::kEmpty)) return;
      Own();
      Publish<TinyFormat>(entry, Leaf(Backing(kB)));
      return;
    }
    const Word seen = ReadOnce(entry, kRelaxed);
    if (!TinyFormat::IsPresent(seen)) return;
    if (!Freeze<TinyFormat>(entry, seen)) return;
    Own();
    if (index == 0) {
      Restore<TinyFormat>(entry, seen);
    } else {
      Empty<TinyFormat>(entry);
    }
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_SPTE_SEARCHES_H_
