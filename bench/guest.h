// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The guest of the contended benchmark: a VM of the library, mapped by 4 KiB
// pages, with the locks of one contender at a time around its faults and zaps.
//
// Frames. Pages 0 … pages − 1 are what the vCPU names: guest frames (tdp), or
// frames of L2 (nested). An rmap is keyed by the frame of L1, which a nested
// page stands for by a stated function: blocks of 512 are permuted, as L1 backs
// its guest by large pages from anywhere; and the last page of each 256 is a
// second name for the first one's frame, so that some rmaps hold two entries.
// 512 more frames, in a memslot of their own, take faults that have nothing to
// do with what is aged.
//
// Contract
//   Use is called while no other thread uses the guest. Else any thread may
//   call any function, but for one at a time in AgeBlock and what belongs to
//   it.

#ifndef PTAGE_BENCH_GUEST_H_
#define PTAGE_BENCH_GUEST_H_

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "bench/contender.h"
#include "bench/locks.h"
#include "bench/rmaps.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"
#include "ptage/vm.h"
#include "ptage/walk.h"

namespace ptage::bench {

using Format = Ept;
using Memory = TableArena<Format>;
using Domain = EpochDomain<>;

// Frames of a block, the unit of aging: those of a table.
inline constexpr std::uint64_t kBlockFrames = kEntriesPerTable<Format>;
// One nested page in so many is a second name.
inline constexpr std::uint64_t kAliasEvery = 256;
// Frames that are never aged.
inline constexpr std::uint64_t kUnrelatedFrames = 512;

// Which frame a page stands for.
class FrameMap {
 public:
  // Precondition: `pages` is a multiple of kBlockFrames, and not 0.
  FrameMap(GuestKind kind, std::uint64_t pages);

  [[nodiscard]] std::uint64_t pages() const { return pages_; }
  // Precondition: page < pages() + kUnrelatedFrames.
  [[nodiscard]] Gfn FrameOf(std::uint64_t page) const;

 private:
  const GuestKind kind_;
  const std::uint64_t pages_;
  std::uint64_t stride_ = 1;  // in blocks, coprime to their number
};

// The tables' memory, in huge pages where the OS has them.
class TableBlock {
 public:
  explicit TableBlock(std::size_t tables);

  [[nodiscard]] Memory& arena() { return arena_; }

 private:
  struct Free {
    void operator()(void* block) const { std::free(block); }
  };
  static Table<Format>* Allocate(std::size_t tables);

  std::unique_ptr<Table<Format>, Free> tables_;
  std::unique_ptr<TableInfo<Format>[]> infos_;
  std::unique_ptr<Cell<std::uint64_t>[]> gfns_;
  Memory arena_;
};

template <Flusher Fl>
class Guest {
 public:
  using Rmaps = SwitchedRmaps<Format, Memory, Domain>;
  using GuestVm = Vm<Format, Memory, Domain, Fl, Rmaps>;
  using Walk = typename GuestVm::Walk;

  // `flusher` outlives the guest. Precondition as FrameMap's.
  Guest(GuestKind kind, std::uint64_t pages, Fl& flusher);

  [[nodiscard]] GuestKind kind() const { return kind_; }
  [[nodiscard]] std::uint64_t pages() const { return frames_.pages(); }
  [[nodiscard]] const FrameMap& frames() const { return frames_; }
  [[nodiscard]] Memory& memory() { return memory_.arena(); }
  // What the vCPU walks.
  [[nodiscard]] Table<Format>* root();

  // Faults and zaps take the locks of `contender` from here on.
  void Use(Contender contender);

  // The access that the vCPU's tables did not allow.
  [[nodiscard]] FaultOutcome Fault(std::uint64_t page, Rights access);
  // One that has nothing to do with what is aged: of a page that is mapped.
  void FaultElsewhere(std::uint64_t number);

  // Maps every page. Unavailable: a fault came to nothing.
  absl::Status Populate();

  // Whether `page` is mapped, by a look that takes no lock.
  [[nodiscard]] bool Present(std::uint64_t page);
  // Unmaps every page that Populate mapped, but for the unrelated ones.
  void EvictAll() {
    for (std::uint64_t page = 0; page < pages(); ++page) {
      Evict(page, [](const ZappedLeaf&) {});
    }
  }
  // Takes the frame of `page` away. Returns the entries zapped.
  std::uint64_t Evict(std::uint64_t page, ZapSink sink);

  // Entries that map a frame of the aged range.
  [[nodiscard]] std::uint64_t Mapped() const {
    return ReadOnce(mapped_, kRelaxed);
  }
  // Those of them that share their rmap with another. Precondition: no other
  // thread uses the guest.
  [[nodiscard]] std::uint64_t MappedInLists();

  // Blocks of a sweep.
  [[nodiscard]] std::uint64_t Blocks() const { return pages() / kBlockFrames; }
  // The lock that the contender holds for a whole sweep, if it has one.
  void BeginSweep();
  void EndSweep();
  // Ages the frames of block `number` as the contender does, inside a sweep.
  // Returns the entries of a block that was left out as a whole.
  std::uint64_t AgeBlock(std::uint64_t number, const AgeOutput& output);
  // Entries for each question that was left unanswered one by one: both of a
  // list, as FrameMap makes no longer ones.
  [[nodiscard]] std::uint64_t EntriesUnanswered() const {
    return kind_ == GuestKind::kNested &&
                   traits_.rmap_lock == RmapLock::kSingleLockless
               ? 2
               : 1;
  }

  // Makes every entry young, or none; no other thread uses the guest.
  void SetAllYoung();
  void ClearAllYoung();

 private:
  static std::size_t TablesFor(std::uint64_t pages);
  GfnRange Aged() const { return GfnRange{Gfn{0}, Gfn{pages()}}; }
  FaultOutcome FaultUnlocked(std::uint64_t page, Rights access);
  void AgeBare(GfnRange range, const AgeOutput& output);
  // Entries that map a frame of `range`, by a look that takes no lock.
  std::uint64_t CountEntries(GfnRange range);
  // Calls `visit(RmapHead&)` for each frame of `range`.
  template <class Visit>
  void ForEachHead(GfnRange range, Visit&& visit);
  template <class Visit>
  void VisitLeaves(Visit&& visit);
  TicketLock& TableLockOf(Gfn frame) {
    return table_locks_[frame.value / kBlockFrames];
  }

  const GuestKind kind_;
  const FrameMap frames_;
  TableBlock memory_;
  Domain domain_;
  alignas(64) absl::Mutex mmu_lock_;
  alignas(64) Rmaps rmaps_;
  GuestVm vm_;
  // What faults and zaps write lies apart from what the ager reads.
  alignas(64) FairSharedLock vm_lock_;
  alignas(64) Cell<std::uint64_t> mapped_;
  alignas(64) std::vector<TicketLock> table_locks_;
  Contender contender_ = Contender::kNone;
  ContenderTraits traits_ = TraitsOf(Contender::kNone);
};

// ---------------------------------------------------------------------------

inline FrameMap::FrameMap(GuestKind kind, std::uint64_t pages)
    : kind_(kind), pages_(pages) {
  PTAGE_ASSERT(pages != 0 && pages % kBlockFrames == 0);
  if (kind == GuestKind::kTdp) return;
  const std::uint64_t blocks = pages / kBlockFrames;
  // About the golden section of the blocks, so that neighbours go far apart.
  stride_ = blocks * 618 / 1000 | 1;
  while (std::gcd(stride_, blocks) != 1) stride_ += 2;
}

inline Gfn FrameMap::FrameOf(std::uint64_t page) const {
  if (kind_ == GuestKind::kTdp || page >= pages_) return Gfn{page};
  if (page % kAliasEvery == kAliasEvery - 1) page -= kAliasEvery - 1;
  const std::uint64_t blocks = pages_ / kBlockFrames;
  const std::uint64_t block = page / kBlockFrames * stride_ % blocks;
  return Gfn{block * kBlockFrames + page % kBlockFrames};
}

inline Table<Format>* TableBlock::Allocate(std::size_t tables) {
  constexpr std::size_t kHuge = std::size_t{2} << 20;
  const std::size_t bytes =
      (tables * sizeof(Table<Format>) + kHuge - 1) / kHuge * kHuge;
  void* const block = std::aligned_alloc(kHuge, bytes);
  if (block == nullptr) std::abort();
  // A wish; small pages do as well.
  (void)madvise(block, bytes, MADV_HUGEPAGE);
  auto* const first = static_cast<Table<Format>*>(block);
  std::uninitialized_default_construct_n(first, tables);
  return first;
}

inline TableBlock::TableBlock(std::size_t tables)
    : tables_(Allocate(tables)),
      infos_(std::make_unique<TableInfo<Format>[]>(tables)),
      gfns_(std::make_unique<Cell<std::uint64_t>[]>(tables *
                                                    kEntriesPerTable<Format>)),
      arena_(tables_.get(), infos_.get(), gfns_.get(), tables, Pfn{1u << 20}) {}

template <Flusher Fl>
std::size_t Guest<Fl>::TablesFor(std::uint64_t pages) {
  // Two trees, each with its leaves' tables and those above.
  std::uint64_t level = pages + kUnrelatedFrames;
  std::uint64_t tables = 0;
  for (int i = 0; i < Format::kLevels; ++i) {
    level = level / kBlockFrames + 1;
    tables += level;
  }
  return static_cast<std::size_t>(2 * tables);
}

template <Flusher Fl>
Guest<Fl>::Guest(GuestKind kind, std::uint64_t pages, Fl& flusher)
    : kind_(kind),
      frames_(kind, pages),
      memory_(TablesFor(pages)),
      rmaps_(memory_.arena(), domain_, mmu_lock_, pages / kAliasEvery),
      vm_({memory_.arena(), domain_, flusher, rmaps_, mmu_lock_}, Level{1}),
      mapped_(0),
      table_locks_(pages / kBlockFrames + kUnrelatedFrames / kBlockFrames) {
  PTAGE_ASSERT(vm_.valid());
  // Host frames are names; nothing is read or written through them.
  constexpr Pfn kHostBase{1u << 28};
  const GfnRange unrelated{Aged().end, Aged().end + kUnrelatedFrames};
  for (const GfnRange range : {Aged(), unrelated}) {
    const absl::Status added =
        vm_.AddMemslot(range, kHostBase + range.begin.value, Rights::kAll);
    PTAGE_ASSERT(added.ok());
  }
}

template <Flusher Fl>
Table<Format>* Guest<Fl>::root() {
  return kind_ == GuestKind::kTdp ? vm_.tdp().tree().root()
                                  : vm_.shadow().tree().root();
}

template <Flusher Fl>
void Guest<Fl>::Use(Contender contender) {
  PTAGE_ASSERT(Exists(kind_, contender));
  contender_ = contender;
  traits_ = TraitsOf(contender);
  if (!rmaps_.Select(traits_.rmap_lock, traits_.clear_by)) return;
  ForEachHead(Aged(), [&](RmapHead& head) { rmaps_.Convert(head); });
}

template <Flusher Fl>
FaultOutcome Guest<Fl>::FaultUnlocked(std::uint64_t page, Rights access) {
  const FaultOutcome outcome =
      kind_ == GuestKind::kTdp
          ? vm_.Fault(Gfn{page}, access)
          : vm_.NestedFault(NestedGfn{page}, access, [this](NestedGfn nested) {
              return std::optional<Gfn>(frames_.FrameOf(nested.value));
            });
  if (outcome == FaultOutcome::kMapped && page < pages()) {
    FetchAdd(mapped_, std::uint64_t{1}, kRelaxed);
  }
  return outcome;
}

template <Flusher Fl>
FaultOutcome Guest<Fl>::Fault(std::uint64_t page, Rights access) {
  FaultOutcome outcome = FaultOutcome::kRetry;
  switch (traits_.fault_lock) {
    case FaultLock::kMmuLock:
      outcome = FaultUnlocked(page, access);
      break;
    case FaultLock::kVmLock:
      if (kind_ == GuestKind::kTdp) {
        vm_lock_.LockShared();
        outcome = FaultUnlocked(page, access);
        vm_lock_.UnlockShared();
      } else {
        vm_lock_.Lock();
        outcome = FaultUnlocked(page, access);
        vm_lock_.Unlock();
      }
      break;
    case FaultLock::kTableLock: {
      TicketLock& lock = TableLockOf(frames_.FrameOf(page));
      lock.Lock();
      outcome = FaultUnlocked(page, access);
      lock.Unlock();
      break;
    }
  }
  return outcome;
}

template <Flusher Fl>
void Guest<Fl>::FaultElsewhere(std::uint64_t number) {
  (void)Fault(pages() + number % kUnrelatedFrames, Rights::kRead);
}

template <Flusher Fl>
absl::Status Guest<Fl>::Populate() {
  for (std::uint64_t page = 0; page < pages() + kUnrelatedFrames; ++page) {
    FaultOutcome outcome = FaultOutcome::kRetry;
    while (outcome == FaultOutcome::kRetry)
      outcome = Fault(page, Rights::kRead);
    if (outcome != FaultOutcome::kMapped &&
        outcome != FaultOutcome::kSpurious) {
      return absl::UnavailableError(absl::StrCat("page ", page,
                                                 " cannot be mapped: outcome ",
                                                 static_cast<int>(outcome)));
    }
  }
  return absl::OkStatus();
}

template <Flusher Fl>
bool Guest<Fl>::Present(std::uint64_t page) {
  const Walk walk(domain_, WalkEntry::kWait);
  const auto& tree =
      kind_ == GuestKind::kTdp ? vm_.tdp().tree() : vm_.shadow().tree();
  return Format::IsPresent(tree.Lookup(walk, Gfn{page}).word);
}

template <Flusher Fl>
std::uint64_t Guest<Fl>::Evict(std::uint64_t page, ZapSink sink) {
  const Gfn frame = frames_.FrameOf(page);
  const GfnRange range{frame, frame + 1};
  std::uint64_t zapped = 0;
  switch (traits_.fault_lock) {
    case FaultLock::kMmuLock:
      zapped = vm_.Invalidate(range, sink);
      break;
    case FaultLock::kVmLock:
      vm_lock_.Lock();
      zapped = vm_.Invalidate(range, sink);
      vm_lock_.Unlock();
      break;
    case FaultLock::kTableLock: {
      TicketLock& lock = TableLockOf(frame);
      lock.Lock();
      zapped = vm_.Invalidate(range, sink);
      lock.Unlock();
      break;
    }
  }
  FetchAdd(mapped_, -zapped, kRelaxed);
  return zapped;
}

template <Flusher Fl>
std::uint64_t Guest<Fl>::MappedInLists() {
  if (kind_ == GuestKind::kTdp) return 0;
  std::uint64_t entries = 0;
  ForEachHead(Aged(), [&](RmapHead& head) {
    const std::uint32_t count = rmaps_.Count(head);
    if (count > 1) entries += count;
  });
  return entries;
}

template <Flusher Fl>
void Guest<Fl>::BeginSweep() {
  if (contender_ == Contender::kSlow) vm_lock_.Lock();
}

template <Flusher Fl>
void Guest<Fl>::EndSweep() {
  if (contender_ == Contender::kSlow) vm_lock_.Unlock();
}

template <Flusher Fl>
std::uint64_t Guest<Fl>::AgeBlock(std::uint64_t number,
                                  const AgeOutput& output) {
  const Gfn begin{number * kBlockFrames};
  const GfnRange range{begin, begin + kBlockFrames};
  switch (contender_) {
    case Contender::kNone:
      return 0;
    case Contender::kBareClear:
      if (kind_ == GuestKind::kNested) break;
      AgeBare(range, output);
      return 0;
    case Contender::kTicket: {
      TicketLock& lock = TableLockOf(begin);
      lock.Lock();
      vm_.Age(range, traits_.action, traits_.mode, output);
      lock.Unlock();
      return 0;
    }
    case Contender::kTrylock:
      if (!vm_lock_.TryLock()) {
        output.SetUnknown(range);
        return CountEntries(range);
      }
      vm_.Age(range, traits_.action, traits_.mode, output);
      vm_lock_.Unlock();
      return 0;
    default:
      break;
  }
  vm_.Age(range, traits_.action, traits_.mode, output);
  return 0;
}

template <Flusher Fl>
void Guest<Fl>::AgeBare(GfnRange range, const AgeOutput& output) {
  const Walk walk(domain_, WalkEntry::kTry);
  if (!walk) return output.SetUnknown(range);
  AgeCounts counts;
  WalkAll(vm_.tdp().tree(), walk, range,
          [&](const VisitedEntry<Format>& visited) {
            const SpteAge age = AgeByPlainStore<Format>(visited.entry);
            const AgeResult answer = ToResult(age, AgeMode::kFastOnly);
            counts += CountsOf(age);
            if (answer.young) output.SetYoung(visited.asked);
            if (!answer.complete) output.SetUnknown(visited.asked);
          });
  output.Count(counts);
}

template <Flusher Fl>
std::uint64_t Guest<Fl>::CountEntries(GfnRange range) {
  std::uint64_t entries = 0;
  if (kind_ == GuestKind::kTdp) {
    const Walk walk(domain_, WalkEntry::kWait);
    WalkAll(vm_.tdp().tree(), walk, range,
            [&](const VisitedEntry<Format>&) { ++entries; });
    return entries;
  }
  ForEachHead(range,
              [&](RmapHead& head) { entries += Rmaps::PeekCount(head); });
  return entries;
}

template <Flusher Fl>
template <class Visit>
void Guest<Fl>::ForEachHead(GfnRange range, Visit&& visit) {
  const Walk walk(domain_, WalkEntry::kWait);
  vm_.memslots().ForEach(walk, range, [&](auto& slot, GfnRange part) {
    for (Gfn gfn = part.begin; gfn < part.end; gfn = gfn + 1) {
      visit(slot.HeadOf(gfn, Level{1}));
    }
  });
}

template <Flusher Fl>
template <class Visit>
void Guest<Fl>::VisitLeaves(Visit&& visit) {
  const Walk walk(domain_, WalkEntry::kWait);
  const auto visit_tree = [&](const auto& tree) {
    WalkAll(tree, walk, Aged(), [&](const VisitedEntry<Format>& visited) {
      visit(visited.entry, visited.seen);
    });
  };
  if (kind_ == GuestKind::kTdp) {
    visit_tree(vm_.tdp().tree());
  } else {
    visit_tree(vm_.shadow().tree());
  }
}

template <Flusher Fl>
void Guest<Fl>::SetAllYoung() {
  VisitLeaves([](SpteCell<Format>& entry, Format::Word seen) {
    if (IsYoung<Format>(seen)) return;
    const bool set =
        TryCmpxchg(entry, seen, seen | Format::kAccessed, kRelaxed);
    PTAGE_ASSERT(set);
  });
}

template <Flusher Fl>
void Guest<Fl>::ClearAllYoung() {
  VisitLeaves([](SpteCell<Format>& entry, Format::Word) {
    TestClearYoungFastOnly<Format>(entry);
  });
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_GUEST_H_
