// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The primary MMU: the page tables of a process, and whoever else maps its
// pages behind them. It is asked first, and asks the others by a chain.
//
// Contract
//   Any threads may call any function concurrently, none of them inside a walk.
//   Frames are pages of the process's addresses, numbered alike here and in the
//   chain.
//
//   * Each leaf table has a lock, which is its place's: it is there before the
//     table is, and serves the large leaf that may stand there instead. Whoever
//     adds or takes leaves holds it. Aging takes none.
//   * A fault waits for nobody: where the lock is held, or an entry frozen, it
//     answers kRetry. `resolve` is called under the lock; it says where the
//     page is, or nothing, if it is nowhere or an evictor has claimed it, and
//     must not wait. So what an evictor claims before he calls TakeIfIdle is
//     either mapped, and found, or not mapped until he has said where it is.
//   * A mapping is a range of addresses with rights. A *special* one shows
//     memory that is no page of the system's: it is not aged, in any MMU, and
//     not evicted.
//   * The three questions are about the own entries, then the chain's, in one
//     call to each. A young own entry is a fast answer.
//   * Unmap hands on accessed and dirty bits, of the own entries and of the
//     chain's. When it returns, nothing maps the range as before.
//
//   Progress: fast-only is wait-free, if the chain's is. Fault is wait-free but
//   for missing tables (page_table.h). All else waits for the locks of tables,
//   flushes, and as the chain does.

#ifndef PTAGE_PRIMARY_MMU_H_
#define PTAGE_PRIMARY_MMU_H_

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "ptage/config.h"
#include "ptage/hold.h"
#include "ptage/memory.h"
#include "ptage/mmu.h"
#include "ptage/published.h"
#include "ptage/reclaim.h"
#include "ptage/spte.h"
#include "ptage/tdp_mmu.h"
#include "ptage/types.h"

namespace ptage {

// Whoever maps a process's pages besides itself: a NotifierChain.
template <class C>
concept SecondaryMmus = Ageable<C> && requires(C& chain, GfnRange range,
                                               ZapSink sink, TakeRest rest) {
  { chain.Invalidate(range, sink) } -> std::same_as<std::uint64_t>;
  { chain.TakeIfIdle(range, sink, rest) } -> std::same_as<TakeOutcome>;
  { chain.Split(range) } -> std::same_as<bool>;
};

// Whether the pages of a mapping are the process's, and may be aged and
// evicted; special ones are a device's, say, and are left alone.
enum class MappingKind { kOrdinary, kSpecial };

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          SecondaryMmus C>
class PrimaryMmu : public AgeQuestions<PrimaryMmu<F, M, R, Fl, C>> {
  static_assert(F::kLevels > 1, "PrimaryMmu: a lock is that of a leaf table");

 public:
  using Own = TdpMmu<F, M, R, Fl>;
  using Walk = LocklessWalk<R>;
  static constexpr bool kFastAging = true;
  // Frames of one lock, and of the largest leaf.
  static constexpr std::uint64_t kFramesPerLock = FramesAt<F>(Level{2});

  // A range that the process may use.
  struct Mapping {
    GfnRange frames;   // which one: numbers of pages of the process
    Rights rights;     // what it may do there
    MappingKind kind;  // whose the pages are
  };
  // Where a page is, and how much around it is there in one piece.
  struct Resident {
    Pfn pfn;                 // the page's own host frame
    Level level = Level{1};  // the largest leaf that may map it
  };
  // Where the page is; nothing if it is not there, and is to be brought first.
  // Called under the lock of the page's leaf table: it must not wait.
  using Resolve = absl::FunctionRef<std::optional<Resident>(Gfn)>;

  // All outlive the MMU. Its addresses are the frames 0 … frames − 1. Check
  // valid().
  PrimaryMmu(M& memory, R& reclaimer, Fl& flusher, C& chain,
             std::uint64_t frames)
      : reclaimer_(reclaimer),
        flusher_(flusher),
        chain_(chain),
        frames_(frames),
        own_(memory, reclaimer, flusher),
        locks_(new absl::Mutex[(frames + kFramesPerLock - 1) / kFramesPerLock]),
        mappings_(reclaimer) {
    PTAGE_ASSERT(frames <= Own::Tree::kFrames);
  }

  // False if there was no memory for the root.
  [[nodiscard]] bool valid() const { return own_.valid(); }

  // Lets the process use these pages. InvalidArgument: the range is empty,
  // reversed or too far up; AlreadyExists: it overlaps a mapping.
  absl::Status AddMapping(GfnRange frames, Rights rights,
                          MappingKind kind = MappingKind::kOrdinary);
  // Takes the mapping of exactly these frames away, and what is mapped there.
  // NotFound: there is none.
  absl::Status RemoveMapping(GfnRange frames, ZapSink sink);
  // The mapping that has the page; nothing if none has.
  [[nodiscard]] std::optional<Mapping> MappingAt(Gfn gfn);

  // An access that the own tables did not allow.
  [[nodiscard]] FaultOutcome Fault(Gfn gfn, Rights access, Resolve resolve);

  // Takes down what is mapped in `range`, here and by the chain. Returns how
  // many entries.
  std::uint64_t Unmap(GfnRange range, ZapSink sink);

  // Tests or clears the own entries and the chain's, but those of special
  // mappings.
  AgeResult Age(GfnRange range, AgeAction action, AgeMode mode,
                const AgeOutput& output);
  // Either by itself, whatever the mapping.
  AgeResult AgeOwn(GfnRange range, AgeAction action, AgeMode mode,
                   const AgeOutput& output) {
    return own_.Age(range, action, mode, output);
  }
  AgeResult AgeOthers(GfnRange range, AgeAction action, AgeMode mode,
                      const AgeOutput& output) {
    return chain_.Age(range, action, mode, output);
  }

  // As hold.h says, of the own entries and the chain's. `rest` is asked when
  // all are frozen. Nothing is taken of a special mapping. Precondition: the
  // page has one lock.
  TakeOutcome TakeIfIdle(GfnRange page, ZapSink sink, TakeRest rest);
  // Splits what is mapped by leaves larger than the page. False: not all.
  // Precondition: the page has one lock.
  bool Split(GfnRange page);

  // The lock of the leaf table of a frame, if nobody has it.
  class [[nodiscard]] TableLock {
   public:
    explicit operator bool() const { return held_ != nullptr; }
    ~TableLock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      if (held_ != nullptr) held_->Unlock();
    }
    TableLock(const TableLock&) = delete;
    TableLock& operator=(const TableLock&) = delete;

   private:
    friend class PrimaryMmu;
    TableLock(absl::Mutex& lock, AgeMode mode) ABSL_NO_THREAD_SAFETY_ANALYSIS {
      if (mode == AgeMode::kSlow) {
        lock.Lock();
      } else if (!lock.TryLock()) {
        return;
      }
      held_ = &lock;
    }
    absl::Mutex* held_ = nullptr;
  };
  // For who may not wait: false if somebody has it.
  TableLock TryLockTable(Gfn gfn) {
    return TableLock(LockOf(gfn), AgeMode::kFastOnly);
  }
  // For who may wait, and holds no lock of another table.
  TableLock LockTable(Gfn gfn) {
    return TableLock(LockOf(gfn), AgeMode::kSlow);
  }

  // For lookups, and the root, for a walker.
  [[nodiscard]] Own& own() { return own_; }

 private:
  // In order of frames.
  using Mappings = std::vector<Mapping>;

  absl::Mutex& LockOf(Gfn gfn) {
    PTAGE_ASSERT(gfn.value < frames_);
    return locks_[gfn.value / kFramesPerLock];
  }
  static bool HasOneLock(GfnRange page) {
    return !page.Empty() && page.begin.value / kFramesPerLock ==
                                (page.end.value - 1) / kFramesPerLock;
  }
  // The first mapping that ends behind `gfn`.
  static auto FirstBehind(const Mappings& mappings, Gfn gfn) {
    return std::upper_bound(
        mappings.begin(), mappings.end(), gfn,
        [](Gfn at, const Mapping& mapping) { return at < mapping.frames.end; });
  }
  [[nodiscard]] std::optional<Mapping> Find(const Walk& walk, Gfn gfn) const {
    const Mappings& mappings = mappings_.Read(walk);
    const auto found = FirstBehind(mappings, gfn);
    if (found == mappings.end() || !found->frames.Contains(gfn)) return {};
    return *found;
  }
  // Calls `visit(part)` for each part of `range` without special mappings.
  template <class Visit>
  void ForEachAged(const Walk& walk, GfnRange range, Visit&& visit) const;

  R& reclaimer_;
  Fl& flusher_;
  C& chain_;
  const std::uint64_t frames_;
  Own own_;
  const std::unique_ptr<absl::Mutex[]> locks_;
  absl::Mutex writer_;
  Published<Mappings, R> mappings_;
};

// ---------------------------------------------------------------------------

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          SecondaryMmus C>
absl::Status PrimaryMmu<F, M, R, Fl, C>::AddMapping(GfnRange frames,
                                                    Rights rights,
                                                    MappingKind kind) {
  if (frames.Empty() || frames.end.value > frames_) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "mapping [%d, %d): empty, reversed, or beyond the %d frames",
        frames.begin.value, frames.end.value, frames_));
  }
  absl::MutexLock lock(&writer_);
  Mappings mappings = mappings_.Latest();
  const auto behind = FirstBehind(mappings, frames.begin);
  if (behind != mappings.end() && behind->frames.Overlaps(frames)) {
    return absl::AlreadyExistsError(
        absl::StrFormat("mapping [%d, %d) overlaps [%d, %d)",
                        frames.begin.value, frames.end.value,
                        behind->frames.begin.value, behind->frames.end.value));
  }
  mappings.insert(behind, Mapping{frames, rights, kind});
  mappings_.Replace(std::move(mappings));
  return absl::OkStatus();
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          SecondaryMmus C>
absl::Status PrimaryMmu<F, M, R, Fl, C>::RemoveMapping(GfnRange frames,
                                                       ZapSink sink) {
  absl::MutexLock lock(&writer_);
  Mappings mappings = mappings_.Latest();
  const auto found = std::find_if(
      mappings.begin(), mappings.end(),
      [&](const Mapping& mapping) { return mapping.frames == frames; });
  if (found == mappings.end()) {
    return absl::NotFoundError(absl::StrFormat(
        "no mapping [%d, %d)", frames.begin.value, frames.end.value));
  }
  mappings.erase(found);
  // A fault looks for the mapping under the lock of the table, which Unmap
  // takes after this: it finds none, or is done by then.
  mappings_.Replace(std::move(mappings));
  (void)Unmap(frames, sink);
  return absl::OkStatus();
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          SecondaryMmus C>
auto PrimaryMmu<F, M, R, Fl, C>::MappingAt(Gfn gfn) -> std::optional<Mapping> {
  const Walk walk(reclaimer_, WalkEntry::kTry);
  if (!walk) return std::nullopt;
  return Find(walk, gfn);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          SecondaryMmus C>
FaultOutcome PrimaryMmu<F, M, R, Fl, C>::Fault(Gfn gfn, Rights access,
                                               Resolve resolve) {
  if (gfn.value >= frames_) return FaultOutcome::kNoSlot;
  const Walk walk(reclaimer_, WalkEntry::kWait);
  const TableLock hold = TryLockTable(gfn);
  if (!hold) return FaultOutcome::kRetry;
  const std::optional<Mapping> mapping = Find(walk, gfn);
  if (!mapping.has_value()) return FaultOutcome::kNoSlot;
  if (!Allows(mapping->rights, access)) return FaultOutcome::kNotPermitted;
  const std::optional<Resident> resident = resolve(gfn);
  if (!resident.has_value()) return FaultOutcome::kRetry;
  Level level = resident->level;
  while (level > Level{1} &&
         (level > F::kLargestLeaf || FramesAt<F>(level) > kFramesPerLock ||
          !mapping->frames.Contains(PageAround<F>(gfn, level)) ||
          gfn.value % FramesAt<F>(level) !=
              resident->pfn.value % FramesAt<F>(level))) {
    level = level.Below();
  }
  return own_.Fault(walk, gfn, resident->pfn, level, mapping->rights, access);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          SecondaryMmus C>
std::uint64_t PrimaryMmu<F, M, R, Fl, C>::Unmap(GfnRange range, ZapSink sink) {
  std::uint64_t zapped = 0;
  {
    const Walk walk(reclaimer_, WalkEntry::kWait);
    for (Gfn from = range.begin; from < range.end;) {
      const GfnRange table = PageAround<F>(from, Level{2});
      const TableLock hold = LockTable(from);
      zapped += own_.Zap(walk, range.Clip(table), ZapFlush::kEach, sink);
      from = table.end;
    }
  }
  return zapped + chain_.Invalidate(range, sink);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          SecondaryMmus C>
template <class Visit>
void PrimaryMmu<F, M, R, Fl, C>::ForEachAged(const Walk& walk, GfnRange range,
                                             Visit&& visit) const {
  const Mappings& mappings = mappings_.Read(walk);
  Gfn from = range.begin;
  for (auto at = FirstBehind(mappings, range.begin);
       at != mappings.end() && at->frames.begin < range.end; ++at) {
    if (at->kind != MappingKind::kSpecial) continue;
    if (from < at->frames.begin) visit(GfnRange{from, at->frames.begin});
    from = at->frames.end;
  }
  if (from < range.end) visit(GfnRange{from, range.end});
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          SecondaryMmus C>
AgeResult PrimaryMmu<F, M, R, Fl, C>::Age(GfnRange range, AgeAction action,
                                          AgeMode mode,
                                          const AgeOutput& output) {
  const Walk walk(reclaimer_, EntryFor(mode));
  if (!walk) return Unanswered(range, output);
  AgeResult result;
  ForEachAged(walk, range, [&](GfnRange part) {
    result |= AgeOwn(part, action, mode, output);
    result |= AgeOthers(part, action, mode, output);
  });
  return result;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          SecondaryMmus C>
TakeOutcome PrimaryMmu<F, M, R, Fl, C>::TakeIfIdle(GfnRange page, ZapSink sink,
                                                   TakeRest rest) {
  using Held = HeldLeaves<F>;
  PTAGE_ASSERT(HasOneLock(page));
  const Walk walk(reclaimer_, WalkEntry::kWait);
  const TableLock hold = LockTable(page.begin);
  GfnRange ordinary;
  ForEachAged(walk, page, [&](GfnRange part) { ordinary = part; });
  if (ordinary != page) return TakeOutcome::kInUse;
  std::vector<typename Held::Leaf> room(page.Frames());
  Held held(room.data(), room.size());
  return TakeHeld(
      held, own_.Freeze(walk, page, held),
      [&] { return chain_.TakeIfIdle(page, sink, rest); },
      [&] { flusher_.Flush(page); },
      [&](const TakenLeaf<F>& leaf) { sink(Own::Zapped(leaf)); });
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          SecondaryMmus C>
bool PrimaryMmu<F, M, R, Fl, C>::Split(GfnRange page) {
  PTAGE_ASSERT(HasOneLock(page));
  bool done;
  {
    const Walk walk(reclaimer_, WalkEntry::kWait);
    // As a fault, it keeps off what an evictor holds.
    const TableLock hold = LockTable(page.begin);
    done = !own_.SplitLarge(walk, page, LevelWithin<F>(page)).no_memory;
  }
  return chain_.Split(page) && done;
}

}  // namespace ptage

#endif  // PTAGE_PRIMARY_MMU_H_
