// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Taking a page from all who map it, unless somebody uses it: each MMU freezes
// its entries, asks whoever comes after it, and empties them or puts them back.
//
// Contract
//   TakeIfIdle(page, sink, rest), on every floor from a Vm up: freezes the
//   entries that map a frame of the page, calls `rest()` while they are frozen,
//   and takes them if that answers kTaken. So the last one to be called decides
//   when all are frozen, and no mapping can come that is not seen: each MMU
//   keeps faults of the page out until it returns.
//
//   * No entry is frozen that is young: an accessed bit stays where it is, and
//     the answer is kInUse. So is that to an entry that changes meanwhile: a
//     walker has marked it, or a fault.
//   * Nobody who holds entries here waits for a frozen one of another thread:
//     the answer is kInUse, and what was taken is put back, value by value.
//   * kTaken: every CPU was flushed, then each entry's dirty bit was handed to
//     the sink, then the entry was emptied. When the call returns, nobody can
//     write to the page any more, and not before: through a dirty translation
//     that it has cached, a CPU writes until it is flushed.
//       evictor: freezes, reads the page  | CPU: writes what it has cached
//       evictor: flushes                  | and what it wrote is lost
//   * A leaf that reaches beyond the page has one bit for all its frames. It is
//     not frozen: kLarge.
//
//   Who frees a frame or gives it away must know this: kTaken says that nothing
//   maps the page as it was; faults that come later must not be shown its frame
//   again (PrimaryMmu's Resolve, Vm's may_map).
//
//   Progress: FreezeLeaves is wait-free, in entries of the page.

#ifndef PTAGE_HOLD_H_
#define PTAGE_HOLD_H_

#include <cstddef>
#include <cstdint>

#include "ptage/config.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// What taking a page comes to.
enum class TakeOutcome {
  kTaken,  // it is the caller's: nobody maps it any more
  kInUse,  // accessed, or changing hands; nothing was taken
  kLarge,  // a larger leaf covers it, and was not accessed; nothing was taken
};

// Leaves that one thread has frozen, to be put back or emptied; put back, if
// nothing else was done.
template <SpteFormat F>
class HeldLeaves {
 public:
  // One that is held: its entry, what was there, and what it covers.
  struct Leaf {
    // Frozen, by this thread.
    SpteCell<F>* entry = nullptr;
    // What is put back; without the accessed bit.
    typename F::Word word = F::kEmpty;
    Gfn gfn;      // the first frame that it covers
    Level level;  // its size
  };

  // `room`, for so many leaves, outlives this.
  HeldLeaves(Leaf* room, std::size_t size) : room_(room), size_(size) {}
  // Puts back what is held.
  ~HeldLeaves() { GiveBack(); }
  HeldLeaves(const HeldLeaves&) = delete;
  HeldLeaves& operator=(const HeldLeaves&) = delete;

  // The leaves that are held.
  [[nodiscard]] const Leaf* begin() const { return room_; }
  [[nodiscard]] const Leaf* end() const { return room_ + held_; }

  // Freezes a leaf, or a frozen entry, from which `seen` was just read, on
  // behalf of `page`; it covers the page at `level` from `gfn` on.
  TakeOutcome Take(GfnRange page, SpteCell<F>& entry, typename F::Word seen,
                   Gfn gfn, Level level);
  // Puts all back.
  void GiveBack() {
    for (; held_ != 0; --held_) {
      Restore<F>(*room_[held_ - 1].entry, room_[held_ - 1].word);
    }
  }
  // Calls `sink(const TakenLeaf<F>&)` for each, and empties it. Precondition:
  // CPUs were flushed.
  template <class Sink>
  void HandOver(Sink&& sink);

 private:
  Leaf* const room_;
  const std::size_t size_;
  std::size_t held_ = 0;
};

// The largest level of leaves that fit into the page.
template <SpteFormat F>
[[nodiscard]] constexpr Level LevelWithin(GfnRange page) {
  Level level = F::kLargestLeaf;
  while (level > Level{1} && !page.Contains(PageAround<F>(page.begin, level))) {
    level = level.Below();
  }
  return level;
}

// Freezes every leaf of a direct tree that covers a frame of `page`. Not
// kTaken: some may be held all the same.
template <class Tree>
TakeOutcome FreezeLeaves(const Tree& tree, const typename Tree::Walk& walk,
                         GfnRange page,
                         HeldLeaves<typename Tree::Format>& held);

// What one holder of leaves does with them: `frozen` is what freezing came to.
template <SpteFormat F, class Rest, class Flush, class Sink>
TakeOutcome TakeHeld(HeldLeaves<F>& held, TakeOutcome frozen, Rest&& rest,
                     Flush&& flush, Sink&& sink);

// ---------------------------------------------------------------------------

template <SpteFormat F>
TakeOutcome HeldLeaves<F>::Take(GfnRange page, SpteCell<F>& entry,
                                typename F::Word seen, Gfn gfn, Level level) {
  if (IsFrozen<F>(seen) || IsYoung<F>(seen)) return TakeOutcome::kInUse;
  if (!page.Contains(GfnRange{gfn, gfn + FramesAt<F>(level)})) {
    return TakeOutcome::kLarge;
  }
  if (held_ == size_ || !Freeze<F>(entry, seen)) return TakeOutcome::kInUse;
  room_[held_++] = Leaf{&entry, seen, gfn, level};
  return TakeOutcome::kTaken;
}

template <SpteFormat F>
template <class Sink>
void HeldLeaves<F>::HandOver(Sink&& sink) {
  for (; held_ != 0; --held_) {
    const Leaf& leaf = room_[held_ - 1];
    const TakenLeaf<F> taken{leaf.gfn, leaf.level, leaf.word, *leaf.entry};
    sink(taken);
    Empty<F>(*leaf.entry);
  }
}

template <class Tree>
TakeOutcome FreezeLeaves(const Tree& tree, const typename Tree::Walk& walk,
                         GfnRange page,
                         HeldLeaves<typename Tree::Format>& held) {
  using F = typename Tree::Format;
  static_assert(!Tree::Tables::kStable,
                "FreezeLeaves: under a type-stable reclaimer an entry may be "
                "another place's by the time that it is frozen");
  TakeOutcome outcome = TakeOutcome::kTaken;
  std::uint64_t budget = ~std::uint64_t{0};
  (void)tree.Visit(
      walk, page, budget,
      [&](SpteCell<F>& entry, typename F::Word seen, Gfn gfn, Level level) {
        outcome = held.Take(page, entry, seen, gfn, level);
        return outcome == TakeOutcome::kTaken;
      });
  return outcome;
}

template <SpteFormat F, class Rest, class Flush, class Sink>
TakeOutcome TakeHeld(HeldLeaves<F>& held, TakeOutcome frozen, Rest&& rest,
                     Flush&& flush, Sink&& sink) {
  const TakeOutcome outcome = frozen == TakeOutcome::kTaken ? rest() : frozen;
  if (outcome != TakeOutcome::kTaken) {
    held.GiveBack();
    return outcome;
  }
  // Also where nothing was mapped: who unmapped it may yet have to flush.
  flush();
  held.HandOver(sink);
  return outcome;
}

}  // namespace ptage

#endif  // PTAGE_HOLD_H_
