// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The discipline that was first proposed for Linux (see docs/decisions.md):
// a head with one entry is aged without a lock, a list under the MMU lock.
//
// Contract
//   * Add, Remove, Any, Count and Contains: the caller holds the MMU lock.
//   * Age: any thread inside a LocklessWalk, not holding the MMU lock.
//     Concurrently with writers it asks the entry that the head held when it
//     was read. Fast-only leaves a list unknown; slow takes the MMU lock for
//     it.
//   * Progress: Age fast-only wait-free; Age slow waits for the MMU lock where
//     it meets a list, else wait-free.
//
// Sites (order · partner)
//   [single.1] acquire load in Age           · [single.2]
//   [single.2] release store in Add, Remove  · [single.1]

#ifndef PTAGE_RMAP_SINGLE_ENTRY_LOCKLESS_H_
#define PTAGE_RMAP_SINGLE_ENTRY_LOCKLESS_H_

#include <cstdint>

#include "ptage/lock.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/rmap.h"
#include "ptage/rmap/chunk_list.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

template <SpteFormat F, TableMemory<F> M, RmapChunkPool<F> P,
          BasicLock L = SpinLock>
class SingleEntryLockless {
 public:
  using Format = F;
  using Entry = SpteCell<F>;
  static constexpr bool kFastAging = false;
  static constexpr bool kParallelWriters = false;
  static constexpr bool kSinglesUnlocked = true;

  // All outlive the discipline. `mmu_lock` is the one that callers of Add and
  // Remove hold.
  SingleEntryLockless(M& memory, P& pool, L& mmu_lock,
                      std::uint32_t cap = kDefaultRmapCap)
      : memory_(memory), mmu_lock_(mmu_lock), list_(pool, cap) {}

  [[nodiscard]] RmapAdd Add(RmapHead& head, Entry& entry);
  bool Remove(RmapHead& head, Entry& entry);
  [[nodiscard]] Entry* Any(RmapHead& head);
  [[nodiscard]] std::uint32_t Count(RmapHead& head);
  [[nodiscard]] bool Contains(RmapHead& head, Entry& entry);
  // As EnumerableRmaps says.
  template <class Visitor>
  void ForEach(RmapHead& head, Visitor&& visit) {
    list_.ForEach(ReadOnce(head.word, kRelaxed), [&](Entry& entry) {
      visit(entry);
      return true;
    });
  }
  AgeResult Age(RmapHead& head, RmapFrame frame, AgeAction action, AgeMode mode,
                AgeCounts& counts);

  // For AgeRange (rmap/range.h). What a chunk leads to is not fetched: a chunk
  // may be read by the lock's holder alone.
  [[nodiscard]] M& memory() const { return memory_; }
  static void PrefetchNear(std::uintptr_t word) {
    const internal::RmapWord head(word);
    Prefetch(head.Many() ? static_cast<const void*>(head.Newest<RmapChunk<F>>())
                         : head.Single<Entry>());
  }
  static void PrefetchFar(std::uintptr_t) {}

 private:
  M& memory_;
  L& mmu_lock_;
  internal::ChunkList<F, P> list_;
};

// ---------------------------------------------------------------------------

template <SpteFormat F, TableMemory<F> M, RmapChunkPool<F> P, BasicLock L>
RmapAdd SingleEntryLockless<F, M, P, L>::Add(RmapHead& head, Entry& entry) {
  RmapAdd outcome;
  const std::uintptr_t word =
      list_.Added(ReadOnce(head.word, kRelaxed), entry, outcome);
  // [single.2] release, pairs with [single.1]: the entry's table is visible to
  // who finds the entry.
  if (outcome == RmapAdd::kDone) WriteOnce(head.word, word, kRelease);
  return outcome;
}

template <SpteFormat F, TableMemory<F> M, RmapChunkPool<F> P, BasicLock L>
bool SingleEntryLockless<F, M, P, L>::Remove(RmapHead& head, Entry& entry) {
  const std::uintptr_t word = ReadOnce(head.word, kRelaxed);
  const std::uint32_t before = list_.Count(word);
  const std::uintptr_t without = list_.Removed(word, entry);
  // [single.2] release, pairs with [single.1]: when one entry is left, whoever
  // finds it finds its table.
  WriteOnce(head.word, without, kRelease);
  return list_.Count(without) != before;
}

template <SpteFormat F, TableMemory<F> M, RmapChunkPool<F> P, BasicLock L>
auto SingleEntryLockless<F, M, P, L>::Any(RmapHead& head) -> Entry* {
  Entry* any = nullptr;
  list_.ForEach(ReadOnce(head.word, kRelaxed), [&](Entry& entry) {
    any = &entry;
    return false;
  });
  return any;
}

template <SpteFormat F, TableMemory<F> M, RmapChunkPool<F> P, BasicLock L>
std::uint32_t SingleEntryLockless<F, M, P, L>::Count(RmapHead& head) {
  return list_.Count(ReadOnce(head.word, kRelaxed));
}

template <SpteFormat F, TableMemory<F> M, RmapChunkPool<F> P, BasicLock L>
bool SingleEntryLockless<F, M, P, L>::Contains(RmapHead& head, Entry& entry) {
  bool found = false;
  list_.ForEach(ReadOnce(head.word, kRelaxed), [&](Entry& other) {
    found = &other == &entry;
    return !found;
  });
  return found;
}

template <SpteFormat F, TableMemory<F> M, RmapChunkPool<F> P, BasicLock L>
AgeResult SingleEntryLockless<F, M, P, L>::Age(RmapHead& head, RmapFrame frame,
                                               AgeAction action, AgeMode mode,
                                               AgeCounts& counts) {
  // [single.1] acquire, pairs with [single.2].
  const internal::RmapWord seen(ReadOnce(head.word, kAcquire));
  if (seen.Empty()) return AgeResult{};
  internal::RmapQuestion<F, M> question{memory_, frame, action, mode, counts};
  std::uint64_t cold = 0;
  if (!seen.Many()) {
    internal::AgeThroughRmap<F>(question, *seen.Single<Entry>(), cold);
    counts.examined += cold;
    return question.result;
  }
  if (mode == AgeMode::kFastOnly) {
    ++counts.unanswered;
    return AgeResult{.complete = false};
  }
  // Were the list walked that was read before the lock was held:
  //   ager: reads the head, a list  | writer: removes all but one, frees the
  //   ager: takes the lock          |   chunk
  //   ager: walks a freed chunk.
  // Under the lock the head is read as writers read it.
  ScopedLock<L> hold(mmu_lock_);
  list_.ForEach(ReadOnce(head.word, kRelaxed),
                [&](Entry& entry) __attribute__((always_inline)) {
                  internal::AgeThroughRmap<F>(question, entry, cold);
                  return true;
                });
  counts.examined += cold;
  return question.result;
}

}  // namespace ptage

#endif  // PTAGE_RMAP_SINGLE_ENTRY_LOCKLESS_H_
