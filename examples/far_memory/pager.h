// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The pager: keeps at most so many pages in memory, and the others in a store.
//
// Contract
//   One thread. What the workload does meanwhile is the business of the
//   backing, which maps pages for it: a page that it has not mapped, or mapped
//   read-only, cannot be used, or written, before Fault was called for it.
//
//   * The software table is the truth: a present entry is a page in memory,
//     LiveRights of it the most that the backing has mapped of it. An accessed
//     or dirty bit is set before the access, by the fault that lets it through.
//   * Aging clears accessed bits with the library's harvest, and then has the
//     mappings of those pages dropped: that is its flush. What is accessed in
//     between through the old mapping is not seen.
//   * Eviction freezes the entry, takes mapping and page away, so that every
//     access blocks, and only then decides: a dirty page is stored, read back
//     and compared; of a clean one the copy in the store is the content, which
//     is checked too. An error leaves the entry frozen. The pager is then of no
//     further use, and the workload must not go on.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_PAGER_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_PAGER_H_

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "examples/far_memory/checksum.h"
#include "examples/far_memory/page.h"
#include "examples/far_memory/page_map.h"
#include "examples/far_memory/policy.h"
#include "examples/far_memory/stats.h"
#include "examples/far_memory/store.h"
#include "ptage/config.h"
#include "ptage/fast_fault.h"
#include "ptage/harvest.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage::far_memory {

// What maps pages for the workload. Unavailable, from any of them, means that
// nothing was done, and that it may be tried again once the workload's changes
// to its address space are dealt with; other errors are final.
//   Fill(gfn, page)     gives the page memory, with this content.
//   Map(gfn, writable)  lets the workload use it, or write it too, and go on if
//                       it waits for that.
//   Unmap(range)        blocks accesses to pages that are in memory, and to
//                       what else lies between them.
//   Take(gfn, page)     blocks accesses, and then takes the memory away.
//   Free(range)         takes memory away, whatever is in it.
template <class B>
concept Backing = requires(B& backing, Gfn gfn, GfnRange range, Page& to,
                           const Page& from, bool writable) {
  { backing.Fill(gfn, from) } -> std::same_as<absl::Status>;
  { backing.Map(gfn, writable) } -> std::same_as<absl::Status>;
  { backing.Unmap(range) } -> std::same_as<absl::Status>;
  { backing.Take(gfn, to) } -> std::same_as<absl::Status>;
  { backing.Free(range) } -> std::same_as<absl::Status>;
};

template <ReplacementPolicy P, Backing B>
class Pager {
 public:
  // For pages 0 … pages − 1, of which `limit`, at least one, are in memory at a
  // time. The others outlive the pager.
  Pager(std::uint64_t pages, std::uint64_t limit, PageStore& store, B& backing)
      : pages_(pages),
        limit_(limit),
        store_(store),
        backing_(backing),
        map_(pages),
        policy_(pages, limit),
        young_((pages + 63) / 64) {
    PTAGE_ASSERT(limit >= 1);
  }
  Pager(const Pager&) = delete;
  Pager& operator=(const Pager&) = delete;

  // Lets the workload go on with an access. Unavailable: see Backing; the fault
  // may be repeated.
  [[nodiscard]] absl::Status Fault(Gfn gfn, Rights access);

  // The workload throws pages away: they are zero when next used.
  [[nodiscard]] absl::Status Discard(GfnRange range);

  // Makes room before it is needed. True: a page went.
  [[nodiscard]] absl::StatusOr<bool> EvictAhead();

  [[nodiscard]] const PagerStats& stats() {
    stats_.stored_pages = store_.stats().pages;
    stats_.stored_bytes = store_.stats().bytes;
    return stats_;
  }
  [[nodiscard]] PageMap& map() { return map_; }

 private:
  using F = Format;
  using Walk = PageMap::Walk;

  // A page that is not in memory.
  absl::Status Load(const Walk& walk, Gfn gfn, Rights access);
  absl::Status EvictOne(const Walk& walk);
  absl::Status Evict(const Walk& walk, Gfn gfn);
  // What was taken is in the store when it returns.
  absl::Status Keep(Gfn gfn, bool dirty);
  absl::Status Age(const Walk& walk, GfnRange range);

  // Pages that are kept free for faults to come.
  [[nodiscard]] std::uint64_t Reserve() const {
    return std::min<std::uint64_t>(limit_ / 32, 64);
  }

  const std::uint64_t pages_;
  const std::uint64_t limit_;
  PageStore& store_;
  B& backing_;
  PageMap map_;
  P policy_;
  PagerStats stats_;
  std::vector<std::uint64_t> young_;
  Page page_;
  Page read_back_;
};

// ---------------------------------------------------------------------------

template <ReplacementPolicy P, Backing B>
absl::Status Pager<P, B>::Fault(Gfn gfn, Rights access) {
  PTAGE_ASSERT(gfn.value < pages_);
  const Walk walk(map_.reclaimer(), WalkEntry::kWait);
  const FoundEntry<F> before = map_.Lookup(walk, gfn);
  if (!F::IsPresent(before.word)) {
    const absl::Status loaded = Load(walk, gfn, access);
    if (!loaded.ok()) return loaded;
  } else {
    const FastFaultOutcome fixed = FastFault(map_.tree(), walk, gfn, access);
    // Nobody else changes entries.
    PTAGE_ASSERT(fixed == FastFaultOutcome::kFixed ||
                 fixed == FastFaultOutcome::kSpurious);
    if (fixed == FastFaultOutcome::kSpurious) {
      ++stats_.other_faults;
    } else {
      ++(IsYoung<F>(before.word) ? stats_.write_faults : stats_.minor_faults);
    }
    policy_.Touched(gfn, Touch::kAgain);
  }
  const auto word = map_.Lookup(walk, gfn).word;
  return backing_.Map(gfn, Allows(LiveRights<F>(word), Rights::kWrite));
}

template <ReplacementPolicy P, Backing B>
absl::Status Pager<P, B>::Load(const Walk& walk, Gfn gfn, Rights access) {
  while (stats_.resident >= limit_) {
    const absl::Status evicted = EvictOne(walk);
    if (!evicted.ok()) return evicted;
  }
  const bool stored = store_.Has(gfn);
  if (stored) {
    const absl::Status got = store_.Get(gfn, page_);
    if (!got.ok()) return got;
  } else {
    page_ = Page();
    ++stats_.zero_fills;
  }
  const absl::Status filled = backing_.Fill(gfn, page_);
  if (!filled.ok()) return filled;
  const F::Word leaf =
      F::MakeLeaf(Pfn{gfn.value}, Level{1}, Rights::kReadWrite);
  if (map_.tree().Map(walk, gfn, Level{1}, Used<F>(leaf, access)) !=
      MapOutcome::kDone) {
    return absl::InternalError(
        absl::StrFormat("the table does not take page %d", gfn.value));
  }
  policy_.Touched(gfn, Touch::kLoaded);
  ++stats_.major_faults;
  ++stats_.resident;
  stats_.most_resident = std::max(stats_.most_resident, stats_.resident);
  return absl::OkStatus();
}

template <ReplacementPolicy P, Backing B>
absl::Status Pager<P, B>::EvictOne(const Walk& walk) {
  // What was aged last may all have been spared: then the policy says what is
  // next.
  for (int idle = 0; idle < 2;) {
    const GfnRange wanted = policy_.ToAge();
    if (!wanted.Empty()) {
      const absl::Status aged = Age(walk, wanted);
      if (!aged.ok()) return aged;
    }
    const std::optional<Gfn> victim = policy_.PickVictim();
    if (victim.has_value()) return Evict(walk, *victim);
    idle = wanted.Empty() ? idle + 1 : 0;
  }
  return absl::InternalError("the policy finds no page to evict");
}

template <ReplacementPolicy P, Backing B>
absl::Status Pager<P, B>::Evict(const Walk& walk, Gfn gfn) {
  const FoundEntry<F> found = map_.Lookup(walk, gfn);
  if (!F::IsPresent(found.word) || !Freeze<F>(*found.entry, found.word)) {
    return absl::InternalError(
        absl::StrFormat("page %d is not in memory", gfn.value));
  }
  const absl::Status taken = backing_.Take(gfn, page_);
  if (absl::IsUnavailable(taken)) {
    Restore<F>(*found.entry, found.word);
    policy_.Touched(gfn, Touch::kLoaded);
    ++stats_.put_back;
    return taken;
  }
  if (!taken.ok()) return taken;
  const absl::Status kept = Keep(gfn, IsDirty<F>(found.word));
  if (!kept.ok()) return kept;
  Empty<F>(*found.entry);
  --stats_.resident;
  ++stats_.evictions;
  return absl::OkStatus();
}

template <ReplacementPolicy P, Backing B>
absl::Status Pager<P, B>::Keep(Gfn gfn, bool dirty) {
  if (!dirty) {
    ++stats_.clean_evictions;
    // Loaded as it was stored, or as zeros, and not written since.
    const bool same = store_.Has(gfn)
                          ? Checksum(page_) == store_.ChecksumOf(gfn)
                          : page_ == Page();
    if (same) return absl::OkStatus();
    return absl::DataLossError(absl::StrFormat(
        "page %d was changed without a write fault", gfn.value));
  }
  const absl::Status put = store_.Put(gfn, page_);
  if (!put.ok()) return put;
  const absl::Status got = store_.Get(gfn, read_back_);
  if (!got.ok()) return got;
  if (read_back_ == page_) return absl::OkStatus();
  return absl::DataLossError(absl::StrFormat(
      "page %d does not come back from the store as it was put", gfn.value));
}

template <ReplacementPolicy P, Backing B>
absl::Status Pager<P, B>::Age(const Walk& walk, GfnRange range) {
  const Bitmap young(young_.data(), range.Frames());
  std::fill_n(young_.begin(), (range.Frames() + 63) / 64, 0);
  AgeCounts counts;
  (void)Harvest(
      map_.tree(), walk, range, AgeAction::kTestAndClear, AgeMode::kFastOnly,
      AgeOutput{.begin = range.begin, .young = young, .counts = &counts});
  ++stats_.aging_passes;
  stats_.aged += counts.examined;
  stats_.unmapped += counts.young;
  policy_.Age(range, young);
  for (Gfn first = range.begin; first < range.end;) {
    Gfn end = first;
    while (end < range.end && young.Test(end - range.begin)) end = end + 1;
    if (end > first) {
      const absl::Status flushed = backing_.Unmap({first, end});
      // What stays mapped is used unseen, until it is evicted or aged again.
      if (!flushed.ok() && !absl::IsUnavailable(flushed)) return flushed;
    }
    first = end + 1;
  }
  return absl::OkStatus();
}

template <ReplacementPolicy P, Backing B>
absl::Status Pager<P, B>::Discard(GfnRange range) {
  const Walk walk(map_.reclaimer(), WalkEntry::kWait);
  for (Gfn gfn = range.begin; gfn < range.end; gfn = gfn + 1) {
    const FoundEntry<F> found = map_.Lookup(walk, gfn);
    if (F::IsPresent(found.word)) {
      if (!Freeze<F>(*found.entry, found.word)) {
        return absl::InternalError("an entry changed under its only owner");
      }
      const absl::Status freed = backing_.Free({gfn, gfn + 1});
      if (!freed.ok()) return freed;
      Empty<F>(*found.entry);
      policy_.Forget(gfn);
      --stats_.resident;
    }
    store_.Drop(gfn);
  }
  stats_.discarded += range.Frames();
  return absl::OkStatus();
}

template <ReplacementPolicy P, Backing B>
absl::StatusOr<bool> Pager<P, B>::EvictAhead() {
  if (stats_.resident + Reserve() <= limit_) return false;
  const Walk walk(map_.reclaimer(), WalkEntry::kWait);
  const absl::Status evicted = EvictOne(walk);
  if (!evicted.ok()) return evicted;
  return true;
}

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_PAGER_H_
