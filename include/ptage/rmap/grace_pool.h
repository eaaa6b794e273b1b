// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Chunks of lockless lists from arrays that the caller supplies, given out
// again when no reader can be inside.
//
// Contract
//   * Any thread may call any function but the destructor. They exclude each
//     other by a lock that is never held while another is waited for, and call
//     the reclaimer without it.
//   * Retired chunks wait in batches: one whose grace period is under way, and
//     one that fills meanwhile. So the reclaimer is told of a batch, not of
//     each chunk, and a chunk is free again after two grace periods at most.
//   * Where the reclaimer has Poll, the pool asks it to go on when it runs out
//     of chunks, and after each kPollEvery chunks retired; else somebody must
//     see to it that grace periods end. What the reclaimer frees then, it
//     frees inside the call, whoever retired it: a `free` function must not
//     wait for a lock that callers of Allocate or Retire hold. Two pools of one
//     reclaimer end each other's grace periods inside each other's.
//   * Retire never allocates: batches are linked through the chunks' own words,
//     which no reader looks at.
//
// Sites: none. Chunks pass from a reader to their next user by the reclaimer.

#ifndef PTAGE_RMAP_GRACE_POOL_H_
#define PTAGE_RMAP_GRACE_POOL_H_

#include <cstddef>
#include <cstdint>

#include "ptage/config.h"
#include "ptage/lock.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/rmap/lockless_list.h"

namespace ptage {

// Chunks from the caller's memory, used again after a grace period.
template <class ChunkTypes, Reclaimer R, BasicLock L = SpinLock>
class GracePool {
  static_assert(!kTypeStable<R>,
                "GracePool: a scan has no way to tell that the chunk it reads "
                "has been given to another list, so chunks need a reclaimer "
                "that waits for walks; TypeStable does not");

 public:
  using Chunks = ChunkTypes;
  using First = typename Chunks::First;
  using Later = typename Chunks::Later;

  // After so many retired chunks the reclaimer is asked to free some.
  static constexpr std::size_t kPollEvery = 4096;

  // Chunks of either kind.
  struct Stats {
    std::size_t in_use = 0;   // in a list
    std::size_t waiting = 0;  // retired, and not yet free
  };

  // All outlive the pool.
  GracePool(R& reclaimer, First* firsts, std::size_t first_count, Later* laters,
            std::size_t later_count);
  // Preconditions: no list uses its chunks any more; the caller is not inside a
  // walk, nor holds a lock that a `free` function takes. Waits for the chunks
  // that were retired, where the reclaimer can be waited for; else none may be
  // waiting.
  ~GracePool();
  GracePool(const GracePool&) = delete;
  GracePool& operator=(const GracePool&) = delete;

  // Null where every chunk is in use, or held back by a walk: it may be the
  // caller's own, so that it is worth trying again outside.
  [[nodiscard]] First* AllocateFirst() { return Allocate(free_firsts_); }
  [[nodiscard]] Later* AllocateLater() { return Allocate(free_laters_); }
  // Takes a chunk back that no scan can reach any more which begins from here
  // on. Never waits for one.
  void Retire(First* chunk) { RetireTo(chunk, &Batch::firsts); }
  void Retire(Later* chunk) { RetireTo(chunk, &Batch::laters); }

  // How many are where. Takes the pool's lock.
  [[nodiscard]] Stats stats() {
    ScopedLock<L> hold(lock_);
    return stats_;
  }

 private:
  // Chunks linked through their own words.
  template <class Chunk>
  struct Stack {
    Chunk* top = nullptr;
    Chunk* bottom = nullptr;

    void Push(Chunk* chunk) {
      if (top == nullptr) bottom = chunk;
      chunk->owner.Set(reinterpret_cast<std::uintptr_t>(top));
      top = chunk;
    }
    Chunk* Pop() {
      Chunk* const chunk = top;
      if (chunk != nullptr) {
        top = reinterpret_cast<Chunk*>(
            static_cast<std::uintptr_t>(chunk->owner.Get()));
      }
      return chunk;
    }
    // Takes all of `others`, in a time that does not depend on how many.
    void Take(Stack& others) {
      if (others.top == nullptr) return;
      others.bottom->owner.Set(reinterpret_cast<std::uintptr_t>(top));
      if (top == nullptr) bottom = others.bottom;
      top = others.top;
      others = Stack();
    }
  };
  struct Batch {
    Stack<First> firsts;
    Stack<Later> laters;
    std::size_t count = 0;
  };

  template <class Chunk>
  Chunk* TryAllocate(Stack<Chunk>& list) {
    ScopedLock<L> hold(lock_);
    Chunk* const chunk = list.Pop();
    if (chunk != nullptr) ++stats_.in_use;
    return chunk;
  }
  template <class Chunk>
  Chunk* Allocate(Stack<Chunk>& list) {
    Chunk* chunk = TryAllocate(list);
    // Two turns of the reclaimer end a grace period that no walk holds up, and
    // two more that of the batch which filled meanwhile.
    for (int turn = 0; turn < 4 && chunk == nullptr && Poll(); ++turn) {
      chunk = TryAllocate(list);
    }
    return chunk;
  }
  // False if there is nothing to wait for.
  bool Poll() {
    if constexpr (requires { reclaimer_.Poll(); }) {
      if (stats().waiting == 0) return false;
      reclaimer_.Poll();
      return true;
    } else {
      return false;
    }
  }
  template <class Chunk>
  void RetireTo(Chunk* chunk, Stack<Chunk> Batch::* list);
  // Whether a grace period is to be begun, for the batch that has filled.
  // Precondition: lock_ is held.
  bool BeginGrace();
  // The batch that waited may be used again.
  void EndGrace();

  R& reclaimer_;
  L lock_;
  Stack<First> free_firsts_;
  Stack<Later> free_laters_;
  Batch filling_;
  Batch waiting_;
  bool grace_ = false;
  Stats stats_;
  Retired retired_;
};

// ---------------------------------------------------------------------------

template <class ChunkTypes, Reclaimer R, BasicLock L>
GracePool<ChunkTypes, R, L>::GracePool(R& reclaimer, First* firsts,
                                       std::size_t first_count, Later* laters,
                                       std::size_t later_count)
    : reclaimer_(reclaimer) {
  for (std::size_t i = first_count; i-- > 0;) free_firsts_.Push(&firsts[i]);
  for (std::size_t i = later_count; i-- > 0;) free_laters_.Push(&laters[i]);
  retired_.owner = this;
  retired_.free = [](Retired&, void* owner) {
    static_cast<GracePool*>(owner)->EndGrace();
  };
}

template <class ChunkTypes, Reclaimer R, BasicLock L>
GracePool<ChunkTypes, R, L>::~GracePool() {
  if constexpr (SynchronizingReclaimer<R>) {
    while (stats().waiting != 0) reclaimer_.Synchronize();
  }
  PTAGE_ASSERT(stats().waiting == 0);
}

template <class ChunkTypes, Reclaimer R, BasicLock L>
template <class Chunk>
void GracePool<ChunkTypes, R, L>::RetireTo(Chunk* chunk,
                                           Stack<Chunk> Batch::* list) {
  bool begin;
  bool poll;
  {
    ScopedLock<L> hold(lock_);
    (filling_.*list).Push(chunk);
    poll = ++filling_.count % kPollEvery == 0;
    --stats_.in_use;
    ++stats_.waiting;
    begin = BeginGrace();
  }
  if (begin) {
    reclaimer_.Retire(retired_);
  } else if (poll) {
    Poll();
  }
}

template <class ChunkTypes, Reclaimer R, BasicLock L>
bool GracePool<ChunkTypes, R, L>::BeginGrace() {
  if (grace_ || filling_.count == 0) return false;
  waiting_ = filling_;
  filling_ = Batch();
  grace_ = true;
  return true;
}

template <class ChunkTypes, Reclaimer R, BasicLock L>
void GracePool<ChunkTypes, R, L>::EndGrace() {
  bool begin;
  {
    ScopedLock<L> hold(lock_);
    free_firsts_.Take(waiting_.firsts);
    free_laters_.Take(waiting_.laters);
    stats_.waiting -= waiting_.count;
    waiting_ = Batch();
    grace_ = false;
    begin = BeginGrace();
  }
  // The scheme has let go of the node before it called.
  if (begin) reclaimer_.Retire(retired_);
}

}  // namespace ptage

#endif  // PTAGE_RMAP_GRACE_POOL_H_
