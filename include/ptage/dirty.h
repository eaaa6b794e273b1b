// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Which pages of a direct tree were written: by their dirty bits, or by
// write-protecting them, so that the first write to each is a fault. Not under
// a type-stable reclaimer.
//
// Contract
//   Concurrently, anything may happen to the tree: CPUs write, faults map,
//   other threads age it, zap, split, promote, and collect.
//
//   * What a call answers: a page that was written before it began, and that no
//     call and no zap has told of since, is told of by this one, if it is
//     mapped during all of it. A page may be told of twice, never not at all.
//   * What it leaves: a write after it returned is seen by the next one, as a
//     dirty bit, or faults, or is told of by another that is under way. For
//     that each call flushes once, at its end, if it changed anything. Until
//     then CPUs write through what they have cached, which is why data is
//     copied only after the call has returned.
//   * Whoever else changes an entry does it by compare-and-swap, and so neither
//     undoes what is done here nor is undone: aging takes accessed bits alone,
//     and these functions leave them alone.
//   * A frozen entry is waited for, in either form. Were it passed by:
//       collector: finds it frozen     | promotion: has taken it, writable
//       collector: is done             | promotion: gives it back, writable
//       CPU: writes, and nobody is told.
//   * A large leaf has one dirty bit: all its frames are told of. One that
//     reaches beyond the range is left as it is, and told of, with its frames
//     inside, if it is dirty, or, where writes are to fault, if they would not.
//     So split it first (TdpMmu::SplitLarge) to know more.
//
//   Write-protection keeps in a bit of the entry that software may use that the
//   page may be written. It takes the dirty bit with the permission, and tells
//   of it: in formats with hardware dirty management the one is the other. So a
//   protected page is clean, and GrantWrite makes it dirty again: whether a
//   page was written is always in its entry, and a log of the caller's is only
//   a faster way to find out. A table with a protected leaf is not promoted.
//
//   Progress: GrantWrite and IsProtected are wait-free; the others wait for
//   owners of frozen entries, and for the flush, and repeat where another
//   thread changed an entry. In entries of the range.
//
// Sites (order · partner)
//   [dirty.1] relaxed compare-and-swap  · none: nothing is published by it
//             in ChangeLeaves
//   [dirty.2] relaxed compare-and-swap  · none, but see GrantWrite of `log`
//             in GrantWrite

#ifndef PTAGE_DIRTY_H_
#define PTAGE_DIRTY_H_

#include <concepts>
#include <cstdint>

#include "ptage/harvest.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/once/vector.h"
#include "ptage/page_table.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "ptage/walk.h"

namespace ptage {

// A format whose leaves can be write-protected:
//   kWritable  what lets a clean leaf be written;
//   kMayWrite  a bit that hardware ignores in leaves: the page may be written,
//              though the entry does not allow it.
// Where faults set the dirty bit, a page that ClearDirty left clean is as good
// as protected.
template <class F>
concept WriteProtectable = SpteFormat<F> && !kMarkedByFaults<F> && requires {
  { F::kWritable } -> std::convertible_to<typename F::Word>;
  { F::kMayWrite } -> std::convertible_to<typename F::Word>;
} && (F::kMayWrite & (F::kWritable | F::kDirty | F::kAccessed)) == 0;

// Whether `word` is a leaf's that WriteProtect left so.
template <WriteProtectable F>
[[nodiscard]] constexpr bool IsProtected(typename F::Word word) {
  return F::IsPresent(word) && (word & F::kMayWrite) != 0;
}

// Clears the dirty bit of every leaf in `range`, and sets the bits of `output`
// (its `young` ones) for those that had it; nothing is unknown. Returns how
// many leaves were examined and, as `young`, dirty.
template <class Tree, Flusher Fl>
AgeCounts ClearDirty(const Tree& tree, const typename Tree::Walk& walk,
                     Fl& flusher, GfnRange range, const AgeOutput& output);

// Write-protects every leaf in `range`; `output` and the counts as of
// ClearDirty.
template <class Tree, Flusher Fl>
  requires WriteProtectable<typename Tree::Format>
AgeCounts WriteProtect(const Tree& tree, const typename Tree::Walk& walk,
                       Fl& flusher, GfnRange range, const AgeOutput& output);

// Ends it: what WriteProtect left in `range` may be written again without a
// fault, and is clean until then. Returns how many leaves that were.
template <class Tree>
  requires WriteProtectable<typename Tree::Format>
std::uint64_t LiftProtection(const Tree& tree, const typename Tree::Walk& walk,
                             GfnRange range);

// What a write fault does that found a protected leaf, of whatever size, to be
// `seen`: makes it writable and dirty, and then calls `log()`. False: it was
// changed meanwhile, and the fault starts again.
//
// A caller who logs elsewhere than in dirty bits, and protects only what he
// finds logged, writes his log with release and takes from it with acquire.
template <WriteProtectable F, class Log>
[[nodiscard]] bool GrantWrite(SpteCell<F>& entry, typename F::Word seen,
                              Log&& log);

// ---------------------------------------------------------------------------

namespace internal {

// Where a harvest of dirty bits tells what it found, and what it has to wait
// for.
class DirtyOutput {
 public:
  explicit DirtyOutput(const AgeOutput& output) : output_(output) {}

  void SetYoung(GfnRange range) const { output_.SetYoung(range); }
  void SetYoung(Gfn first, std::uint64_t lanes) const {
    output_.SetYoung(first, lanes);
  }
  void SetUnknown(GfnRange range) { Wait(range); }
  void SetUnknown(Gfn first, std::uint64_t lanes) {
    if (lanes != 0) Wait(GfnRange{first, first + kBlock});
  }
  void Count(const AgeCounts& more) { counts_ += more; }

  // Holds every frame that is unknown; empty if none is.
  [[nodiscard]] GfnRange waits_for() const { return waits_for_; }
  [[nodiscard]] const AgeCounts& counts() const { return counts_; }

 private:
  void Wait(GfnRange range) {
    if (waits_for_.Empty()) waits_for_ = range;
    waits_for_.end = range.end;
  }

  const AgeOutput& output_;
  GfnRange waits_for_;
  AgeCounts counts_;
};

// Gives each leaf of `range` the value `change.Wanted(seen, covers)`, and then
// calls `change.Done(seen, wanted, covers)`.
template <class Tree, class Change>
void ChangeLeaves(const Tree& tree, const typename Tree::Walk& walk,
                  GfnRange range, Change&& change) {
  using F = typename Tree::Format;
  using Word = typename F::Word;
  while (!range.Empty()) {
    std::uint64_t budget = kNoBudget;
    range.begin = tree.Visit(
        walk, range, budget,
        [&](SpteCell<F>& entry, Word seen, Gfn gfn, Level level) {
          if (IsFrozen<F>(seen)) return false;
          const GfnRange covers{gfn, gfn + FramesAt<F>(level)};
          const Word wanted = change.Wanted(seen, covers);
          // [dirty.1] relaxed: nothing is published by it.
          if (wanted != seen && !TryCmpxchg(entry, seen, wanted, kRelaxed)) {
            return false;
          }
          change.Done(seen, wanted, covers);
          return true;
        });
    // A frozen entry may lie in a table that was removed: look again from the
    // root, where it is then gone.
    if (!range.Empty()) SpinPause();
  }
}

template <WriteProtectable F>
[[nodiscard]] constexpr bool CanBeWritten(typename F::Word word) {
  return F::IsPresent(word) && Allows(F::RightsOf(word), Rights::kWrite);
}

template <WriteProtectable F>
class Protection {
 public:
  using Word = typename F::Word;

  Protection(GfnRange range, const AgeOutput& output)
      : range_(range), output_(output) {}

  [[nodiscard]] Word Wanted(Word seen, GfnRange covers) const {
    if (!range_.Contains(covers)) return seen;
    const Word mark = CanBeWritten<F>(seen) ? F::kMayWrite : Word{0};
    return static_cast<Word>((seen & ~(F::kWritable | F::kDirty)) | mark);
  }
  void Done(Word seen, Word wanted, GfnRange covers) {
    const bool dirty =
        IsDirty<F>(seen) || (!range_.Contains(covers) && CanBeWritten<F>(seen));
    ++counts_.examined;
    counts_.young += dirty ? 1 : 0;
    if (dirty) output_.SetYoung(range_.Clip(covers));
    changed_ |= wanted != seen;
  }

  [[nodiscard]] const AgeCounts& counts() const { return counts_; }
  [[nodiscard]] bool changed() const { return changed_; }

 private:
  const GfnRange range_;
  const AgeOutput& output_;
  AgeCounts counts_;
  bool changed_ = false;
};

template <WriteProtectable F>
class Lifting {
 public:
  using Word = typename F::Word;

  [[nodiscard]] Word Wanted(Word seen, GfnRange) const {
    return IsProtected<F>(seen)
               ? static_cast<Word>((seen & ~F::kMayWrite) | F::kWritable)
               : seen;
  }
  void Done(Word seen, Word wanted, GfnRange) {
    lifted_ += wanted != seen ? 1 : 0;
  }
  [[nodiscard]] std::uint64_t lifted() const { return lifted_; }

 private:
  std::uint64_t lifted_ = 0;
};

}  // namespace internal

template <class Tree, Flusher Fl>
AgeCounts ClearDirty(const Tree& tree, const typename Tree::Walk& walk,
                     Fl& flusher, GfnRange range, const AgeOutput& output) {
  static_assert(!Tree::Tables::kStable,
                "ClearDirty: an entry keeps its place while a walk lasts; "
                "under TypeStable it may be another's");
  AgeCounts counts;
  for (GfnRange left = range; !left.Empty();) {
    internal::DirtyOutput found(output);
    (void)Harvest<HarvestBit::kDirty>(
        tree, walk, left, AgeAction::kTestAndClear, AgeMode::kFastOnly, found);
    counts += found.counts();
    left = left.Clip(found.waits_for());
    if (!left.Empty()) SpinPause();
  }
  // They were waited for.
  counts.unanswered = 0;
  if (counts.young != 0) flusher.Flush(range);
  output.Count(counts);
  return counts;
}

template <class Tree, Flusher Fl>
  requires WriteProtectable<typename Tree::Format>
AgeCounts WriteProtect(const Tree& tree, const typename Tree::Walk& walk,
                       Fl& flusher, GfnRange range, const AgeOutput& output) {
  static_assert(!Tree::Tables::kStable,
                "WriteProtect: an entry keeps its place while a walk lasts; "
                "under TypeStable it may be another's");
  internal::Protection<typename Tree::Format> protection(range, output);
  internal::ChangeLeaves(tree, walk, range, protection);
  if (protection.changed()) flusher.Flush(range);
  output.Count(protection.counts());
  return protection.counts();
}

template <class Tree>
  requires WriteProtectable<typename Tree::Format>
std::uint64_t LiftProtection(const Tree& tree, const typename Tree::Walk& walk,
                             GfnRange range) {
  static_assert(!Tree::Tables::kStable,
                "LiftProtection: an entry keeps its place while a walk lasts; "
                "under TypeStable it may be another's");
  internal::Lifting<typename Tree::Format> lifting;
  internal::ChangeLeaves(tree, walk, range, lifting);
  return lifting.lifted();
}

template <WriteProtectable F, class Log>
bool GrantWrite(SpteCell<F>& entry, typename F::Word seen, Log&& log) {
  using Word = typename F::Word;
  PTAGE_ASSERT(IsProtected<F>(seen));
  const Word granted =
      static_cast<Word>((seen & ~F::kMayWrite) | F::kWritable | F::kDirty);
  // Not accessed: that is for the walk that comes next.
  // [dirty.2] relaxed: nothing is published by it.
  if (!TryCmpxchg(entry, seen, granted, kRelaxed)) return false;
  // Were it logged before:
  //   fault: logs the page                | collector: takes the log, protects
  //   fault: makes the page writable      | the page again: it is so already
  // and the page is writable and not logged.
  log();
  return true;
}

}  // namespace ptage

#endif  // PTAGE_DIRTY_H_
