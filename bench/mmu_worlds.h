// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Guests whose pages are faulted in and taken away by several threads: a VM of
// the library, its direct MMU alone, and, to compare with, a page table under
// one lock.
//
// Contract
//   Any threads may call Fault, each for pages of its own, Zap and Age; Reset
//   and constructors are for a thread that is alone.

#ifndef PTAGE_BENCH_MMU_WORLDS_H_
#define PTAGE_BENCH_MMU_WORLDS_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "bench/contender.h"
#include "bench/guest.h"
#include "bench/huge_array.h"
#include "ptage/lock.h"
#include "ptage/memory.h"
#include "ptage/mmu.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/rmap/grace_pool.h"
#include "ptage/rmap/lockless.h"
#include "ptage/rmap/lockless_list.h"
#include "ptage/spte/ept.h"
#include "ptage/tdp_mmu.h"
#include "ptage/types.h"
#include "ptage/vm.h"

namespace ptage::bench {

// Host frames are names; nothing is read or written through them.
inline constexpr Pfn kHostFrames{1u << 28};

// Tables of a tree of `pages`, and of an empty one.
[[nodiscard]] inline std::size_t TablesOf(std::uint64_t pages) {
  std::uint64_t tables = Ept::kLevels;
  for (std::uint64_t level = pages; level > 1; level /= kEntriesPerTable<Ept>) {
    tables += level / kEntriesPerTable<Ept> + 1;
  }
  return static_cast<std::size_t>(tables);
}

// A VM of one memslot. Pages are 4 KiB: guest frames (kTdp), or frames of L2
// (kNested), which stand for frames of L1 as guest.h says.
class VmWorld {
 public:
  using Rmaps = Lockless<Ept, Memory, GracePool<RmapChunks<Ept>, Domain>>;
  using WorldVm = Vm<Ept, Memory, Domain, NoFlush, Rmaps>;

  VmWorld(GuestKind kind, std::uint64_t pages)
      : kind_(kind),
        frames_(kind, pages),
        memory_(2 * TablesOf(pages)),
        firsts_(std::make_unique<First[]>(ChunksFor(pages))),
        pool_(domain_, firsts_.get(), ChunksFor(pages), nullptr, 0),
        rmaps_(memory_.arena(), pool_),
        vm_({memory_.arena(), domain_, flusher_, rmaps_, mmu_lock_}, Level{1}) {
    if (!vm_.valid() || !vm_.AddMemslot(All(), kHostFrames, Rights::kAll).ok())
      std::abort();
  }

  void Fault(std::uint64_t page) {
    const FaultOutcome outcome =
        kind_ == GuestKind::kTdp
            ? vm_.Fault(Gfn{page}, Rights::kWrite)
            : vm_.NestedFault(
                  NestedGfn{page}, Rights::kWrite, [this](NestedGfn nested) {
                    return std::optional<Gfn>(frames_.FrameOf(nested.value));
                  });
    // The structure lock may be another's for a moment.
    if (outcome == FaultOutcome::kRetry) return Fault(page);
    if (outcome != FaultOutcome::kMapped) std::abort();
  }
  void Zap(std::uint64_t page) {
    const Gfn frame = frames_.FrameOf(page);
    (void)vm_.Invalidate(GfnRange{frame, frame + 1}, [](const ZappedLeaf&) {});
  }
  void Age() { (void)vm_.TestClearYoungFastOnly(All()); }
  // Reads what Age reads, and changes nothing.
  void Read() { (void)vm_.TestYoung(All()); }
  // Takes every page away; of direct tables, the tables too.
  void Reset() {
    const auto drop = [](const ZappedLeaf&) {};
    if (kind_ == GuestKind::kTdp) {
      const LocklessWalk walk(domain_);
      (void)vm_.tdp().RemoveTables(walk, Everything(), drop);
    } else {
      (void)vm_.Invalidate(All(), drop);
    }
    domain_.Synchronize();
    while (pool_.stats().waiting != 0) domain_.Synchronize();
  }

 private:
  using First = RmapChunks<Ept>::First;

  // A list for each second name, and as many that wait for a grace period.
  static std::size_t ChunksFor(std::uint64_t pages) {
    return static_cast<std::size_t>(2 * (pages / kAliasEvery + 1));
  }
  [[nodiscard]] GfnRange All() const {
    return GfnRange{Gfn{0}, Gfn{frames_.pages()}};
  }
  static GfnRange Everything() {
    return GfnRange{Gfn{0}, Gfn{WorldVm::Tdp::Tree::kFrames}};
  }

  const GuestKind kind_;
  const FrameMap frames_;
  TableBlock memory_;
  Domain domain_;
  NoFlush flusher_;
  alignas(64) absl::Mutex mmu_lock_;
  std::unique_ptr<First[]> firsts_;
  GracePool<RmapChunks<Ept>, Domain> pool_;
  alignas(64) Rmaps rmaps_;
  WorldVm vm_;
};

// The direct MMU by itself: whoever faults knows that the frame stays his.
class TdpWorld {
 public:
  explicit TdpWorld(std::uint64_t pages)
      : memory_(TablesOf(pages)), tdp_(memory_.arena(), domain_, flusher_) {
    if (!tdp_.valid()) std::abort();
  }

  void Fault(std::uint64_t page) {
    const LocklessWalk walk(domain_);
    FaultOutcome outcome = FaultOutcome::kRetry;
    while (outcome == FaultOutcome::kRetry) {
      outcome = tdp_.Fault(walk, Gfn{page}, kHostFrames + page, Level{1},
                           Rights::kAll, Rights::kWrite);
    }
    if (outcome != FaultOutcome::kMapped) std::abort();
  }
  void Reset() {
    {
      const LocklessWalk walk(domain_);
      (void)tdp_.RemoveTables(walk, GfnRange{Gfn{0}, Gfn{Tdp::Tree::kFrames}},
                              [](const ZappedLeaf&) {});
    }
    domain_.Synchronize();
  }

 private:
  using Tdp = TdpMmu<Ept, Memory, Domain, NoFlush>;

  TableBlock memory_;
  Domain domain_;
  NoFlush flusher_;
  Tdp tdp_;
};

// A page table as one would write it that has a lock: everything under `L`,
// plain loads and stores, and tables from an array. It does what a fault must:
// looks whether the frame is the guest's, whether it is being taken away, and,
// for a nested guest, keeps which entries map a frame.
template <BasicLock L>
class LockedPageTable {
 public:
  LockedPageTable(GuestKind kind, std::uint64_t pages)
      : kind_(kind),
        frames_(kind, pages),
        nodes_(TablesOf(pages)),
        first_(kind == GuestKind::kNested ? pages : 0) {
    Clear();
  }

  void Fault(std::uint64_t page) {
    const std::uint64_t frame = frames_.FrameOf(page).value;
    if (frame >= frames_.pages()) std::abort();
    const ScopedLock<L> hold(lock_);
    if (invalidating_ != 0 && invalid_.Contains(Gfn{frame})) std::abort();
    std::uint64_t* const entry = &EntryOf(page);
    if (*entry != 0) std::abort();
    *entry = Ept::MakeLeaf(kHostFrames + frame, Level{1}, Rights::kAll) |
             Ept::kAccessed | Ept::kDirty;
    if (kind_ == GuestKind::kTdp) return;
    if (first_[frame] == nullptr) {
      first_[frame] = entry;
    } else {
      more_[frame].push_back(entry);
    }
  }
  // As VmWorld: the tables of a nested guest stay.
  void Reset() {
    if (kind_ == GuestKind::kTdp) return Clear();
    for (std::uint64_t page = 0; page < frames_.pages(); ++page) {
      EntryOf(page) = 0;
      first_[page] = nullptr;
    }
    more_.clear();
  }

 private:
  struct alignas(4096) Node {
    std::uint64_t entries[kEntriesPerTable<Ept>];
  };

  void Clear() {
    used_ = 0;
    (void)NewNode();
  }
  std::size_t NewNode() {
    if (used_ == nodes_.size()) std::abort();
    std::memset(&nodes_[used_], 0, sizeof(Node));
    return used_++;
  }
  std::uint64_t& EntryOf(std::uint64_t page) {
    std::size_t node = 0;
    for (int level = Ept::kLevels; level > 1; --level) {
      std::uint64_t& inner =
          nodes_[node].entries[page / FramesAt<Ept>(Level{level}) %
                               kEntriesPerTable<Ept>];
      if (inner == 0) inner = Ept::MakeInner(Pfn{NewNode()});
      node = static_cast<std::size_t>(Ept::FrameOf(inner).value);
    }
    return nodes_[node].entries[page % kEntriesPerTable<Ept>];
  }

  const GuestKind kind_;
  const FrameMap frames_;
  alignas(64) L lock_;
  alignas(64) unsigned invalidating_ = 0;
  GfnRange invalid_;
  HugeArray<Node> nodes_;
  std::size_t used_ = 0;
  // The reverse map.
  std::vector<std::uint64_t*> first_;
  std::unordered_map<std::uint64_t, std::vector<std::uint64_t*>> more_;
};

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_MMU_WORLDS_H_
