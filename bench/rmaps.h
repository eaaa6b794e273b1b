// SPDX-License-Identifier: MIT OR Apache-2.0
//
// One set of rmaps under several disciplines in turn, so that contenders share
// heads and entries, and differ in their locks, and in how lists are kept.
//
// Contract
//   Select and Convert are called while no other thread uses the rmaps. Where
//   Select returns true, Convert is called for every head before the rmaps are
//   used again. Between two calls the contract of the selected discipline
//   holds:
//     RmapLock::kLockless        lockless.h, writers excluded by the MMU lock
//     RmapLock::kSingleLockless  single_entry_lockless.h
//     RmapLock::kByCaller        the same, but who ages holds a lock that
//                                writers take, and then lists are answered too
//     RmapLock::kBit             bit_locked.h
//   With ClearBy::kPlainStore, which is for kLockless, an accessed bit is
//   cleared by a store without comparison, which may undo what a walker set
//   meanwhile.

#ifndef PTAGE_BENCH_RMAPS_H_
#define PTAGE_BENCH_RMAPS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "bench/contender.h"
#include "ptage/config.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/rmap.h"
#include "ptage/rmap/bit_locked.h"
#include "ptage/rmap/chunk_list.h"
#include "ptage/rmap/grace_pool.h"
#include "ptage/rmap/lockless.h"
#include "ptage/rmap/lockless_list.h"
#include "ptage/rmap/range.h"
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

// Lockless, but for how a young entry is cleared, and that it is not asked
// whose it is.
template <SpteFormat F, TableMemory<F> M, LocklessRmapPool<F> P>
class BareClearRmaps : public Lockless<F, M, P, RmapWriters::kExcluded> {
 public:
  using Lockless<F, M, P, RmapWriters::kExcluded>::Lockless;

  AgeResult Age(RmapHead& head, RmapFrame, AgeAction, AgeMode mode,
                AgeCounts& counts) {
    AgeResult result;
    ptage::internal::LocklessList<typename P::Chunks>::Scan(
        ReadOnce(head.word, kAcquire), [&](SpteCell<F>& entry) {
          const SpteAge age = AgeByPlainStore<F>(entry);
          counts += CountsOf(age);
          result |= ToResult(age, mode);
          return true;
        });
    return result;
  }
};

template <SpteFormat F, TableMemory<F> M, Reclaimer R>
class SwitchedRmaps {
 public:
  using Format = F;
  using Entry = SpteCell<F>;
  // Of some of them; the MMU's answer to `was_fast` is not used.
  static constexpr bool kFastAging = false;
  static constexpr bool kParallelWriters = false;

  // All outlive the rmaps. There are `most_lists` lists at most, and none has
  // more entries than a chunk.
  SwitchedRmaps(M& memory, R& reclaimer, absl::Mutex& mmu_lock,
                std::size_t most_lists)
      : reclaimer_(reclaimer),
        chunks_(std::make_unique<RmapChunk<F>[]>(most_lists)),
        pool_(chunks_.get(), most_lists),
        // As many again, for those that wait for a grace period.
        firsts_(std::make_unique<First[]>(2 * most_lists)),
        grace_pool_(reclaimer, firsts_.get(), 2 * most_lists, nullptr, 0),
        lockless_(memory, grace_pool_),
        bare_(memory, grace_pool_),
        single_(memory, pool_, mmu_lock),
        by_caller_(memory, pool_, held_),
        bit_(memory, pool_) {}

  // True: lists are kept in another way from here on.
  [[nodiscard]] bool Select(RmapLock lock, ClearBy clear_by) {
    PTAGE_ASSERT(clear_by != ClearBy::kPlainStore ||
                 lock == RmapLock::kLockless);
    const RmapLock before = std::exchange(lock_, lock);
    clear_by_ = clear_by;
    // No window finds fewer chunks than another.
    while (grace_pool_.stats().waiting != 0) reclaimer_.Synchronize();
    return (before == RmapLock::kLockless) != (lock == RmapLock::kLockless);
  }
  // Keeps the list of `head` in the way of what is selected.
  void Convert(RmapHead& head) {
    if (!ptage::internal::RmapWord(ReadOnce(head.word, kRelaxed)).Many()) {
      return;
    }
    if (lock_ == RmapLock::kLockless) {
      Move(single_, lockless_, head);
    } else {
      Move(lockless_, single_, head);
    }
  }

  [[nodiscard]] RmapAdd Add(RmapHead& head, Entry& entry) {
    return AsWriter([&](auto& rmaps) { return rmaps.Add(head, entry); });
  }
  bool Remove(RmapHead& head, Entry& entry) {
    return AsWriter([&](auto& rmaps) { return rmaps.Remove(head, entry); });
  }
  [[nodiscard]] Entry* Any(RmapHead& head) {
    return AsWriter([&](auto& rmaps) { return rmaps.Any(head); });
  }
  [[nodiscard]] std::uint32_t Count(RmapHead& head) {
    return AsWriter([&](auto& rmaps) { return rmaps.Count(head); });
  }
  [[nodiscard]] bool Contains(RmapHead& head, Entry& entry) {
    return AsWriter([&](auto& rmaps) { return rmaps.Contains(head, entry); });
  }
  // 0, 1, or 2 for a list of any length, by a look that takes no lock.
  [[nodiscard]] static std::uint64_t PeekCount(const RmapHead& head) {
    const ptage::internal::RmapWord seen(ReadOnce(head.word, kRelaxed));
    return seen.Empty() ? 0 : seen.Many() ? 2 : 1;
  }
  // Bytes of the lists in use, where they are kept for RmapLock::kLockless.
  [[nodiscard]] std::uint64_t ListBytes() {
    return grace_pool_.stats().in_use * sizeof(First);
  }
  AgeResult Age(RmapHead& head, RmapFrame frame, AgeAction action, AgeMode mode,
                AgeCounts& counts) {
    return AsAger([&](auto& rmaps) {
      return rmaps.Age(head, frame, action, mode, counts);
    });
  }
  // What the MMU calls for a range (rmap/range.h): each discipline is asked in
  // the way that suits it best. That is head by head for BitLocked: here heads
  // and entries follow one another, so that the processor fetches them itself,
  // and a queue of prefetches takes it twice as long.
  friend AgeResult AgeRange(SwitchedRmaps& rmaps, RmapHead* heads,
                            RmapFrame first, std::uint64_t count,
                            AgeAction action, AgeMode mode,
                            const AgeOutput& output, AgeCounts& counts) {
    const auto ask = [&](auto& asked) {
      return ptage::AgeRange(asked, heads, first, count, action, mode, output,
                             counts);
    };
    return rmaps.lock_ == RmapLock::kBit ? ask(rmaps) : rmaps.AsAger(ask);
  }

 private:
  using Chunks = RmapChunks<F>;
  using First = typename Chunks::First;
  using Pool = FixedChunkPool<F>;
  using Graces = GracePool<Chunks, R>;

  template <class From, class To>
  static void Move(From& from, To& to, RmapHead& head) {
    std::vector<Entry*> entries;
    while (Entry* const entry = from.Any(head)) {
      entries.push_back(entry);
      from.Remove(head, *entry);
    }
    for (; !entries.empty(); entries.pop_back()) {
      const RmapAdd added = to.Add(head, *entries.back());
      PTAGE_ASSERT(added == RmapAdd::kDone);
    }
  }

  template <class Use>
  auto AsWriter(Use&& use) {
    switch (lock_) {
      case RmapLock::kLockless:
        return use(lockless_);
      case RmapLock::kBit:
        return use(bit_);
      default:
        return use(single_);
    }
  }
  template <class Use>
  AgeResult AsAger(Use&& use) {
    switch (lock_) {
      case RmapLock::kLockless:
        return clear_by_ == ClearBy::kPlainStore ? use(bare_) : use(lockless_);
      case RmapLock::kSingleLockless:
        return use(single_);
      case RmapLock::kByCaller:
        return use(by_caller_);
      case RmapLock::kBit:
        return use(bit_);
    }
    return AgeResult{.complete = false};
  }

  R& reclaimer_;
  HeldByCaller held_;
  std::unique_ptr<RmapChunk<F>[]> chunks_;
  Pool pool_;
  std::unique_ptr<First[]> firsts_;
  Graces grace_pool_;
  Lockless<F, M, Graces, RmapWriters::kExcluded> lockless_;
  BareClearRmaps<F, M, Graces> bare_;
  SingleEntryLockless<F, M, Pool, absl::Mutex> single_;
  SingleEntryLockless<F, M, Pool, HeldByCaller> by_caller_;
  BitLocked<F, M, Pool> bit_;
  RmapLock lock_ = RmapLock::kLockless;
  ClearBy clear_by_ = ClearBy::kCompareAndSwap;
};

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_RMAPS_H_
