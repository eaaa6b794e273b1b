// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of sim/vcpu.h and sim/vcpu_set.h: a vCPU that comes and goes against
// those who zap what it uses.

#ifndef PTAGE_TEST_RELACY_VCPU_SEARCHES_H_
#define PTAGE_TEST_RELACY_VCPU_SEARCHES_H_

#include <cstdint>

#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/sim/tlb.h"
#include "ptage/sim/translation_cache.h"
#include "ptage/sim/vcpu.h"
#include "ptage/sim/vcpu_set.h"
#include "ptage/sim/walk_cache.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/search.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

inline constexpr Pfn kPages[2] = {Pfn{2}, Pfn{4}};

// What is asked of a flush: a search is refuted by the first violation that it
// meets, and these would hide each other.
enum class Asked {
  kNoUse,     // nothing is used after it
  kData,      // what was done before is visible after it
  kPosition,  // the vCPU stands behind what it did before
};

// Two pages, each mapped by one entry of the root, and one vCPU.
template <Asked kAsked>
class OneVcpu {
 public:
  // Tables 0 (the root) and 1; the frame of table i is kTables + i.
  static constexpr Pfn kTables{0x100};

  class Memory {
   public:
    Table<TinyFormat>* Allocate(TableKind) { return nullptr; }
    void Free(Table<TinyFormat>*) {}
    TableInfo<TinyFormat>& InfoOf(Table<TinyFormat>*) { return info_; }
    Table<TinyFormat>* TableOf(const Entry&) { return nullptr; }
    Pfn FrameOf(Table<TinyFormat>*) { return Pfn{}; }
    Table<TinyFormat>* TableAt(Pfn pfn) {
      return pfn == kTables + 1 ? &tables[1] : nullptr;
    }
    Table<TinyFormat> tables[2];

   private:
    TableInfo<TinyFormat> info_;
  };

  using Cache = sim::SplitCache<TinyFormat, sim::Tlb<TinyFormat, 1, 2>,
                                sim::WalkCache<TinyFormat, 1>>;
  using Vcpu = sim::Vcpu<TinyFormat, Memory, Cache>;

  OneVcpu() : cpus_(1), vcpu_(cpus_, 0, memory_, memory_.tables[0]) {}

  // Maps both pages by leaves of the root.
  void MapInRoot() {
    for (unsigned i = 0; i < 2; ++i) {
      WriteOnce(root(i),
                TinyFormat::MakeLeaf(kPages[i], Level{2}, Rights::kAll),
                kRelaxed);
      WriteOnce(data_[i], 0u, kRelaxed);
    }
  }
  // Maps page 0 by a leaf of table 1, below the root's entry 0.
  void MapInTable() {
    WriteOnce(root(0), TinyFormat::MakeInner(kTables + 1), kRelaxed);
    WriteOnce(root(1), TinyFormat::kEmpty, kRelaxed);
    WriteOnce(memory_.tables[1].entries[0], Leaf(kPages[0]), kRelaxed);
    WriteOnce(memory_.tables[1].entries[1], TinyFormat::kEmpty, kRelaxed);
    WriteOnce(data_[0], 0u, kRelaxed);
  }

  Entry& root(unsigned i) { return memory_.tables[0].entries[i]; }
  Entry& below(unsigned i) { return memory_.tables[1].entries[i]; }
  Vcpu& vcpu() { return vcpu_; }
  sim::VcpuSet& cpus() { return cpus_; }

  // The vCPU writes to a page, if it can. Precondition: it runs.
  void Write(unsigned page) {
    const sim::Translation found =
        vcpu_.Translate(Gfn{2 * page}, Rights::kWrite);
    if (!found) return;
    Require(found.pfn == kPages[page], "a frame leads to its page");
    WriteOnce(data_[page], written_[page] + 1, kRelaxed);
    ++written_[page];
    Require(!gone_[page], "no page is used after its zap");
    last_use_[page] = vcpu_.stats().translations;
  }
  // The page's entry is frozen.
  void Flush(unsigned page) {
    cpus_.Flush(GfnRange{Gfn{2 * page}, Gfn{2 * page + 2}});
    gone_[page] = true;
  }
  // The page was taken from the tables, `leaf` having mapped it, and flushed.
  void Taken(unsigned page, Word leaf) {
    Require(written_[page] == 0 || IsDirty<TinyFormat>(leaf),
            "no write is lost");
    if constexpr (kAsked == Asked::kData) {
      Require(ReadOnce(data_[page], kRelaxed) == written_[page],
              "what was written is visible after the flush");
    } else if constexpr (kAsked == Asked::kPosition) {
      Require(cpus_.PositionOf(0) >= last_use_[page],
              "a position is after each use of what was flushed");
    }
  }
  // Zaps page `page` of MapInRoot.
  void ZapInRoot(unsigned page) {
    Word leaf = TinyFormat::kEmpty;
    const ZapOutcome zapped = Zap<TinyFormat>(
        root(page), [&] { Flush(page); }, [&](Word taken) { leaf = taken; });
    Require(zapped == ZapOutcome::kZapped, "what is mapped is zapped");
    Taken(page, leaf);
  }

 private:
  Memory memory_;
  sim::VcpuSet cpus_;
  Vcpu vcpu_;
  // What the pages hold: the number of the last write.
  Cell<std::uint32_t> data_[2];
  std::uint32_t written_[2] = {};
  std::uint64_t last_use_[2] = {};
  bool gone_[2] = {};
};

// A vCPU that runs throughout: poll and acknowledgement.
template <Asked kAsked>
struct AtWork : rl::test_suite<AtWork<kAsked>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(6);

  OneVcpu<kAsked> machine;

  void before() { machine.MapInRoot(); }
  void thread(unsigned index) {
    if (index == 0) {
      const sim::Running running(machine.vcpu());
      machine.Write(0);
      machine.Write(0);
    } else {
      machine.ZapInRoot(0);
    }
  }
};

// A vCPU that leaves and comes back, as in a fault, with what it has cached.
template <Asked kAsked>
struct OutAndBack : rl::test_suite<OutAndBack<kAsked>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(5);

  OneVcpu<kAsked> machine;

  void before() { machine.MapInRoot(); }
  void thread(unsigned index) {
    if (index == 0) {
      for (int i = 0; i < 2; ++i) {
        const sim::Running running(machine.vcpu());
        machine.Write(0);
      }
    } else {
      machine.ZapInRoot(0);
    }
  }
};

// One flush after the other, for two pages.
struct TwoFlushes : rl::test_suite<TwoFlushes, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  OneVcpu<Asked::kNoUse> machine;

  void before() { machine.MapInRoot(); }
  void thread(unsigned index) {
    if (index == 0) {
      for (int i = 0; i < 2; ++i) {
        const sim::Running running(machine.vcpu());
        machine.Write(1);
        machine.Write(0);
      }
    } else {
      machine.ZapInRoot(0);
      machine.ZapInRoot(1);
    }
  }
};

// Two flushers at once: an answer to one must not pass for one to the other.
struct TwoFlushers : rl::test_suite<TwoFlushers, 3> {
  static constexpr Plan kPlan = UpToPreemptions(2);

  OneVcpu<Asked::kNoUse> machine;

  void before() { machine.MapInRoot(); }
  void thread(unsigned index) {
    if (index == 0) {
      for (int i = 0; i < 2; ++i) {
        const sim::Running running(machine.vcpu());
        machine.Write(0);
        machine.Write(1);
      }
    } else {
      machine.ZapInRoot(index - 1);
    }
  }
};

// A table that is removed while the vCPU has cached the entry above it, and
// then serves another tree.
struct TableReused : rl::test_suite<TableReused, 2> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  OneVcpu<Asked::kNoUse> machine;

  void before() { machine.MapInTable(); }
  void thread(unsigned index) {
    if (index == 0) {
      const sim::Running running(machine.vcpu());
      machine.Write(0);
      // Not mapped: a fault that has to read the table.
      const sim::Translation other =
          machine.vcpu().Translate(Gfn{1}, Rights::kRead);
      Require(!other, "no table is walked after it was freed");
      machine.Write(0);
    } else {
      const Word inner = Take(machine.root(0));
      const Word leaf = Take(machine.below(0));
      Take(machine.below(1));
      machine.Flush(0);
      machine.Taken(0, leaf);
      Empty<TinyFormat>(machine.root(0));
      Require(TinyFormat::FrameOf(inner) == OneVcpu<Asked::kNoUse>::kTables + 1,
              "an inner entry changes in its accessed bit only");
      for (unsigned i = 0; i < 2; ++i) {
        Publish<TinyFormat>(machine.below(i), Leaf(Pfn{0xBAD}));
      }
    }
  }
  static Word Take(Entry& entry) {
    for (;;) {
      const Word seen = ReadOnce(entry, kRelaxed);
      if (Freeze<TinyFormat>(entry, seen)) return seen;
    }
  }
};

// A table that is built while the vCPU walks, in memory that served another
// tree.
struct TableBuilt : rl::test_suite<TableBuilt, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  OneVcpu<Asked::kNoUse> machine;

  void before() {
    machine.MapInTable();
    WriteOnce(machine.root(0), TinyFormat::kEmpty, kRelaxed);
    // With nothing left to mark, or the compare-and-swap would notice.
    WriteOnce(machine.below(0), YoungLeaf(Pfn{0xBAD}) | TinyFormat::kDirty,
              kRelaxed);
  }
  void thread(unsigned index) {
    if (index == 0) {
      const sim::Running running(machine.vcpu());
      machine.Write(0);
      machine.Write(0);
    } else {
      WriteOnce(machine.below(0), Leaf(kPages[0]), kRelaxed);
      Publish<TinyFormat>(
          machine.root(0),
          TinyFormat::MakeInner(OneVcpu<Asked::kNoUse>::kTables + 1));
    }
  }
};

// A vCPU that marks an entry while it is taken, and put back or emptied.
struct MarkAgainstFreeze : rl::test_suite<MarkAgainstFreeze, 2> {
  static constexpr Plan kPlan = UpToPreemptions(6);

  OneVcpu<Asked::kNoUse> machine;

  void before() { machine.MapInRoot(); }
  void thread(unsigned index) {
    if (index == 0) {
      const sim::Running running(machine.vcpu());
      machine.Write(0);
    } else {
      const Word seen = ReadOnce(machine.root(0), kRelaxed);
      if (Freeze<TinyFormat>(machine.root(0), seen)) {
        Restore<TinyFormat>(machine.root(0), seen);
      }
      machine.ZapInRoot(0);
    }
  }
  void after() {
    Require(ReadOnce(machine.root(0), kRelaxed) == TinyFormat::kEmpty,
            "nothing is set in an entry that is not present");
  }
};

// A vCPU that was asked before it looks answers then, not when it leaves.
enum class Looks { kPolls, kTranslates };

template <Looks kLooks>
struct AskedBefore : rl::test_suite<AskedBefore<kLooks>, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  OneVcpu<Asked::kNoUse> machine;

  void before() { machine.MapInRoot(); }
  void thread(unsigned index) {
    if (index != 0) return;
    const sim::Running running(machine.vcpu());
    machine.Write(0);
    machine.cpus().LineOf(0).Request();
    if (kLooks == Looks::kPolls) {
      machine.vcpu().Poll();
    } else {
      machine.Write(0);
    }
    Require(machine.vcpu().stats().flushes == 1,
            "a vCPU that looks answers what was asked before");
  }
};

// An inner entry that is taken and put back while the vCPU walks through it.
struct InnerPutBack : rl::test_suite<InnerPutBack, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  OneVcpu<Asked::kNoUse> machine;
  bool used = false;

  void before() {
    machine.MapInTable();
    WriteOnce(machine.root(0), Inner(), kRelaxed);
  }
  void thread(unsigned index) {
    if (index == 0) {
      const sim::Running running(machine.vcpu());
      machine.Write(0);
      used = machine.vcpu().stats().translations != 0;
    } else if (Freeze<TinyFormat>(machine.root(0), Inner())) {
      Restore<TinyFormat>(machine.root(0), Inner());
    }
  }
  void after() {
    Require(!used || ReadOnce(machine.root(0), kRelaxed) != Inner(),
            "an inner entry that led to a page is accessed");
  }
  static Word Inner() {
    return TinyFormat::MakeInner(OneVcpu<Asked::kNoUse>::kTables + 1) &
           ~TinyFormat::kAccessed;
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_VCPU_SEARCHES_H_
