// SPDX-License-Identifier: MIT OR Apache-2.0
//
// One set of rmaps under several disciplines in turn, so that contenders share
// heads, lists and entries, and differ in their locks alone.
//
// Contract
//   Select is called while no other thread uses the rmaps. Between two calls
//   the contract of the selected discipline holds:
//     RmapLock::kSingleLockless  single_entry_lockless.h
//     RmapLock::kByCaller        the same, but who ages holds a lock that
//     writers
//                                take, and then lists are answered too
//     RmapLock::kBit             bit_locked.h
//   With ClearBy::kPlainStore an accessed bit is cleared by a store without
//   comparison, which may undo what a walker set meanwhile.

#ifndef PTAGE_BENCH_RMAPS_H_
#define PTAGE_BENCH_RMAPS_H_

#include <cstdint>

#include "absl/synchronization/mutex.h"
#include "bench/contender.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/rmap.h"
#include "ptage/rmap/bit_locked.h"
#include "ptage/rmap/chunk_list.h"
#include "ptage/rmap/single_entry_lockless.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage::bench {

// Stands for a lock that the caller holds.
struct HeldByCaller {
  void Lock() {}
  void Unlock() {}
};

// Clears the accessed bit of a young `entry` by a plain store.
template <SpteFormat F>
SpteAge AgeByPlainStore(SpteCell<F>& entry) {
  const typename F::Word seen = ReadOnce(entry, kAcquire);
  if (IsFrozen<F>(seen)) return SpteAge::kFrozen;
  if (!F::IsPresent(seen)) return SpteAge::kAbsent;
  if (!IsYoung<F>(seen)) return SpteAge::kCold;
  WriteOnce(entry, static_cast<typename F::Word>(seen & ~F::kAccessed),
            kRelaxed);
  return SpteAge::kYoung;
}

template <SpteFormat F, TableMemory<F> M, RmapChunkPool<F> P>
class SwitchedRmaps {
 public:
  using Format = F;
  using Entry = SpteCell<F>;
  static constexpr bool kFastAging = false;

  // All outlive the rmaps.
  SwitchedRmaps(M& memory, P& pool, absl::Mutex& mmu_lock)
      : single_(memory, pool, mmu_lock),
        by_caller_(memory, pool, held_),
        bit_(memory, pool) {}

  void Select(RmapLock lock, ClearBy clear_by) {
    lock_ = lock;
    clear_by_ = clear_by;
  }

  [[nodiscard]] RmapAdd Add(RmapHead& head, Entry& entry) {
    return lock_ == RmapLock::kBit ? bit_.Add(head, entry)
                                   : single_.Add(head, entry);
  }
  bool Remove(RmapHead& head, Entry& entry) {
    return lock_ == RmapLock::kBit ? bit_.Remove(head, entry)
                                   : single_.Remove(head, entry);
  }
  [[nodiscard]] Entry* Any(RmapHead& head) {
    return lock_ == RmapLock::kBit ? bit_.Any(head) : single_.Any(head);
  }
  [[nodiscard]] std::uint32_t Count(RmapHead& head) {
    return lock_ == RmapLock::kBit ? bit_.Count(head) : single_.Count(head);
  }
  [[nodiscard]] bool Contains(RmapHead& head, Entry& entry) {
    return lock_ == RmapLock::kBit ? bit_.Contains(head, entry)
                                   : single_.Contains(head, entry);
  }
  // 0, 1, or 2 for a list of any length, by a look that takes no lock.
  [[nodiscard]] static std::uint64_t PeekCount(const RmapHead& head) {
    const ptage::internal::RmapWord seen(ReadOnce(head.word, kRelaxed));
    return seen.Empty() ? 0 : seen.Many() ? 2 : 1;
  }
  AgeResult Age(RmapHead& head, RmapFrame frame, AgeAction action, AgeMode mode,
                AgeCounts& counts) {
    if (clear_by_ == ClearBy::kPlainStore) return AgeBare(head, counts);
    switch (lock_) {
      case RmapLock::kSingleLockless:
        return single_.Age(head, frame, action, mode, counts);
      case RmapLock::kByCaller:
        return by_caller_.Age(head, frame, action, mode, counts);
      case RmapLock::kBit:
        return bit_.Age(head, frame, action, mode, counts);
    }
    return AgeResult{.complete = false};
  }

 private:
  AgeResult AgeBare(RmapHead& head, AgeCounts& counts) {
    const ptage::internal::RmapWord seen(ReadOnce(head.word, kAcquire));
    if (seen.Empty()) return AgeResult{};
    if (seen.Many()) {
      ++counts.unanswered;
      return AgeResult{.complete = false};
    }
    const SpteAge age = AgeByPlainStore<F>(*seen.template Single<Entry>());
    counts += CountsOf(age);
    return ToResult(age, AgeMode::kFastOnly);
  }

  HeldByCaller held_;
  SingleEntryLockless<F, M, P, absl::Mutex> single_;
  SingleEntryLockless<F, M, P, HeldByCaller> by_caller_;
  BitLocked<F, M, P> bit_;
  RmapLock lock_ = RmapLock::kSingleLockless;
  ClearBy clear_by_ = ClearBy::kCompareAndSwap;
};

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_RMAPS_H_
