// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The discipline that was merged into Linux (see docs/decisions.md): bit 1 of
// the head is a spin lock, which writers and slow readers take, for one entry
// as for many.
//
// Contract
//   * Any thread may call any function, inside a LocklessWalk. Calls on one
//     head exclude each other by the bit, but for Age fast-only, which does not
//     touch it: it answers for a single entry from the head as it was read, and
//     leaves a list unknown. (To try for the bit once would make its answers
//     depend on unrelated load.)
//   * Progress: Age fast-only wait-free; all else waits for the holder of the
//     bit, except on an empty head, which readers pass.
//
// Sites (order · partner)
//   [bit.1] acquire load in Age   · [head.2]

#ifndef PTAGE_RMAP_BIT_LOCKED_H_
#define PTAGE_RMAP_BIT_LOCKED_H_

#include <cstdint>

#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/rmap.h"
#include "ptage/rmap/chunk_list.h"
#include "ptage/rmap/head_lock.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

template <SpteFormat F, TableMemory<F> M, RmapChunkPool<F> P>
class BitLocked {
 public:
  using Format = F;
  using Entry = SpteCell<F>;
  static constexpr bool kFastAging = false;
  static constexpr bool kParallelWriters = true;
  static constexpr bool kSinglesUnlocked = false;

  // Both outlive the discipline.
  BitLocked(M& memory, P& pool, std::uint32_t cap = kDefaultRmapCap)
      : memory_(memory), list_(pool, cap) {}

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

  // Of OrderedRmaps: both sides hold the bit, one after the other.
  template <class Visitor>
  bool Visit(RmapHead& head, Visitor&& visit);
  void Announce(RmapHead& head) {
    internal::UnlockHead(head, internal::LockHead(head));
  }

  // For AgeRange (rmap/range.h). What a chunk leads to is not fetched: a chunk
  // may be read by the lock's holder alone.
  static void PrefetchNear(std::uintptr_t word) {
    const internal::RmapWord head(word);
    Prefetch(head.Many() ? static_cast<const void*>(head.Newest<RmapChunk<F>>())
                         : head.Single<Entry>());
  }
  static void PrefetchFar(std::uintptr_t) {}

 private:
  M& memory_;
  internal::ChunkList<F, P> list_;
};

// ---------------------------------------------------------------------------

template <SpteFormat F, TableMemory<F> M, RmapChunkPool<F> P>
RmapAdd BitLocked<F, M, P>::Add(RmapHead& head, Entry& entry) {
  RmapAdd outcome;
  internal::UnlockHead(head,
                       list_.Added(internal::LockHead(head), entry, outcome));
  return outcome;
}

template <SpteFormat F, TableMemory<F> M, RmapChunkPool<F> P>
bool BitLocked<F, M, P>::Remove(RmapHead& head, Entry& entry) {
  const std::uintptr_t word = internal::LockHead(head);
  const std::uint32_t before = list_.Count(word);
  const std::uintptr_t without = list_.Removed(word, entry);
  const bool found = list_.Count(without) != before;
  internal::UnlockHead(head, without);
  return found;
}

template <SpteFormat F, TableMemory<F> M, RmapChunkPool<F> P>
auto BitLocked<F, M, P>::Any(RmapHead& head) -> Entry* {
  const std::uintptr_t word = internal::LockHead(head);
  Entry* any = nullptr;
  list_.ForEach(word, [&](Entry& entry) {
    any = &entry;
    return false;
  });
  internal::UnlockHead(head, word);
  return any;
}

template <SpteFormat F, TableMemory<F> M, RmapChunkPool<F> P>
std::uint32_t BitLocked<F, M, P>::Count(RmapHead& head) {
  const std::uintptr_t word = internal::LockHead(head);
  const std::uint32_t count = list_.Count(word);
  internal::UnlockHead(head, word);
  return count;
}

template <SpteFormat F, TableMemory<F> M, RmapChunkPool<F> P>
bool BitLocked<F, M, P>::Contains(RmapHead& head, Entry& entry) {
  const std::uintptr_t word = internal::LockHead(head);
  bool found = false;
  list_.ForEach(word, [&](Entry& other) {
    found = &other == &entry;
    return !found;
  });
  internal::UnlockHead(head, word);
  return found;
}

template <SpteFormat F, TableMemory<F> M, RmapChunkPool<F> P>
template <class Visitor>
bool BitLocked<F, M, P>::Visit(RmapHead& head, Visitor&& visit) {
  const std::uintptr_t word = internal::LockHead(head);
  bool all = true;
  list_.ForEach(word, [&](Entry& entry) {
    all = visit(entry);
    return all;
  });
  internal::UnlockHead(head, word);
  return all;
}

template <SpteFormat F, TableMemory<F> M, RmapChunkPool<F> P>
AgeResult BitLocked<F, M, P>::Age(RmapHead& head, RmapFrame frame,
                                  AgeAction action, AgeMode mode,
                                  AgeCounts& counts) {
  // [bit.1] acquire, pairs with [head.2]. A word with the lock bit was written
  // by LockHead, which continues the release sequence of the unlock before.
  const internal::RmapWord seen(ReadOnce(head.word, kAcquire));
  if (seen.Empty()) return AgeResult{};
  internal::RmapQuestion<F, M> question{memory_, frame, action, mode, counts};
  if (mode == AgeMode::kFastOnly) {
    if (!seen.Many()) {
      std::uint64_t cold = 0;
      internal::AgeThroughRmap<F>(question, *seen.Single<Entry>(), cold);
      counts.examined += cold;
      return question.result;
    }
    ++counts.unanswered;
    return AgeResult{.complete = false};
  }
  // The word is walked that LockHead returned: one read before could lead to a
  // chunk that is freed by now.
  const std::uintptr_t word = internal::LockHead(head);
  std::uint64_t cold = 0;
  list_.ForEach(word, [&](Entry& entry) __attribute__((always_inline)) {
    internal::AgeThroughRmap<F>(question, entry, cold);
    return true;
  });
  counts.examined += cold;
  internal::UnlockHead(head, word);
  return question.result;
}

}  // namespace ptage

#endif  // PTAGE_RMAP_BIT_LOCKED_H_
