// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Epoch-based reclamation in which a walk costs one store to begin and one to
// end. Hosted: it needs thread-local storage, and has an asymmetric barrier
// from the operating system where there is one.
//
// Contract
//   * A thread announces a walk in a place of its own, which it takes at its
//     first Begin, Retire or Register and keeps for the next walk; a walk
//     inside another takes a further one. They are free again when the thread
//     ends. So the places bound the threads alive that have used the domain,
//     each with its deepest nesting. A walk that finds no place does not begin
//     (it tests false); who has none may still retire.
//   * Begin and End may be called by any thread at any time, also by a signal
//     handler, inside a walk or inside Begin, which ends what it began before
//     it returns. Walks of one thread may otherwise end in any order, in the
//     thread that began them.
//   * Retire, Poll, Synchronize and stats may be called by any thread, also
//     inside a walk, but for Synchronize; not by a signal handler. They take
//     the domain's locks, never while they call `free`; a `free` function may
//     retire again, and what that makes ripe is freed inside the call.
//   * Retire frees nothing by itself until `batch` objects of its thread wait;
//     then it serves these, and now and then those of all threads. Poll and
//     Synchronize serve everything that any thread has retired.
//   * Where `limit` is set, Retire counts what is held, ripe objects until they
//     have been freed included. If the limit is reached, it tries to free; if
//     it is still reached, it returns kAtLimit. The object is taken and will be
//     freed whatever is returned: the limit bounds what is held only if callers
//     heed it, and then to `limit` and one object for each of them.
//   * A walk that stalls delays what is retired after it began, and no caller
//     but those of Synchronize. stats() counts what is held, and tells the
//     oldest walk and how often it was in the way.
//   * A thread that ends inside walks ends them, which is counted. One that is
//     killed alone, without a word to the C library, holds things back until
//     the domain is destroyed, or until a thread with its identity ends.
//   * In the child of a fork the forking thread goes on, inside its walks if it
//     was; the walks and places of the others are gone, their objects are kept.
//     Only what another thread was just freeing stays unfreed, in the child. No
//     forking from a signal handler that interrupted Retire, Poll or
//     Synchronize, nor by vfork or a bare clone.
//   * Progress: Begin and End wait-free; a thread's first Begin lock-free with
//     at most kPlaces attempts. Retire and Poll wait for locks whose holders
//     look at every place, and for one HeavyBarrier a batch; Synchronize for
//     every walk that began before it.
//
// How threads announce their walks, and why nothing is freed under one, is in
// reclaim/epoch/walks.h; what was retired, and the grace periods that it waits
// for, is here.

#ifndef PTAGE_RECLAIM_EPOCH_H_
#define PTAGE_RECLAIM_EPOCH_H_

#include <cstdint>

#include "ptage/config.h"
#include "ptage/lock.h"
#include "ptage/once.h"
#include "ptage/once/asymmetric.h"
#include "ptage/once/thread.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/epoch/walks.h"
#include "ptage/reclaim/limbo.h"

namespace ptage {

// What walks and writers pay.
struct EpochOptions {
  // How walks begin (reclaim/epoch/walks.h).
  EpochReaders readers = EpochReaders::kFastest;
  // How many objects a thread retires before Retire looks whether any can be
  // freed; at least 1. A look may cost a HeavyBarrier, tens of microseconds.
  std::uint64_t batch = 1024;
  // At how many objects held Retire says kAtLimit; 0: never.
  std::uint64_t limit = 0;
};

// For up to `kPlaces` threads. A place is two lines of memory.
template <unsigned kPlaces = 128, BasicLock L = SpinLock,
          AsymmetricBarrier B = ProcessBarrier>
class EpochDomain {
  // What one thread has retired and nobody has collected.
  struct Stash {
    Stash() : waiting(0), retired(0) {}
    L lock;
    RetiredList list;             // of the holder of the lock
    Cell<std::uint64_t> waiting;  // list.Count(), for a look without the lock
    Cell<std::uint64_t> retired;  // altogether
  };
  using Walks = internal::EpochWalks<kPlaces, B, Stash>;

 public:
  // An entered section, or none.
  using Section = typename Walks::Section;
  using Stats = EpochStats;

  explicit EpochDomain(const EpochOptions& options = {});
  // Frees what is held. Precondition: no other thread uses the domain, and no
  // walk is under way, but for those of threads that are gone. Threads that
  // walked may end before or after.
  ~EpochDomain();
  EpochDomain(const EpochDomain&) = delete;
  EpochDomain& operator=(const EpochDomain&) = delete;

  // Takes a place for the calling thread, unless it has one, so that its first
  // Begin is as fast as any other. False if there is none.
  bool Register() { return walks_.Mine() != nullptr; }
  // Gives the calling thread's place back. Precondition: it is not inside a
  // walk.
  void Unregister() { walks_.Unregister(); }

  [[nodiscard]] Section Begin() { return walks_.Begin(); }
  void End(Section section) { walks_.End(section); }
  RetireOutcome Retire(Retired& node);

  // Frees what no walk holds any more.
  void Poll() { Advance(0, nullptr); }

  // Returns when every walk that began before the call has ended, and what was
  // retired before it is freed, or about to be by another caller. Precondition:
  // the calling thread is not inside a walk.
  void Synchronize();

  // What is held back, and was freed. Takes the lock of writers.
  [[nodiscard]] Stats stats();
  // Whether walks begin by a store.
  [[nodiscard]] bool asymmetric() const { return walks_.asymmetric(); }

 private:
  // In one epoch of so many Retire serves all threads.
  static constexpr std::uint64_t kEpochsApart = 64;

  // Serves what is in `own`, or in every stash if it is null.
  void Advance(std::uint64_t wanted, Stash* own);
  void Collect(Stash& stash);
  void CollectAll() {
    EachStash([this](Stash& stash) { Collect(stash); });
  }
  void Free(RetiredList& ripe);
  // Every stash; and every lock of the domain.
  template <class Function>
  void EachStash(Function function) {
    walks_.EachKept(function);
    function(others_);
  }
  template <class Function>
  void EachLock(Function function) {
    function(lock_);
    EachStash([&](Stash& stash) { function(stash.lock); });
  }

  // Hears of threads that end, and of fork.
  class Watcher final : public ThreadWatcher {
   public:
    explicit Watcher(EpochDomain& domain) : domain_(domain) { StartWatching(); }
    ~Watcher() { StopWatching(); }

   private:
    void OnThreadExit(std::uint64_t thread) override {
      domain_.walks_.OnThreadExit(thread);
    }
    // So that the child finds no list half changed.
    void BeforeFork() override {
      domain_.EachLock([](L& lock) { lock.Lock(); });
    }
    void AfterForkInParent() override {
      domain_.EachLock([](L& lock) { lock.Unlock(); });
    }
    void AfterForkInChild() override {
      domain_.walks_.AfterForkInChild();
      AfterForkInParent();
    }

    EpochDomain& domain_;
  };

  // First: whoever begins a walk needs no other address.
  Walks walks_;
  const EpochOptions options_;
  Stash others_;              // of threads without a place
  Cell<std::uint64_t> held_;  // counted only where there is a limit

  L lock_;
  Limbo limbo_;  // of the holder of lock_

  Watcher watcher_;  // while all else is there
};

// ---------------------------------------------------------------------------

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
EpochDomain<kPlaces, L, B>::EpochDomain(const EpochOptions& options)
    : walks_(options.readers), options_(options), held_(0), watcher_(*this) {
  PTAGE_ASSERT(options.batch > 0);
}

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
EpochDomain<kPlaces, L, B>::~EpochDomain() {
  // What is freed may retire more.
  while (stats().Held() != 0) {
    RetiredList all;
    {
      ScopedLock<L> hold(lock_);
      CollectAll();
      all = limbo_.TakeAll();
    }
    Free(all);
  }
}

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
RetireOutcome EpochDomain<kPlaces, L, B>::Retire(Retired& node) {
  PTAGE_ASSERT(node.free != nullptr);
  // Counted before anyone can free it.
  const bool at_limit =
      options_.limit != 0 && FetchAdd(held_, 1, kRelaxed) + 1 >= options_.limit;
  Stash* const mine = walks_.Mine();
  Stash& stash = mine != nullptr ? *mine : others_;
  std::uint64_t waiting;
  {
    ScopedLock<L> hold(stash.lock);
    stash.list.Push(node);
    waiting = stash.list.Count();
    WriteOnce(stash.waiting, waiting, kRelaxed);
    WriteOnce(stash.retired, ReadOnce(stash.retired, kRelaxed) + 1, kRelaxed);
  }
  if (at_limit) {
    Advance(0, nullptr);
  } else if (waiting >= options_.batch) {
    Advance(0, &stash);
  }
  return at_limit && ReadOnce(held_, kRelaxed) >= options_.limit
             ? RetireOutcome::kAtLimit
             : RetireOutcome::kTaken;
}

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
void EpochDomain<kPlaces, L, B>::Synchronize() {
  PTAGE_ASSERT(!walks_.SeemsInside());
  std::uint64_t begun;
  {
    // What the callers before us unlinked, they unlinked in this epoch or in an
    // earlier one. What was retired must be in the batch of this epoch too:
    //   caller: reads the epoch, e       | other: closes batch e, without what
    //                                    |   waits in the caller's stash
    //                                    | walk: begins, announces e + 1
    //   caller: closes batch e + 1, which the walk holds; finds e ended.
    ScopedLock<L> hold(lock_);
    CollectAll();
    begun = walks_.CurrentEpoch();
  }
  for (unsigned turn = 1;; ++turn) {
    Advance(begun, nullptr);
    {
      ScopedLock<L> hold(lock_);
      if (limbo_.HasEnded(begun)) return;
    }
    // The walk may be that of a thread that waits for our processor.
    if (turn % 64 == 0) {
      YieldThread();
    } else {
      SpinPause();
    }
  }
}

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
void EpochDomain<kPlaces, L, B>::Advance(std::uint64_t wanted, Stash* own) {
  RetiredList ripe;
  {
    ScopedLock<L> hold(lock_);
    // Another thread's objects are in another processor's caches: they are left
    // to that thread, but for now and then, lest it retires no more.
    if (own != nullptr && walks_.CurrentEpoch() % kEpochsApart != 0) {
      Collect(*own);
    } else {
      CollectAll();
    }
    ripe = limbo_.Advance(
        wanted, [this] { return walks_.NextEpoch(); },
        [this] { return walks_.OldestWalk(); });
  }
  Free(ripe);
}

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
void EpochDomain<kPlaces, L, B>::Collect(Stash& stash) {
  if (ReadOnce(stash.waiting, kRelaxed) == 0) return;
  ScopedLock<L> hold(stash.lock);
  limbo_.Add(stash.list);
  WriteOnce(stash.waiting, 0, kRelaxed);
}

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
void EpochDomain<kPlaces, L, B>::Free(RetiredList& ripe) {
  const std::uint64_t count = ripe.Count();
  ripe.FreeAll();
  if (options_.limit != 0) FetchAdd(held_, 0 - count, kRelaxed);
}

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
typename EpochDomain<kPlaces, L, B>::Stats EpochDomain<kPlaces, L, B>::stats() {
  ScopedLock<L> hold(lock_);
  // What has been freed was counted as retired before it was collected.
  Stats stats = limbo_.stats();
  EachStash([&stats](const Stash& stash) {
    stats.retired += ReadOnce(stash.retired, kRelaxed);
  });
  stats.epoch = walks_.CurrentEpoch();
  stats.ended_by_exit = walks_.ended_by_exit();
  return stats;
}

}  // namespace ptage

#endif  // PTAGE_RECLAIM_EPOCH_H_
