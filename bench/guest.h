// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The guest of the contended benchmark: a VM of the library, mapped by 4 KiB
// pages, with the locks of one contender at a time around its faults and zaps.
//
// Frames. Pages 0 … pages − 1 are what the vCPU names: guest frames (tdp),
// frames of L2 (nested), or virtual pages (shadow). An rmap is keyed by the
// frame of L1, which a page stands for by a stated function.
//   nested: blocks of 512 are permuted, as L1 backs its guest by large pages
//     from anywhere; and the last page of each 256 is a second name for the
//     first one's frame, so that some rmaps hold two entries.
//   shadow: the guest keeps no second stage, so that each virtual page is an
//     entry. The pages of its programs lie in runs of 16 from anywhere, and one
//     in eight is a second program's name for the frame of another; besides,
//     the guest's kernel names every frame in order, in its direct map, and one
//     reference in eight goes through that. So of eight frames' rmaps one holds
//     three entries, six hold two, and one holds one.
// 512 more frames, in a memslot of their own, take faults that have nothing to
// do with what is aged.
//
// With large leaves, one block in eight (of frames) is mapped by one leaf of
// 2 MiB, or, while it is split, by 512 small ones; nothing in it is a second
// name. A split or promotion of nested tables is one that L1 makes in its own,
// and tells of.
//
// Contract
//   Use is called while no other thread uses the guest. Else any thread may
//   call any function, but for one at a time in AgeBlock and what belongs to
//   it.

#ifndef PTAGE_BENCH_GUEST_H_
#define PTAGE_BENCH_GUEST_H_

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
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
#include "ptage/fault_lock.h"
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
// Consecutive virtual pages of a shadow guest that stand for consecutive
// frames, and one page in so many that is a second program's.
inline constexpr std::uint64_t kRunPages = 16;
inline constexpr std::uint64_t kSharedEvery = 8;
// One group of references in so many goes through the direct map.
inline constexpr std::uint64_t kDirectEvery = 8;
// Frames that are never aged.
inline constexpr std::uint64_t kUnrelatedFrames = 512;
// One block in so many is mapped by a large leaf, where there are any.
inline constexpr std::uint64_t kLargeEvery = 8;

inline constexpr Level kLargeLevel{2};
// Tables that became large leaves, and wait until nobody walks them.
inline constexpr std::uint64_t kTablesWaiting = 256;

// What a guest is mapped by.
enum class Leaves { kSmall, kSomeLarge };

// Which frame a page stands for, and what else names it.
class FrameMap {
 public:
  // Preconditions: `pages` is a multiple of kBlockFrames, and not 0; a shadow
  // guest has small leaves.
  FrameMap(GuestKind kind, std::uint64_t pages, Leaves leaves = Leaves::kSmall);

  [[nodiscard]] std::uint64_t pages() const { return pages_; }
  // Pages with an entry of their own that may map a frame that is aged: pages
  // 0 … pages() − 1, and where there is one, those of the direct map.
  [[nodiscard]] std::uint64_t Names() const {
    return HasDirectMap() ? 2 * pages_ : pages_;
  }
  // The one of that number.
  [[nodiscard]] std::uint64_t NameAt(std::uint64_t number) const {
    return number < pages_ ? number : number + kUnrelatedFrames;
  }
  // Behind all pages: those, and kUnrelatedFrames that begin with page pages().
  [[nodiscard]] std::uint64_t End() const { return Names() + kUnrelatedFrames; }
  // Precondition: page < End().
  [[nodiscard]] Gfn FrameOf(std::uint64_t page) const;
  // How many pages stand for `frame`, which is aged.
  [[nodiscard]] std::uint64_t NamesOf(Gfn frame) const;

  // Whether the vCPU names pages by the direct map in its group of references
  // `number`. Only in a shadow guest.
  [[nodiscard]] bool ThroughDirectMap(std::uint64_t number) const {
    return HasDirectMap() && number % kDirectEvery == kDirectEvery - 1;
  }
  // The page of the direct map for the frame of `page`.
  [[nodiscard]] std::uint64_t DirectNameOf(std::uint64_t page) const {
    return pages_ + kUnrelatedFrames + FrameOf(page).value;
  }

  // Whether `frame` is in a block that a large leaf may map.
  [[nodiscard]] bool IsLarge(Gfn frame) const {
    return leaves_ == Leaves::kSomeLarge &&
           frame.value / kBlockFrames % kLargeEvery == 0;
  }
  // The first pages of these blocks.
  [[nodiscard]] const std::vector<std::uint64_t>& LargePages() const {
    return large_pages_;
  }

 private:
  [[nodiscard]] bool HasDirectMap() const {
    return kind_ == GuestKind::kShadow;
  }
  // The page moved by whole pieces of `size`, from one end to the other.
  [[nodiscard]] std::uint64_t Permuted(std::uint64_t page,
                                       std::uint64_t size) const {
    return page / size * stride_ % (pages_ / size) * size + page % size;
  }

  const GuestKind kind_;
  const std::uint64_t pages_;
  const Leaves leaves_;
  std::uint64_t stride_ = 1;  // in pieces, coprime to their number
  std::vector<std::uint64_t> large_pages_;
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

  // `flusher` outlives the guest. Preconditions as FrameMap's.
  Guest(GuestKind kind, std::uint64_t pages, Fl& flusher,
        Leaves leaves = Leaves::kSmall);

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

  // Maps every page, by a large leaf where there may be one. Unavailable: a
  // fault came to nothing.
  absl::Status Populate();

  // Whether `page` is mapped, by a look that takes no lock.
  [[nodiscard]] bool Present(std::uint64_t page);
  // Whether the evictor may take it: it is mapped, and no large leaf ever maps
  // it.
  [[nodiscard]] bool Evictable(std::uint64_t page) {
    return !frames_.IsLarge(frames_.FrameOf(page)) && Present(page);
  }
  // Unmaps every page that Populate mapped and the evictor may take.
  void EvictAll() {
    for (std::uint64_t i = 0; i < frames_.Names(); ++i) {
      const std::uint64_t page = frames_.NameAt(i);
      if (Evictable(page)) Evict(page, [](const ZappedLeaf&) {});
    }
  }
  // Takes the frame of `page` away. Returns the entries zapped.
  std::uint64_t Evict(std::uint64_t page, ZapSink sink);
  // Splits what maps the large block `number`, counted in LargePages(), or, if
  // it is split, makes it large. Precondition: Populate was called.
  void Resize(std::size_t number, ZapSink sink);
  // Whether it is large.
  [[nodiscard]] bool IsLargeNow(std::size_t number);

  // Entries that map a frame of the aged range.
  [[nodiscard]] std::uint64_t Mapped() const {
    return ReadOnce(mapped_, kRelaxed);
  }
  // Those of them that share their rmap with another. Precondition: no other
  // thread uses the guest.
  [[nodiscard]] std::uint64_t MappedInLists();

  // Bytes of rmaps of the aged range: heads for pages of every size, and lists
  // in use, as `fast_only` keeps them. Precondition: as above.
  [[nodiscard]] std::uint64_t RmapBytes();

  // Blocks of a sweep.
  [[nodiscard]] std::uint64_t Blocks() const { return pages() / kBlockFrames; }
  // The lock that the contender holds for a whole sweep, if it has one.
  void BeginSweep();
  void EndSweep();
  // Ages the frames of block `number` as the contender does, inside a sweep.
  // Returns the entries left out that `output` does not count: those of a block
  // that was left out as a whole, and those after the first in a list that was.
  // A list counts as what a full guest has there.
  std::uint64_t AgeBlock(std::uint64_t number, const AgeOutput& output);

  // Makes every entry young, or none; no other thread uses the guest.
  void SetAllYoung();
  void ClearAllYoung();

 private:
  static std::size_t TablesFor(const FrameMap& frames);
  static std::size_t MostLists(const FrameMap& frames);
  GfnRange Aged() const { return GfnRange{Gfn{0}, Gfn{pages()}}; }
  FaultOutcome FaultUnlocked(std::uint64_t page, Rights access);
  // What L1 says of `page`, with a large page where it has one.
  [[nodiscard]] NestedMapping MappingOf(std::uint64_t page) const;
  void ResizeUnlocked(std::size_t number, ZapSink sink);
  void ResizeNested(std::size_t number, ZapSink sink);
  // Calls `change()` with what a zap of `frame` has to hold.
  template <class Change>
  void WithZapLock(Gfn frame, Change&& change);
  void AgeBare(GfnRange range, const AgeOutput& output);
  // Entries that map a frame of `range`, by a look that takes no lock.
  std::uint64_t CountEntries(GfnRange range);
  // Those after the first of each list of `range` that was left out.
  std::uint64_t CountBehindFirst(GfnRange range, const AgeOutput& output) const;
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
  // Of the large blocks, by number: whether L1's page is large.
  std::vector<Cell<std::uint32_t>> large_;
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

inline FrameMap::FrameMap(GuestKind kind, std::uint64_t pages, Leaves leaves)
    : kind_(kind), pages_(pages), leaves_(leaves) {
  PTAGE_ASSERT(pages != 0 && pages % kBlockFrames == 0);
  PTAGE_ASSERT(kind != GuestKind::kShadow || leaves == Leaves::kSmall);
  if (kind != GuestKind::kTdp) {
    const std::uint64_t pieces =
        pages / (kind == GuestKind::kNested ? kBlockFrames : kRunPages);
    // About the golden section of them, so that neighbours go far apart.
    stride_ = pieces * 618 / 1000 | 1;
    while (std::gcd(stride_, pieces) != 1) stride_ += 2;
  }
  for (std::uint64_t page = 0; page < pages; page += kBlockFrames) {
    if (IsLarge(FrameOf(page))) large_pages_.push_back(page);
  }
}

inline Gfn FrameMap::FrameOf(std::uint64_t page) const {
  if (page >= pages_ + kUnrelatedFrames) {
    return Gfn{page - pages_ - kUnrelatedFrames};
  }
  if (kind_ == GuestKind::kTdp || page >= pages_) return Gfn{page};
  if (kind_ == GuestKind::kShadow) {
    if (page % kSharedEvery == kSharedEvery - 1) page -= kSharedEvery - 1;
    return Gfn{Permuted(page, kRunPages)};
  }
  const Gfn frame{Permuted(page, kBlockFrames)};
  const bool second = page % kAliasEvery == kAliasEvery - 1;
  return second && !IsLarge(frame) ? Gfn{frame.value - (kAliasEvery - 1)}
                                   : frame;
}

inline std::uint64_t FrameMap::NamesOf(Gfn frame) const {
  // Where a page is a second name, the frame with its place has one less.
  const auto names = [&](std::uint64_t every) -> std::uint64_t {
    const std::uint64_t place = frame.value % every;
    return place == 0 ? 2 : place == every - 1 ? 0 : 1;
  };
  if (kind_ == GuestKind::kShadow) return 1 + names(kSharedEvery);
  if (kind_ == GuestKind::kTdp || IsLarge(frame)) return 1;
  return names(kAliasEvery);
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
std::size_t Guest<Fl>::TablesFor(const FrameMap& frames) {
  // Two trees, each with its leaves' tables and those above. What one does not
  // use is there for tables that wait until nobody walks them.
  std::uint64_t level = frames.End();
  std::uint64_t tables = 0;
  for (int i = 0; i < Format::kLevels; ++i) {
    level = level / kBlockFrames + 1;
    tables += level;
  }
  const std::uint64_t waiting =
      frames.LargePages().empty() ? 0 : kTablesWaiting;
  return static_cast<std::size_t>(2 * tables + waiting);
}

template <Flusher Fl>
std::size_t Guest<Fl>::MostLists(const FrameMap& frames) {
  std::size_t lists = 0;
  for (Gfn frame{0}; frame.value < frames.pages(); frame = frame + 1) {
    if (frames.NamesOf(frame) > 1) ++lists;
  }
  return lists;
}

template <Flusher Fl>
Guest<Fl>::Guest(GuestKind kind, std::uint64_t pages, Fl& flusher,
                 Leaves leaves)
    : kind_(kind),
      frames_(kind, pages, leaves),
      large_(frames_.LargePages().size()),
      memory_(TablesFor(frames_)),
      rmaps_(memory_.arena(), domain_, mmu_lock_, MostLists(frames_)),
      vm_({memory_.arena(), domain_, flusher, rmaps_, mmu_lock_}, Level{1}),
      mapped_(0),
      table_locks_(pages / kBlockFrames + kUnrelatedFrames / kBlockFrames) {
  PTAGE_ASSERT(vm_.valid());
  for (Cell<std::uint32_t>& large : large_) WriteOnce(large, 1u, kRelaxed);
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
              return std::optional<NestedMapping>(MappingOf(nested.value));
            });
  if (outcome == FaultOutcome::kMapped &&
      frames_.FrameOf(page).value < pages()) {
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
NestedMapping Guest<Fl>::MappingOf(std::uint64_t page) const {
  const Gfn frame = frames_.FrameOf(page);
  if (page >= pages() || !frames_.IsLarge(frame)) return frame;
  const std::vector<std::uint64_t>& blocks = frames_.LargePages();
  const auto number = static_cast<std::size_t>(
      std::lower_bound(blocks.begin(), blocks.end(),
                       page / kBlockFrames * kBlockFrames) -
      blocks.begin());
  const bool large = ReadOnce(large_[number], kRelaxed) != 0;
  return NestedMapping(frame, Rights::kAll, large ? kLargeLevel : Level{1});
}

template <Flusher Fl>
bool Guest<Fl>::IsLargeNow(std::size_t number) {
  if (kind_ != GuestKind::kTdp) return ReadOnce(large_[number], kRelaxed) != 0;
  const Walk walk(domain_, WalkEntry::kWait);
  const Gfn first{frames_.LargePages()[number]};
  return vm_.tdp().tree().Lookup(walk, first).level == kLargeLevel;
}

template <Flusher Fl>
void Guest<Fl>::ResizeNested(std::size_t number, ZapSink sink) {
  const NestedGfn first{frames_.LargePages()[number]};
  const NestedRange range{first, first + kBlockFrames};
  const bool becomes_large = !IsLargeNow(number);
  const std::uint64_t zapped = vm_.InvalidateNested(range, sink, [&] {
    WriteOnce(large_[number], becomes_large ? 1u : 0u, kRelaxed);
    if (!becomes_large) return;
    // Faults retry until this is over: the table is empty.
    const Walk walk(domain_, WalkEntry::kWait);
    const ptage::FaultLock::Exclusive hold(vm_.fault_lock());
    vm_.shadow().RemoveTables(walk, range, sink);
  });
  FetchAdd(mapped_, -zapped, kRelaxed);
}

template <Flusher Fl>
void Guest<Fl>::ResizeUnlocked(std::size_t number, ZapSink sink) {
  if (kind_ != GuestKind::kTdp) return ResizeNested(number, sink);
  const Gfn first{frames_.LargePages()[number]};
  const GfnRange range{first, first + kBlockFrames};
  const bool large = IsLargeNow(number);
  const Walk walk(domain_, WalkEntry::kWait);
  const auto resized = large ? vm_.tdp().SplitLarge(walk, range, Level{1})
                             : vm_.tdp().PromoteSmall(walk, range, kLargeLevel);
  const std::uint64_t more = resized.done * (kBlockFrames - 1);
  FetchAdd(mapped_, large ? more : -more, kRelaxed);
}

template <Flusher Fl>
template <class Change>
void Guest<Fl>::WithZapLock(Gfn frame, Change&& change) {
  switch (traits_.fault_lock) {
    case FaultLock::kMmuLock:
      change();
      break;
    case FaultLock::kVmLock:
      vm_lock_.Lock();
      change();
      vm_lock_.Unlock();
      break;
    case FaultLock::kTableLock: {
      TicketLock& lock = TableLockOf(frame);
      lock.Lock();
      change();
      lock.Unlock();
      break;
    }
  }
}

template <Flusher Fl>
void Guest<Fl>::Resize(std::size_t number, ZapSink sink) {
  WithZapLock(frames_.FrameOf(frames_.LargePages()[number]),
              [&] { ResizeUnlocked(number, sink); });
  // There are few tables to spare, and the domain would keep a batch of them.
  domain_.Poll();
}

template <Flusher Fl>
void Guest<Fl>::FaultElsewhere(std::uint64_t number) {
  (void)Fault(pages() + number % kUnrelatedFrames, Rights::kRead);
}

template <Flusher Fl>
absl::Status Guest<Fl>::Populate() {
  for (std::uint64_t page = 0; page < frames_.End(); ++page) {
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
  for (std::size_t i = 0; i < frames_.LargePages().size(); ++i) {
    if (!IsLargeNow(i)) Resize(i, [](const ZappedLeaf&) {});
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
  WithZapLock(frame, [&] { zapped = vm_.Invalidate(range, sink); });
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
std::uint64_t Guest<Fl>::RmapBytes() {
  const Walk walk(domain_, WalkEntry::kWait);
  std::uint64_t heads = 0;
  vm_.memslots().ForEach(walk, Aged(), [&](auto& slot, GfnRange part) {
    for (Level level{1}; level <= Format::kLargestLeaf; level = level.Above()) {
      const RmapHead* const first = &slot.HeadOf(part.begin, level);
      const RmapHead* const last = &slot.HeadOf(Gfn{part.end.value - 1}, level);
      heads += static_cast<std::uint64_t>(last - first) + 1;
    }
  });
  return heads * sizeof(RmapHead) + rmaps_.ListBytes();
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
      if (kind_ != GuestKind::kTdp) break;
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
  return contender_ == Contender::kSingleEntry ? CountBehindFirst(range, output)
                                               : 0;
}

template <Flusher Fl>
std::uint64_t Guest<Fl>::CountBehindFirst(GfnRange range,
                                          const AgeOutput& output) const {
  std::uint64_t entries = 0;
  if (!output.unknown.Wanted()) return entries;
  for (Gfn frame = range.begin; frame < range.end; frame = frame + 1) {
    if (output.unknown.Test(frame - output.begin)) {
      entries += frames_.NamesOf(frame) - 1;
    }
  }
  return entries;
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
  const Walk walk(domain_, WalkEntry::kWait);
  vm_.memslots().ForEach(walk, range, [&](auto& slot, GfnRange part) {
    for (Gfn gfn = part.begin; gfn < part.end; gfn = gfn + 1) {
      const std::uint64_t seen = Rmaps::PeekCount(slot.HeadOf(gfn, Level{1}));
      entries += seen < 2 ? seen : frames_.NamesOf(gfn);
    }
    if (frames_.IsLarge(part.begin)) {
      entries += Rmaps::PeekCount(slot.HeadOf(part.begin, kLargeLevel));
    }
  });
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
  const GfnRange all{Gfn{0}, Gfn{frames_.End()}};
  const auto visit_tree = [&](const auto& tree) {
    WalkAll(tree, walk, all, [&](const VisitedEntry<Format>& visited) {
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
