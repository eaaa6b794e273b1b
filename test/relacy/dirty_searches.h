// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of dirty.h: dirty bits and write-protection against CPUs that write,
// against aging, and against changes of the structure.

#ifndef PTAGE_TEST_RELACY_DIRTY_SEARCHES_H_
#define PTAGE_TEST_RELACY_DIRTY_SEARCHES_H_

#include <cstdint>

#include "ptage/dirty.h"
#include "ptage/harvest.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/frees_at_the_end.h"
#include "test/relacy/guarded_format.h"
#include "test/relacy/search.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

// The format with a right to write, and a bit for software.
struct LoggedFormat : GuardedFormat {
  static constexpr Word kMayWrite = 1u << 2;
};
static_assert(WriteProtectable<LoggedFormat>);

// A tree of two frames, who wrote them and who was told.
class LoggedTree {
 public:
  using Format = LoggedFormat;
  using Arena = TableArena<Format, BlockingLock>;
  using Pages = PageTable<Format, Arena, FreesAtTheEnd, NoFlush, BlockingLock>;
  using Walk = LocklessWalk<FreesAtTheEnd>;

  static constexpr GfnRange kBothFrames{kA, Gfn{2}};

  // Alone: small leaves of both frames, or a large one.
  void MapSmall(Word bits) {
    for (const Gfn gfn : {kA, kB}) Map(gfn, Level{1}, bits);
  }
  void MapLarge(Word bits) { Map(kA, Level{2}, bits); }

  // A CPU's write, if the entry allows it. The page is written as the entry
  // becomes dirty.
  void Write(Gfn gfn) {
    Walk walk(reclaimer_);
    const FoundEntry<Format> found = pages_.Lookup(walk, gfn);
    if (!CanBeWritten(found.word)) return;
    if (AccessSeen(*found.entry, found.word, AccessKind::kWrite)) {
      page(gfn).written = true;
      page(gfn).accessed |= !IsYoung<Format>(found.word);
    }
  }
  // The fault that finds the page protected, and the write after it.
  void WriteFault(Gfn gfn) {
    {
      Walk walk(reclaimer_);
      const FoundEntry<Format> found = pages_.Lookup(walk, gfn);
      if (!IsProtected<Format>(found.word)) return;
      (void)GrantWrite<Format>(*found.entry, found.word,
                               [&] { WriteOnce(page(gfn).log, 1u, kRelease); });
    }
    Write(gfn);
  }
  void ClearDirtyOfBoth() {
    Collect([this](const Walk& walk, const AgeOutput& output) {
      (void)ClearDirty(pages_, walk, flusher_, kBothFrames, output);
    });
  }
  void ProtectBoth() {
    Collect([this](const Walk& walk, const AgeOutput& output) {
      (void)WriteProtect(pages_, walk, flusher_, kBothFrames, output);
    });
  }
  // Protects kA if the log says that it was written.
  void ProtectIfLogged() {
    if (!TryCmpxchg(page(kA).log, 1u, 0u, kAcquire)) return;
    Walk walk(reclaimer_);
    (void)WriteProtect(pages_, walk, flusher_, GfnRange{kA, kB}, AgeOutput{});
  }
  void LiftFromBoth() {
    Walk walk(reclaimer_);
    (void)LiftProtection(pages_, walk, kBothFrames);
  }
  void AgeBoth() {
    Walk walk(reclaimer_);
    std::uint64_t young = 0;
    (void)Harvest(pages_, walk, kBothFrames, AgeAction::kTestAndClear,
                  AgeMode::kFastOnly,
                  AgeOutput{.begin = kA, .young = Bitmap(&young, 2)});
    for (const Gfn gfn : {kA, kB}) {
      page(gfn).reported |= (young >> gfn.value & 1) != 0;
    }
  }
  void Zap(Gfn gfn) {
    Walk walk(reclaimer_);
    (void)pages_.Zap(walk, GfnRange{gfn, gfn + 1}, ZapFlush::kEach,
                     [this](const TakenLeaf<Format>& leaf) {
                       Page& taken = page(leaf.gfn);
                       taken.told |= IsDirty<Format>(leaf.word);
                       taken.reported |= IsYoung<Format>(leaf.word);
                     });
  }
  StructureOutcome Split() {
    Walk walk(reclaimer_);
    return pages_.Split(walk, kA, Level{2});
  }
  StructureOutcome Promote() {
    Walk walk(reclaimer_);
    return pages_.Promote(walk, kA, Level{2});
  }

  // Alone, or where nothing can change what is asked.
  [[nodiscard]] Word Find(Gfn gfn) {
    Walk walk(reclaimer_);
    return pages_.Lookup(walk, gfn).word;
  }
  [[nodiscard]] bool Logged(Gfn gfn) {
    return ReadOnce(page(gfn).log, kRelaxed) != 0;
  }
  [[nodiscard]] bool Told(Gfn gfn) { return page(gfn).told; }
  static bool CanBeWritten(Word word) {
    return LoggedFormat::IsPresent(word) &&
           Allows(LoggedFormat::RightsOf(word), Rights::kWrite);
  }
  void CheckNothingIsLost() {
    for (const Gfn gfn : {kA, kB}) {
      const Word left = Find(gfn);
      Require(!IsFrozen<Format>(left), "nothing stays frozen");
      Require(!page(gfn).written || page(gfn).told || IsDirty<Format>(left),
              "no write is lost");
      Require(
          !page(gfn).accessed || page(gfn).reported || IsYoung<Format>(left),
          "no access is lost");
    }
  }
  void CheckNothingIsWritable() {
    for (const Gfn gfn : {kA, kB}) {
      Require(!CanBeWritten(Find(gfn)),
              "nothing is writable that was protected");
    }
  }

 private:
  // Of one frame.
  struct Page {
    Page() : log(0) {}
    bool written = false;
    bool told = false;
    bool accessed = false;
    bool reported = false;
    Cell<std::uint32_t> log;
  };

  Page& page(Gfn gfn) { return page_[gfn.value]; }
  void Map(Gfn gfn, Level level, Word bits) {
    Walk walk(reclaimer_);
    const Word leaf =
        LoggedFormat::MakeLeaf(Backing(gfn), level, Rights::kAll) | bits;
    Require(pages_.Map(walk, gfn, level, leaf) == MapOutcome::kDone,
            "a map that nobody hinders is done");
    for (const Gfn each : {kA, kB}) {
      if (level == Level{1} && each != gfn) continue;
      page(each).written |= IsDirty<Format>(leaf);
      page(each).accessed |= IsYoung<Format>(leaf);
    }
  }
  template <class Call>
  void Collect(Call call) {
    Walk walk(reclaimer_);
    std::uint64_t dirty = 0;
    call(walk, AgeOutput{.begin = kA, .young = Bitmap(&dirty, 2)});
    for (const Gfn gfn : {kA, kB}) {
      page(gfn).told |= (dirty >> gfn.value & 1) != 0;
    }
  }

  Table<Format> tables_[3];
  TableInfo<Format> infos_[3];
  Arena arena_{tables_, infos_, nullptr, 3, Pfn{0x100}};
  FreesAtTheEnd reclaimer_;
  NoFlush flusher_;
  Pages pages_{arena_, reclaimer_, flusher_, TableKind::kDirect};
  Page page_[2];
};

// --- Against aging and a CPU that writes.

enum class Collecting { kClear, kProtect };

template <Collecting kHow>
void CollectBoth(LoggedTree& tree) {
  if (kHow == Collecting::kClear) {
    tree.ClearDirtyOfBoth();
  } else {
    tree.ProtectBoth();
  }
}

template <Collecting kHow>
struct CollectorAgainstAger : rl::test_suite<CollectorAgainstAger<kHow>, 3> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  LoggedTree tree;

  void before() { tree.MapSmall(TinyFormat::kAccessed); }
  void thread(unsigned index) {
    if (index == 0) {
      CollectBoth<kHow>(tree);
    } else if (index == 1) {
      tree.AgeBoth();
    } else {
      tree.Write(kA);
    }
  }
  void after() {
    tree.CheckNothingIsLost();
    if (kHow == Collecting::kProtect) tree.CheckNothingIsWritable();
  }
};

// --- Against a split or a promotion.

enum class Reshaping { kSplit, kPromote };

// What was written before is told of, whatever becomes of the leaf; and once
// it is protected, it is.
template <Collecting kHow, Reshaping kShape>
struct CollectorAgainstChange
    : rl::test_suite<CollectorAgainstChange<kHow, kShape>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  LoggedTree tree;

  void before() {
    if (kShape == Reshaping::kSplit) {
      tree.MapLarge(TinyFormat::kDirty);
    } else {
      tree.MapSmall(TinyFormat::kDirty);
    }
  }
  void thread(unsigned index) {
    if (index == 0) {
      CollectBoth<kHow>(tree);
      for (const Gfn gfn : {kA, kB}) {
        Require(tree.Told(gfn), "what was written before is told of");
      }
    } else if (kShape == Reshaping::kSplit) {
      (void)tree.Split();
    } else {
      (void)tree.Promote();
    }
  }
  void after() {
    tree.CheckNothingIsLost();
    if (kHow == Collecting::kProtect) tree.CheckNothingIsWritable();
  }
};

// --- Against a zap, and a fault that grants.

struct ProtectionAgainstZap : rl::test_suite<ProtectionAgainstZap, 3> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  LoggedTree tree;

  void before() { tree.MapSmall(0); }
  void thread(unsigned index) {
    if (index == 0) {
      tree.ProtectBoth();
    } else if (index == 1) {
      tree.Zap(kA);
    } else {
      tree.Write(kA);
    }
  }
  void after() {
    tree.CheckNothingIsLost();
    tree.CheckNothingIsWritable();
  }
};

struct FaultAgainstCollector : rl::test_suite<FaultAgainstCollector, 3> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  LoggedTree tree;

  void before() {
    tree.MapSmall(0);
    tree.ProtectBoth();
  }
  void thread(unsigned index) {
    if (index == 0) {
      tree.ProtectBoth();
    } else if (index == 1) {
      tree.WriteFault(kA);
    } else {
      tree.AgeBoth();
    }
  }
  void after() { tree.CheckNothingIsLost(); }
};

// A collector that knows nothing but the log.
struct FaultAgainstLog : rl::test_suite<FaultAgainstLog, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  LoggedTree tree;

  void before() {
    tree.MapSmall(0);
    tree.ProtectBoth();
  }
  void thread(unsigned index) {
    if (index == 0) {
      tree.ProtectIfLogged();
      tree.ProtectIfLogged();
    } else {
      tree.WriteFault(kA);
      tree.WriteFault(kA);
    }
  }
  void after() {
    Require(!LoggedTree::CanBeWritten(tree.Find(kA)) || tree.Logged(kA),
            "what can be written is on the log");
  }
};

// Others who change the entry: whoever is told that it was granted can write,
// and a mapping that is gone stays so.
enum class Meanwhile { kAging, kZap };

template <Meanwhile kOther>
struct FaultAgainst : rl::test_suite<FaultAgainst<kOther>, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  LoggedTree tree;

  void before() {
    tree.MapSmall(TinyFormat::kAccessed);
    tree.ProtectBoth();
  }
  void thread(unsigned index) {
    if (index == 1) {
      tree.WriteFault(kA);
    } else if (kOther == Meanwhile::kAging) {
      tree.AgeBoth();
    } else {
      tree.Zap(kA);
    }
  }
  void after() {
    const Word left = tree.Find(kA);
    tree.CheckNothingIsLost();
    if (kOther == Meanwhile::kZap) {
      Require(left == TinyFormat::kEmpty, "what was zapped does not come back");
    } else {
      Require(!tree.Logged(kA) || LoggedTree::CanBeWritten(left),
              "what was granted can be written");
    }
  }
};

// Who ends protection, and a fault meanwhile.
struct LiftingAgainstFault : rl::test_suite<LiftingAgainstFault, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  LoggedTree tree;

  void before() {
    tree.MapSmall(0);
    tree.ProtectBoth();
  }
  void thread(unsigned index) {
    if (index == 0) {
      tree.LiftFromBoth();
    } else {
      tree.WriteFault(kA);
    }
  }
  void after() {
    tree.CheckNothingIsLost();
    for (const Gfn gfn : {kA, kB}) {
      Require(LoggedTree::CanBeWritten(tree.Find(gfn)),
              "what was lifted can be written");
    }
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_DIRTY_SEARCHES_H_
