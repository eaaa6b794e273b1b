// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Evicts one page, unless somebody uses it.
//
// Contract
//   One evictor per page at a time: the caller has claimed the page, in its LRU
//   state, before he calls, and says where it is afterwards. From the claim to
//   that moment whoever resolves faults shows nobody its frame (PrimaryMmu's
//   Resolve, Vm's may_map). Other threads do anything else meanwhile.
//
//   1. The slow question is a filter: who was asked and is young is spared all
//      that follows. It clears.
//   2. All entries of the page are frozen (hold.h). They are not young, or the
//      answer is kYoung.
//   3. Then the page's own mark is asked, and only then:
//        evictor: asks the mark: none  | zapper: finds the entry young, marks
//        evictor: finds nothing mapped | the page, empties the entry
//      and the access is forgotten.
//   4. CPUs are flushed, dirty bits go to the sink, the entries are emptied.
//   5. The page is stored. Never before 4: through a dirty translation that it
//      has cached, a CPU writes until it is flushed.
//   Anything else than the last of these puts back what was frozen.
//
//   The page is evicted at the last freeze. An access that comes after that is
//   one that waits for the page to come back: a fault that meets a frozen
//   entry, an invalidation or a lock answers kRetry. Its thread is outside of
//   walks then, marks the page, and tries again (RetryMarking); a mark that
//   comes in time keeps the page. Accesses through translations that were
//   cached before the accessed bit was cleared are seen by nobody until a
//   flush: they are what a flush policy loses, and it may lose the page, but
//   never a write.
//
//   Whoever is handed an accessed bit of this page by another zap marks the
//   page, in his sink. Whoever is handed a dirty bit keeps it for the store.
//
//   Progress: the evictor waits as the slow question and TakeIfIdle do, never
//   for a frozen entry while it has frozen one. A page in a larger leaf is
//   split off first, which may wait for the owners of frozen entries.

#ifndef PTAGE_LRU_EVICTION_H_
#define PTAGE_LRU_EVICTION_H_

#include <concepts>

#include "ptage/hold.h"
#include "ptage/once.h"
#include "ptage/types.h"

namespace ptage {

// The marks of pages: what an LRU knows of accesses besides page tables.
template <class T>
concept PageMarks = requires(T& marks, GfnRange page) {
  // The page is being used. Any thread, at any time; it must not wait.
  marks.MarkReferenced(page);
  // Whether it was marked, and takes the mark. A mark that was made before
  // something the caller has read with acquire is found.
  { marks.TakeReferenced(page) } -> std::same_as<bool>;
};

// What became of the page.
enum class EvictOutcome {
  kEvicted,
  kYoung,  // used, or changing hands: to be kept
  kLarge,  // part of a larger leaf that could not be split
};

struct Eviction {
  // Whether it went, or why not.
  EvictOutcome outcome;
  // As AgeResult: how the filter was answered.
  bool was_fast = false;
  // The page was written: what was handed over said so, not what others were
  // handed before.
  bool dirty = false;
  // A notifier that can only invalidate (notifier.h) found it accessed, when
  // it was evicted already.
  bool too_late = false;
};

// Evicts the page from `mmu`, a PrimaryMmu, and from all behind it. `sink` is
// called for each leaf as it is taken; `store(dirty)` reads the page's data,
// once, if it is evicted.
template <class Mmu, PageMarks Marks, class Sink, class Store>
Eviction Evict(Mmu& mmu, GfnRange page, Marks& marks, Sink&& sink,
               Store&& store);

// Calls `fault()`, which is a whole fault, until it answers other than kRetry,
// and marks the page each time, for its evictor to see. `between()` is called,
// too: a CPU that others wait for lets them flush it there.
template <PageMarks Marks, class Fault, class Between>
auto RetryMarking(Marks& marks, GfnRange page, Fault&& fault,
                  Between&& between);

// ---------------------------------------------------------------------------

template <class Mmu, PageMarks Marks, class Sink, class Store>
Eviction Evict(Mmu& mmu, GfnRange page, Marks& marks, Sink&& sink,
               Store&& store) {
  Eviction result{.outcome = EvictOutcome::kYoung};
  const AgeResult filter = mmu.TestClearYoung(page);
  result.was_fast = filter.was_fast;
  // Unknown is never cold.
  if (filter.young || !filter.complete) return result;
  const auto hand_over = [&](const auto& leaf) {
    result.dirty |= leaf.dirty;
    result.too_late |= leaf.accessed;
    sink(leaf);
  };
  const auto decide = [&] {
    return marks.TakeReferenced(page) ? TakeOutcome::kInUse
                                      : TakeOutcome::kTaken;
  };
  TakeOutcome taken = mmu.TakeIfIdle(page, hand_over, decide);
  if (taken == TakeOutcome::kLarge && mmu.Split(page)) {
    taken = mmu.TakeIfIdle(page, hand_over, decide);
  }
  if (taken == TakeOutcome::kLarge) result.outcome = EvictOutcome::kLarge;
  if (taken != TakeOutcome::kTaken) return result;
  result.outcome = EvictOutcome::kEvicted;
  store(result.dirty);
  return result;
}

template <PageMarks Marks, class Fault, class Between>
auto RetryMarking(Marks& marks, GfnRange page, Fault&& fault,
                  Between&& between) {
  for (;;) {
    const auto outcome = fault();
    if (outcome != decltype(outcome)::kRetry) return outcome;
    marks.MarkReferenced(page);
    between();
    SpinPause();
  }
}

}  // namespace ptage

#endif  // PTAGE_LRU_EVICTION_H_
