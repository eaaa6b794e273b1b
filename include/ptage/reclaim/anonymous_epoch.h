// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Epoch-based reclamation that any thread can enter without registration and
// without thread-local storage.
//
// Contract
//   * Begin and End may be called by any thread at any time, from a signal
//     handler as well. Begin tries each of the domain's places once, starting
//     from one that depends on the thread, and fails if all are taken.
//   * Retire, Poll and Synchronize may be called by any thread; they exclude
//     each other by a lock, and free what is ripe after they have let go of it.
//     A `free` function may retire again; what that makes ripe is freed inside
//     the call, so a chain of such objects nests.
//   * A walk that stalls, or a thread that dies inside one, delays what is
//     retired after it began, never the caller of Retire. What is held back is
//     counted in stats().
//   * Progress: Begin and End wait-free; Retire and Poll wait for the domain's
//     lock only; Synchronize waits for every walk that began before it.
//
// Why nothing is freed under a walk (docs/reclamation.md, with the other
// domain)
//   Notation: a walk W reads the epoch [anonymous.4], announces it in a place
//   by compare-and-swap [anonymous.1], and leaves by a store [anonymous.2]; a
//   look reads each place by a read-modify-write that adds zero [anonymous.3],
//   under the lock. An object N is unlinked and retired; then, under the lock,
//   epoch e ends [anonymous.5]; S is the first look after that which finds no
//   place with e or less. N is freed after S.
//   1. A walk that announced more than e sees N unlinked: [anonymous.4]
//      synchronizes with [anonymous.5].
//   2. Let W have announced e or less. In the modification order of its place
//      the announcement comes before or after S, both being read-modify-writes.
//   3. If before, W has left, or S would have read it. S synchronizes with its
//      leaving: the value that S reads is W's, or descends from it through the
//      announcements of later walks.
//   4. If after, and S found the place idle, the first announcement after S
//      synchronizes with S. If S found a walk there, 1 holds for that one; the
//      walks after it learn what it knows, each from the leaving of the one
//      before. Either way W sees N unlinked.
//   5. By 1, 3 and 4 every walk that has not left, or will begin, sees N
//      unlinked and cannot reach it; the others' reads of N happened before.
//   Why 1 is needed: the store in [anonymous.2] ends the release sequence of a
//   look,
//     W0: leaves, over the look's value   | writer: begins epoch e + 1
//     W:  reads e + 1, announces in the place, learning nothing from the look
//     W:  still reads the link to N       | writer: S sees e + 1, frees N.
//
// Sites (order · partner)
//   [anonymous.1] acquire compare-and-swap in Begin · [anonymous.2],
//                                                     [anonymous.3]
//   [anonymous.2] release store in End              · [anonymous.1],
//                                                     [anonymous.3]
//   [anonymous.3] acquire-release addition of zero  · [anonymous.1],
//                 in OldestWalk                       [anonymous.2]
//   [anonymous.4] acquire load in Begin             · [anonymous.5]
//   [anonymous.5] release store in NextEpoch        · [anonymous.4]

#ifndef PTAGE_RECLAIM_ANONYMOUS_EPOCH_H_
#define PTAGE_RECLAIM_ANONYMOUS_EPOCH_H_

#include <cstdint>

#include "ptage/config.h"
#include "ptage/lock.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/limbo.h"

namespace ptage {

// A reader-writer scheme for up to `kPlaces` walks at a time.
template <unsigned kPlaces = 64, BasicLock L = SpinLock>
class AnonymousEpochDomain {
  static_assert(kPlaces > 0);

 public:
  // An entered section, or none.
  class Section {
   public:
    Section() = default;
    explicit operator bool() const { return place_ != nullptr; }

   private:
    friend class AnonymousEpochDomain;
    explicit Section(Cell<std::uint64_t>* place) : place_(place) {}
    Cell<std::uint64_t>* place_ = nullptr;
  };

  using Stats = EpochStats;

  AnonymousEpochDomain() : epoch_(kFirstEpoch) {
    for (Place& place : places_) WriteOnce(place.announced, kIdle, kRelaxed);
  }
  // Frees what is held. Precondition: no walk is under way, but for those of
  // threads that are gone.
  ~AnonymousEpochDomain();
  AnonymousEpochDomain(const AnonymousEpochDomain&) = delete;
  AnonymousEpochDomain& operator=(const AnonymousEpochDomain&) = delete;

  [[nodiscard]] Section Begin();
  void End(Section section);
  void Retire(Retired& node);

  // Frees what no walk holds any more.
  void Poll();

  // Returns when every walk that began before the call has ended, and what was
  // retired before it is freed, or about to be by another caller. Precondition:
  // the calling thread is not inside a walk.
  void Synchronize();

  // What is held back, and was freed. Takes the lock of writers.
  [[nodiscard]] Stats stats();

 private:
  // Epochs start above what 0 · 2 + 1 could be taken for.
  static constexpr std::uint64_t kFirstEpoch = 2;
  static constexpr std::uint64_t kIdle = 0;

  // A line each, so that walks of different threads share none.
  struct alignas(64) Place {
    // kIdle, or 2 · epoch + 1.
    Cell<std::uint64_t> announced;
  };

  void Advance(std::uint64_t wanted, RetiredList& retired);
  std::uint64_t NextEpoch();
  std::uint64_t OldestWalk();
  std::uint64_t CurrentEpoch() const { return ReadOnce(epoch_, kRelaxed); }

  Cell<std::uint64_t> epoch_;
  Place places_[kPlaces];

  // The rest belongs to the holder of the lock.
  L lock_;
  Limbo limbo_;
  std::uint64_t retired_ = 0;
};

// ---------------------------------------------------------------------------

template <unsigned kPlaces, BasicLock L>
AnonymousEpochDomain<kPlaces, L>::~AnonymousEpochDomain() {
  // What is freed may retire more.
  while (stats().Held() != 0) {
    RetiredList all;
    {
      ScopedLock<L> hold(lock_);
      all = limbo_.TakeAll();
    }
    all.FreeAll();
  }
}

template <unsigned kPlaces, BasicLock L>
typename AnonymousEpochDomain<kPlaces, L>::Section
AnonymousEpochDomain<kPlaces, L>::Begin() {
  // [anonymous.4] acquire, pairs with [anonymous.5]: see 1 above.
  const std::uint64_t mine = ReadOnce(epoch_, kAcquire) * 2 + 1;
  const unsigned first = ThreadHint();
  for (unsigned i = 0; i < kPlaces; ++i) {
    Cell<std::uint64_t>& place = places_[(first + i) % kPlaces].announced;
    if (ReadOnce(place, kRelaxed) != kIdle) continue;
    // Were this a store and the scan a load, both sides could miss each other:
    //   walk: announces (in its store buffer) | writer: unlinks N, scans: idle
    //   walk: reads the pointer to N          | writer: frees N
    // Two read-modify-writes of one word are ordered.
    // [anonymous.1] acquire, pairs with [anonymous.2] and
    // [anonymous.3].
    if (TryCmpxchg(place, kIdle, mine, kAcquire)) return Section(&place);
  }
  return Section();
}

template <unsigned kPlaces, BasicLock L>
void AnonymousEpochDomain<kPlaces, L>::End(Section section) {
  PTAGE_ASSERT(static_cast<bool>(section));
  // [anonymous.2] release, pairs with [anonymous.1] and
  // [anonymous.3]: what the walk read, it read before anything is freed.
  WriteOnce(*section.place_, kIdle, kRelease);
}

template <unsigned kPlaces, BasicLock L>
void AnonymousEpochDomain<kPlaces, L>::Retire(Retired& node) {
  PTAGE_ASSERT(node.free != nullptr);
  RetiredList list;
  list.Push(node);
  Advance(0, list);
}

template <unsigned kPlaces, BasicLock L>
void AnonymousEpochDomain<kPlaces, L>::Poll() {
  RetiredList nothing;
  Advance(0, nothing);
}

template <unsigned kPlaces, BasicLock L>
void AnonymousEpochDomain<kPlaces, L>::Synchronize() {
  std::uint64_t begun;
  {
    ScopedLock<L> hold(lock_);
    begun = CurrentEpoch();
  }
  for (;;) {
    RetiredList nothing;
    Advance(begun, nothing);
    {
      // The lock makes the walks' ends visible whoever looked.
      ScopedLock<L> hold(lock_);
      if (limbo_.HasEnded(begun)) return;
    }
    SpinPause();
  }
}

template <unsigned kPlaces, BasicLock L>
void AnonymousEpochDomain<kPlaces, L>::Advance(std::uint64_t wanted,
                                               RetiredList& retired) {
  RetiredList ripe;
  {
    ScopedLock<L> hold(lock_);
    retired_ += retired.Count();
    limbo_.Add(retired);
    ripe = limbo_.Advance(
        wanted, [this] { return NextEpoch(); },
        [this] { return OldestWalk(); });
  }
  ripe.FreeAll();
}

template <unsigned kPlaces, BasicLock L>
typename AnonymousEpochDomain<kPlaces, L>::Stats
AnonymousEpochDomain<kPlaces, L>::stats() {
  ScopedLock<L> hold(lock_);
  Stats stats = limbo_.stats();
  stats.retired = retired_;
  stats.epoch = CurrentEpoch();
  return stats;
}

template <unsigned kPlaces, BasicLock L>
std::uint64_t AnonymousEpochDomain<kPlaces, L>::NextEpoch() {
  const std::uint64_t ended = CurrentEpoch();
  // [anonymous.5] release, pairs with [anonymous.4].
  WriteOnce(epoch_, ended + 1, kRelease);
  return ended;
}

template <unsigned kPlaces, BasicLock L>
std::uint64_t AnonymousEpochDomain<kPlaces, L>::OldestWalk() {
  std::uint64_t oldest = CurrentEpoch();
  for (Place& place : places_) {
    // [anonymous.3] acquire-release, pairs with [anonymous.1] and
    // [anonymous.2]. Adding zero puts the look into the place's modification
    // order, see 2 above.
    const std::uint64_t seen =
        FetchAdd(place.announced, std::uint64_t{0}, kAcqRel);
    if (seen != kIdle && seen / 2 < oldest) oldest = seen / 2;
  }
  return oldest;
}

}  // namespace ptage

#endif  // PTAGE_RECLAIM_ANONYMOUS_EPOCH_H_
