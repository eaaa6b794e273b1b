// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of legacy_shadow/shadow_tree.h: faults that map pages and build
// tables, and removals, while others ask and CPUs use what is there. The
// protocol by which a frame becomes a table is searched by itself
// (protected_frames_searches.h); here it is as the tree uses it.

#ifndef PTAGE_TEST_RELACY_SHADOW_TREE_SEARCHES_H_
#define PTAGE_TEST_RELACY_SHADOW_TREE_SEARCHES_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "ptage/legacy_shadow/reclaim.h"
#include "ptage/legacy_shadow/shadow_tree.h"
#include "ptage/legacy_shadow/tables.h"
#include "ptage/memory.h"
#include "ptage/memslot.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/once/mutex.h"
#include "ptage/rmap.h"
#include "ptage/rmap/range.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/frees_at_the_end.h"
#include "test/relacy/guarded_format.h"
#include "test/relacy/score.h"
#include "test/relacy/search.h"
#include "test/relacy/shadowed.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

// How entries are taken away.
enum class TakeWay {
  kLeaves,   // what maps page kA
  kEntries,  // what is built from the first entry of the table
  kTables,   // what is built from the root: it leads to the table
  kReclaim,  // the oldest table that is not loaded
  kUnused,   // what nothing leads to
};

// The tree, and what became of the pages. Nobody frees a table or a chunk
// before the end.
template <class Fl = NoFlush, std::uint32_t kCap = kDefaultRmapCap>
class Guest {
 public:
  using Arena = ShadowArena<4>;
  using Rmaps = ShadowRmaps<Arena>;
  using Tree = ptage::internal::ShadowTree<GuardedFormat, Arena, FreesAtTheEnd,
                                           Fl, Rmaps>;
  using Walk = typename Tree::Walk;
  using MapOutcome = typename Tree::Leaf;

  // Alone, before the threads and after them.
  void Make() {
    tree_.emplace(arena_, reclaimer_, flusher_, rmaps_, kGuestFrames, 4);
    Require(tree_->memslots()
                .Add(kPages, Backing(kA), Rights::kAll, Gfn{kGuestFrames})
                .ok(),
            "there is a slot");
    const Walk walk(reclaimer_);
    slot_ = tree_->memslots().Find(walk, kA);
    root_ = tree_->TableFor(walk, kRootRole, true);
  }
  // The same, with a table of leaves that is linked.
  void MakeWithTable() {
    Make();
    LinkTable();
  }
  void Clear() {
    {
      const Walk walk(reclaimer_);
      tree_->Clear(walk, [](const ZappedLeaf&) {});
      Require(tree_->size() == 0, "nothing is left");
    }
    tree_.reset();
    reclaimer_.FreeAll();
    Require(arena_.InUse() == 0, "no table leaks");
  }

  // What a fault does, whose thread holds the MMU lock shared, or needs none.
  Table<GuardedFormat>* Build(TableRole role) {
    const Walk walk(reclaimer_);
    return tree_->TableFor(walk, role);
  }
  void LinkTable() {
    Table<GuardedFormat>* const table = Build(kTableRole);
    Require(table != nullptr, "there is memory for a table");
    tree_->Link(root(), table);
  }
  // Entry `index` of the table, which is linked.
  MapOutcome Map(unsigned index, Gfn gfn, Rights access,
                 Rights granted = Rights::kAll) {
    const Walk walk(reclaimer_);
    return tree_->Map(*slot_, EntryAt(index), gfn, granted, access);
  }
  // The same of an entry that is empty.
  MapOutcome MapNew(unsigned index, Gfn gfn, Rights access,
                    Rights granted = Rights::kAll) {
    const MapOutcome leaf = Map(index, gfn, access, granted);
    if (leaf == MapOutcome::kMapped) Accessed(gfn, 0, access);
    // Without the right to write, and so not written.
    if (leaf == MapOutcome::kProtected) Accessed(gfn, 0, Rights::kRead);
    return leaf;
  }

  // Takes away, as who holds the MMU lock exclusively, or needs none.
  template <class Told>
  void Take(TakeWay way, Told&& told) {
    const Walk walk(reclaimer_);
    const auto sink = [&](const ZappedLeaf& leaf) {
      Found(leaf);
      told();
    };
    if (way == TakeWay::kReclaim) {
      Require(ptage::internal::ReclaimTables(*tree_, walk, 1, sink) == 1,
              "one table is gone");
      return;
    }
    typename Tree::Removal removal(walk, sink);
    switch (way) {
      case TakeWay::kLeaves:
        tree_->TakeLeaves(removal, *slot_, kA);
        break;
      case TakeWay::kEntries:
        tree_->TakeEntries(removal, kTableFrame, 0, 0);
        break;
      case TakeWay::kTables:
        tree_->TakeTables(removal, GfnRange{kRootFrame, kRootFrame + 1});
        break;
      case TakeWay::kUnused:
        tree_->TakeUnused(removal);
        break;
      case TakeWay::kReclaim:
        break;
    }
    (void)tree_->Finish(removal);
  }
  void Take(TakeWay way) {
    Take(way, [] {});
  }

  // The entry of the root that leads to the table, and one of that; the table
  // is linked.
  Entry& root() { return root_->entries[0]; }
  Entry& EntryAt(unsigned index) {
    const Word inner = ReadOnce(root(), kAcquire);
    return arena_.TableAt(GuardedFormat::FrameOf(inner))->entries[index];
  }
  // Whether a CPU would find a leaf there.
  bool IsThere(unsigned index) {
    const Word inner = ReadOnce(root(), kAcquire);
    if (!GuardedFormat::IsPresent(inner)) return false;
    return GuardedFormat::IsPresent(
        ReadOnce(arena_.TableAt(GuardedFormat::FrameOf(inner))->entries[index],
                 kAcquire));
  }
  // A CPU's access by the entry, if it allows that.
  void Use(unsigned index, AccessKind kind) {
    Entry& entry = EntryAt(index);
    const Word seen = ReadOnce(entry, kRelaxed);
    if (kind == AccessKind::kWrite && !IsWritable(seen)) return;
    if (!AccessSeen(entry, seen, kind)) return;
    scores_[Backed(seen).value].Accessed(seen, kind);
  }

  struct Answer {
    bool Young(Gfn gfn) const { return (young >> gfn.value & 1) != 0; }
    AgeResult result;
    std::uint64_t young = 0;
    std::uint64_t unknown = 0;
    AgeCounts counts;
  };
  // As LegacyShadow asks, of one frame. What it cleared is written down; after
  // a lost race the bit is still somewhere.
  Answer Ask(Gfn gfn, AgeAction action, AgeMode mode) {
    Answer answer;
    const Walk walk(reclaimer_);
    const AgeOutput output{.begin = kA,
                           .young = Bitmap(&answer.young, 2),
                           .unknown = Bitmap(&answer.unknown, 2)};
    tree_->memslots().ForEach(
        walk, GfnRange{gfn, gfn + 1},
        [&](Memslot<GuardedFormat>& slot, GfnRange part) {
          answer.result |=
              AgeRange(rmaps_, &slot.HeadOf(part.begin, Level{1}),
                       RmapFrame{part.begin, Level{1}}, part.Frames(), action,
                       mode, output, answer.counts);
        });
    if (action == AgeAction::kTestAndClear) {
      for (std::uint64_t i = answer.counts.lost_races; i < answer.counts.young;
           ++i) {
        scores_[gfn.value].Aged(SpteAge::kYoung);
      }
    }
    return answer;
  }

  // Who holds the frame is done with TableFor: no CPU writes there.
  void RequireReadOnly(Gfn gfn) {
    const Walk walk(reclaimer_);
    Require(HoldsTable(tree_->MarkOf(gfn)), "a table's frame is marked");
    rmaps_.Visit(slot_->HeadOf(gfn, Level{1}), [](Entry& leaf) {
      Require(!IsWritable(ReadOnce(leaf, kRelaxed)),
              "no leaf of a table's frame is writable");
      return true;
    });
  }

  // Alone. `exactly`: how many tables there must be.
  void Check(std::size_t exactly) {
    Require(tree_->size() == exactly, "each table is there once");
    const Word inner = ReadOnce(root(), kRelaxed);
    Require(!IsFrozen<GuardedFormat>(inner), "nothing stays frozen");
    ShadowTable<GuardedFormat>* const table = tree_->tables().Find(kTableRole);
    if (GuardedFormat::IsPresent(inner)) {
      Require(table != nullptr &&
                  arena_.FrameOf(table->table) == GuardedFormat::FrameOf(inner),
              "an entry leads to the table that stands for its role");
      Require(std::count(table->parents.begin(), table->parents.end(),
                         &root()) == 1,
              "who leads to a table is named there once");
    } else {
      Require(table == nullptr || table->Unused(),
              "who leads to a table is named there once");
    }
    std::uint32_t present = 0;
    for (unsigned i = 0; i < 2 && table != nullptr; ++i) {
      const Word left = ReadOnce(table->table->entries[i], kRelaxed);
      Require(!IsFrozen<GuardedFormat>(left), "nothing stays frozen");
      if (!GuardedFormat::IsPresent(left)) continue;
      ++present;
      const Gfn gfn = Backed(left);
      Require(CountIn(gfn, &table->table->entries[i]) == 1,
              "an entry is in the rmap of the frame that it maps, once");
      scores_[gfn.value].Found(left);
    }
    Require(CountIn(kA, nullptr) + CountIn(kB, nullptr) == present,
            "no rmap has what maps nothing");
    for (const Gfn gfn : {kA, kB}) {
      if (HoldsTable(tree_->MarkOf(gfn))) RequireReadOnly(gfn);
    }
    for (const Score& score : scores_) score.Check();
  }

  Tree* operator->() { return &*tree_; }
  Arena& arena() { return arena_; }
  Fl& flusher() { return flusher_; }
  void Accessed(Gfn gfn, Word before, Rights access) {
    scores_[gfn.value].Accessed(before, Allows(access, Rights::kWrite)
                                            ? AccessKind::kWrite
                                            : AccessKind::kRead);
  }

 private:
  void Found(const ZappedLeaf& leaf) {
    scores_[leaf.gfn.value].Found(
        GuardedFormat::kPresent |
        (leaf.accessed ? GuardedFormat::kAccessed : Word{0}) |
        (leaf.dirty ? GuardedFormat::kDirty : Word{0}));
  }
  // How often the entry is in the frame's rmap; null: how many there are.
  std::uint32_t CountIn(Gfn gfn, const Entry* entry) {
    std::uint32_t count = 0;
    rmaps_.ForEach(slot_->HeadOf(gfn, Level{1}), [&](Entry& found) {
      if (entry == nullptr || entry == &found) ++count;
    });
    return count;
  }

  Arena arena_;
  FreesAtTheEnd reclaimer_;
  Fl flusher_;
  GuardedPool pool_;
  Rmaps rmaps_{arena_, pool_, kCap};
  std::optional<Tree> tree_;
  Memslot<GuardedFormat>* slot_ = nullptr;
  Table<GuardedFormat>* root_ = nullptr;
  Score scores_[2];
};

// --- A fault maps a page while others ask: who has seen the entry finds it by
// its frame.

template <AgeMode kMode>
struct MapAgainstAsker : rl::test_suite<MapAgainstAsker<kMode>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(5);

  UnwatchedHeap heap;
  Guest<> guest;

  void before() { guest.MakeWithTable(); }
  void thread(unsigned index) {
    if (index == 0) {
      Require(
          guest.MapNew(0, kA, Rights::kRead) == Guest<>::MapOutcome::kMapped,
          "a fault that nobody hinders maps the page");
      return;
    }
    const bool there = guest.IsThere(0);
    const auto answer = guest.Ask(kA, AgeAction::kTest, kMode);
    Require(!there || answer.Young(kA),
            "who finds a page mapped is told of its access");
  }
  void after() {
    guest.Check(2);
    guest.Clear();
  }
};

// --- Entries are taken away while others ask: who is told of nothing finds the
// access handed on.

template <TakeWay kWay, AgeMode kMode>
struct TakeAgainstAsker : rl::test_suite<TakeAgainstAsker<kWay, kMode>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(5);

  UnwatchedHeap heap;
  Guest<> guest;
  Plain<bool> on_record;

  void before() {
    on_record.Set(false);
    guest.MakeWithTable();
    (void)guest.MapNew(0, kA, Rights::kRead);
  }
  void thread(unsigned index) {
    if (index == 0) {
      guest.Take(kWay, [this] { on_record.Set(true); });
      return;
    }
    const auto answer = guest.Ask(kA, AgeAction::kTestAndClear, kMode);
    if (!answer.result.young && answer.result.complete) {
      Require(on_record.Get(), "who finds nothing sees what was zapped");
    }
  }
  void after() {
    Require(!guest.IsThere(0), "what is taken away is not there");
    guest.Check(kWay == TakeWay::kLeaves || kWay == TakeWay::kEntries ? 2 : 1);
    guest.Clear();
  }
};

// --- An entry is given another frame while others ask.

template <AgeMode kMode>
struct MoveAgainstAsker : rl::test_suite<MoveAgainstAsker<kMode>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  UnwatchedHeap heap;
  Guest<> guest;

  void before() {
    guest.MakeWithTable();
    (void)guest.MapNew(0, kA, Rights::kRead);
  }
  void thread(unsigned index) {
    if (index == 0) {
      guest.Take(TakeWay::kEntries);
      (void)guest.MapNew(0, kB, Rights::kReadWrite);
      return;
    }
    for (const Gfn gfn : {kA, kB}) {
      (void)guest.Ask(gfn, AgeAction::kTestAndClear, kMode);
    }
  }
  void after() {
    Require(guest.IsThere(0), "a fault that nobody hinders maps the page");
    guest.Check(2);
    guest.Clear();
  }
};

// --- Entries are taken away while a CPU writes by them.

template <TakeWay kWay>
struct TakeAgainstCpu : rl::test_suite<TakeAgainstCpu<kWay>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(5);

  UnwatchedHeap heap;
  Guest<ShadowCpu> guest;
  bool handed_on = false;

  void before() {
    guest.MakeWithTable();
    (void)guest.MapNew(0, kA, Rights::kRead);
    // Cold and clean, so that the CPU marks it.
    (void)guest.Ask(kA, AgeAction::kTestAndClear, AgeMode::kSlow);
  }
  void thread(unsigned index) {
    if (index == 0) {
      guest.Take(kWay, [this] { handed_on = true; });
      return;
    }
    for (int i = 0; i < 2; ++i) {
      guest.flusher().Walk(
          guest.arena(), guest.root(), 0, AccessKind::kWrite,
          [this](Word before) {
            guest.Accessed(kA, before, Rights::kReadWrite);
          },
          [this](Word) {
            Require(!handed_on, "no page is used after it was handed on");
          });
    }
  }
  void after() {
    guest.Check(kWay == TakeWay::kLeaves ? 2 : 1);
    guest.Clear();
  }
};

// --- A frame becomes a table, while a fault maps it by an entry that is empty,
// or by one more, or gives a leaf that is there the right to write, perhaps
// once more: then it was written, and the frame a table, before.

enum class Becoming { kMapped, kMappedOnceMore, kGrantedMore, kGrantedAgain };

template <Becoming kBecoming>
struct BuilderAgainstFault : rl::test_suite<BuilderAgainstFault<kBecoming>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(5);

  UnwatchedHeap heap;
  Guest<> guest;

  void before() {
    guest.MakeWithTable();
    if (kBecoming == Becoming::kMappedOnceMore) {
      (void)guest.MapNew(1, kA, Rights::kReadWrite);
    } else if (kBecoming == Becoming::kGrantedMore) {
      (void)guest.MapNew(0, kA, Rights::kRead, Rights::kReadExecute);
    } else if (kBecoming == Becoming::kGrantedAgain) {
      (void)guest.MapNew(0, kA, Rights::kReadWrite);
      (void)guest.Build(kPageRole);
      guest.Take(TakeWay::kUnused);
    }
  }
  void thread(unsigned index) {
    if (index == 0) {
      Require(guest.Build(kPageRole) != nullptr, "there is memory for a table");
      guest.RequireReadOnly(kA);
    } else if (kBecoming == Becoming::kGrantedMore ||
               kBecoming == Becoming::kGrantedAgain) {
      // Accessed before, and so once in all.
      if (guest.Map(0, kA, Rights::kReadWrite) ==
          Guest<>::MapOutcome::kMapped) {
        guest.Accessed(kA, GuardedFormat::kAccessed, Rights::kReadWrite);
      }
    } else {
      const auto leaf = guest.MapNew(0, kA, Rights::kReadWrite);
      Require(leaf == Guest<>::MapOutcome::kMapped ||
                  leaf == Guest<>::MapOutcome::kProtected,
              "a fault that nobody hinders maps the page");
    }
  }
  void after() {
    guest.Check(3);
    guest.Clear();
  }
};

// --- The same beside two faults of one entry.

struct BuilderAgainstTwoFaults : rl::test_suite<BuilderAgainstTwoFaults, 3> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  UnwatchedHeap heap;
  Guest<> guest;

  void before() {
    guest.MakeWithTable();
    (void)guest.MapNew(0, kA, Rights::kRead, Rights::kReadExecute);
  }
  void thread(unsigned index) {
    if (index == 0) {
      (void)guest.Build(kPageRole);
      guest.RequireReadOnly(kA);
    } else if (guest.Map(0, kA, Rights::kReadWrite) ==
               Guest<>::MapOutcome::kMapped) {
      guest.Accessed(kA, GuardedFormat::kAccessed, Rights::kReadWrite);
    }
  }
  void after() {
    guest.Check(3);
    guest.Clear();
  }
};

// --- The same beside one fault, while others ask.

struct BuildMapAndAsk : rl::test_suite<BuildMapAndAsk, 3> {
  static constexpr Plan kPlan = UpToPreemptions(2);

  UnwatchedHeap heap;
  Guest<> guest;

  void before() {
    guest.MakeWithTable();
    (void)guest.MapNew(1, kA, Rights::kReadWrite);
  }
  void thread(unsigned index) {
    if (index == 0) {
      (void)guest.Build(kPageRole);
      guest.RequireReadOnly(kA);
    } else if (index == 1) {
      (void)guest.MapNew(0, kA, Rights::kReadWrite);
    } else {
      (void)guest.Ask(kA, AgeAction::kTestAndClear, AgeMode::kFastOnly);
    }
  }
  void after() {
    guest.Check(3);
    guest.Clear();
  }
};

// --- The same while a CPU writes there.

struct BuilderAgainstCpu : rl::test_suite<BuilderAgainstCpu, 2> {
  static constexpr Plan kPlan = UpToPreemptions(5);

  UnwatchedHeap heap;
  Guest<ShadowCpu> guest;
  bool built = false;

  void before() {
    guest.MakeWithTable();
    (void)guest.MapNew(0, kA, Rights::kRead);
    (void)guest.Map(0, kA, Rights::kReadWrite);
    WalkToWrite();
  }
  void thread(unsigned index) {
    if (index == 0) {
      Require(guest.Build(kPageRole) != nullptr, "there is memory for a table");
      built = true;
    } else {
      guest.Use(0, AccessKind::kWrite);
      WalkToWrite();
    }
  }
  void WalkToWrite() {
    guest.flusher().Walk(
        guest.arena(), guest.root(), 0, AccessKind::kRead,
        [this](Word before) { guest.Accessed(kA, before, Rights::kRead); },
        [this](Word seen) {
          Require(!built || !IsWritable(seen),
                  "nobody writes to a table that is read");
        });
  }
  void after() {
    guest.RequireReadOnly(kA);
    guest.Check(3);
    guest.Clear();
  }
};

// --- Two faults need one table: both find it missing, and map its pages, or
// one page.

template <unsigned kSecond>
struct TwoBuilders : rl::test_suite<TwoBuilders<kSecond>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(5);

  UnwatchedHeap heap;
  Guest<> guest;

  void before() { guest.Make(); }
  void thread(unsigned index) {
    guest.LinkTable();
    const unsigned at = index == 0 ? 0 : kSecond;
    const auto leaf = guest.MapNew(at, at == 0 ? kB : kA, Rights::kRead);
    Require(leaf == Guest<>::MapOutcome::kMapped || kSecond == 0,
            "a fault that nobody hinders maps the page");
    if (leaf != Guest<>::MapOutcome::kRetry) {
      Require(guest.IsThere(at),
              "who is told that a page is mapped finds it so");
    }
  }
  void after() {
    Require(guest.IsThere(0) && guest.IsThere(kSecond),
            "one of two faults maps the page");
    guest.Check(2);
    guest.Clear();
  }
};

// --- There is no room in the rmap, while a CPU looks.

struct FullAgainstCpu : rl::test_suite<FullAgainstCpu, 2> {
  static constexpr Plan kPlan = UpToPreemptions(5);

  UnwatchedHeap heap;
  Guest<NoFlush, 1> guest;

  void before() {
    guest.MakeWithTable();
    (void)guest.MapNew(1, kA, Rights::kRead);
  }
  void thread(unsigned index) {
    if (index == 0) {
      const auto full = Guest<NoFlush, 1>::MapOutcome::kListFull;
      Require(guest.MapNew(0, kA, Rights::kRead) == full,
              "who finds no room says so");
    } else {
      Require(!guest.IsThere(0), "nothing is mapped that no rmap has");
    }
  }
  void after() {
    guest.Check(2);
    guest.Clear();
  }
};

// --- Two faults of a large page of the guest's, which the root maps: its parts
// are of one table.

struct TwoFaultsOfParts : rl::test_suite<TwoFaultsOfParts, 2> {
  static constexpr Plan kPlan = UpToPreemptions(5);

  UnwatchedHeap heap;
  Guest<> guest;
  Table<GuardedFormat>* parts[2] = {};

  void before() { guest.Make(); }
  void thread(unsigned index) {
    parts[index] = guest->PartsOf(guest.root(), Level{2});
    Require(parts[index] != nullptr, "there is memory for a table");
    (void)guest.MapNew(index, Gfn{index}, Rights::kRead);
  }
  void after() {
    Require(parts[0] == parts[1], "two faults build one table");
    Require(guest.IsThere(0) && guest.IsThere(1),
            "one of two faults maps the page");
    Require(guest->size() == 2, "each table is there once");
    guest.Take(TakeWay::kTables);
    guest.Check(1);
    guest.Clear();
  }
};

// --- Faults, and who takes away what they built, as the MMU lock lets them,
// while others ask.

template <TakeWay kWay>
struct FaultTakeAndAsk : rl::test_suite<FaultTakeAndAsk<kWay>, 3> {
  // Three, and longer than the others.
  static constexpr Plan kPlan = UpToPreemptions(2);

  UnwatchedHeap heap;
  Guest<> guest;
  HostedMutex mmu_lock;

  void before() {
    guest.MakeWithTable();
    (void)guest.MapNew(0, kA, Rights::kRead);
  }
  void thread(unsigned index) {
    if (index == 0) {
      mmu_lock.ReaderLock();
      guest.LinkTable();
      (void)guest.MapNew(1, kB, Rights::kRead);
      mmu_lock.ReaderUnlock();
    } else if (index == 1) {
      const HostedMutexLock hold(&mmu_lock);
      guest.Take(kWay);
    } else {
      for (const Gfn gfn : {kA, kB}) {
        (void)guest.Ask(gfn, AgeAction::kTestAndClear, AgeMode::kFastOnly);
      }
    }
  }
  void after() {
    const bool table = guest->tables().Find(kTableRole) != nullptr;
    guest.Check(table ? 2 : 1);
    guest.Clear();
  }
};

// --- A fault builds a table and comes to nothing; another needs the same.

struct UnusedAgainstFault : rl::test_suite<UnusedAgainstFault, 2> {
  static constexpr Plan kPlan = UpToPreemptions(5);

  UnwatchedHeap heap;
  Guest<> guest;
  HostedMutex mmu_lock;

  void before() { guest.Make(); }
  void thread(unsigned index) {
    if (index == 0) {
      mmu_lock.ReaderLock();
      (void)guest.Build(kTableRole);
      mmu_lock.ReaderUnlock();
      const HostedMutexLock hold(&mmu_lock);
      guest.Take(TakeWay::kUnused);
    } else {
      mmu_lock.ReaderLock();
      guest.LinkTable();
      (void)guest.MapNew(0, kA, Rights::kRead);
      mmu_lock.ReaderUnlock();
    }
  }
  void after() {
    Require(guest.IsThere(0), "what is linked is not unused");
    guest.Check(2);
    guest.Clear();
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_SHADOW_TREE_SEARCHES_H_
