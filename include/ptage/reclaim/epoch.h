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
//     A `free` function may retire again.
//   * A walk that stalls, or a thread that dies inside one, delays what is
//     retired after it began, never the caller of Retire. What is held back is
//     counted in stats().
//   * Progress: Begin and End wait-free; Retire and Poll wait for the domain's
//     lock only; Synchronize waits for every walk that began before it.
//
// Why nothing is freed under a walk
//   Notation: a walk R announces itself by compare-and-swap on a place [epoch.1]
//   and leaves by a store [epoch.2]; a scan reads each place by a
//   read-modify-write that adds zero [epoch.3], under the lock. An object N is
//   unlinked, and then retired in epoch r.
//   1. The scans after the retirement happen after N was unlinked.
//   2. In the modification order of R's place, R's announcement comes before or
//      after a given scan, since both are read-modify-writes.
//   3. If after: it reads what that scan wrote, or something later in its
//      release sequence, so R sees N unlinked, and cannot reach it.
//   4. If before, and R has not left: the scan reads R's announcement. It lets
//      the epoch go from e to e + 1 only if R announced e.
//   5. R announced one epoch. So of the advances r → r + 1 and r + 1 → r + 2,
//      at most one passes while R is inside.
//   6. N is freed in epoch r + 2: both have passed, so every walk that could
//      reach N has left, and [epoch.3] synchronizes with its [epoch.2].
//   An announced epoch may be older than the current one when it is written;
//   that only delays an advance. The epoch at retirement must be exact, which
//   the lock makes it: were it stale, N would be freed too early.
//
// Sites (order · partner)
//   [epoch.1] acquire compare-and-swap in Begin   · [epoch.3]
//   [epoch.2] release store in End                · [epoch.3]
//   [epoch.3] acquire-release addition of zero    · [epoch.1], [epoch.2]
//             in TryAdvance

#ifndef PTAGE_RECLAIM_EPOCH_H_
#define PTAGE_RECLAIM_EPOCH_H_

#include <cstdint>

#include "ptage/config.h"
#include "ptage/lock.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"

namespace ptage {

// A reader-writer scheme for up to `kPlaces` walks at a time.
template <unsigned kPlaces = 64, BasicLock L = SpinLock>
class EpochDomain {
 public:
  // An entered section, or none.
  class Section {
   public:
    Section() = default;
    explicit operator bool() const { return place_ != nullptr; }

   private:
    friend class EpochDomain;
    explicit Section(Cell<std::uint64_t>* place) : place_(place) {}
    Cell<std::uint64_t>* place_ = nullptr;
  };

  // Objects, not bytes.
  struct Stats {
    std::uint64_t retired = 0;
    std::uint64_t freed = 0;
    [[nodiscard]] std::uint64_t Held() const { return retired - freed; }
  };

  EpochDomain() : epoch_(kFirstEpoch) {
    for (Place& place : places_) WriteOnce(place.announced, kIdle, kRelaxed);
  }
  // Frees what is held. Precondition: no walk is under way.
  ~EpochDomain();
  EpochDomain(const EpochDomain&) = delete;
  EpochDomain& operator=(const EpochDomain&) = delete;

  [[nodiscard]] Section Begin();
  void End(Section section);
  void Retire(Retired& node);

  // Frees what has become ripe since the last call.
  void Poll();

  // Returns when every walk that began before the call has ended, and what was
  // retired before it is freed, or about to be by another caller. Precondition:
  // the calling thread is not inside a walk.
  void Synchronize();

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

  // Moves to the next epoch if every walk has announced this one, and returns
  // what that made ripe. Precondition: lock_ is held.
  Retired* TryAdvance();
  std::uint64_t CurrentEpoch();
  void FreeAll(Retired* ripe);

  Cell<std::uint64_t> epoch_;
  Place places_[kPlaces];

  // The rest belongs to the holder of the lock. What was retired in epoch e
  // waits in limbo_[e mod 3]; two epochs later nothing else is there.
  L lock_;
  Retired* limbo_[3] = {};
  Stats stats_;
};

// ---------------------------------------------------------------------------

template <unsigned kPlaces, BasicLock L>
EpochDomain<kPlaces, L>::~EpochDomain() {
  for (Retired* list : limbo_) FreeAll(list);
}

template <unsigned kPlaces, BasicLock L>
typename EpochDomain<kPlaces, L>::Section EpochDomain<kPlaces, L>::Begin() {
  const std::uint64_t mine = ReadOnce(epoch_, kRelaxed) * 2 + 1;
  const unsigned first = ThreadHint();
  for (unsigned i = 0; i < kPlaces; ++i) {
    Cell<std::uint64_t>& place = places_[(first + i) % kPlaces].announced;
    if (ReadOnce(place, kRelaxed) != kIdle) continue;
    // Were this a store and the scan a load, both sides could miss each other:
    //   walk: announces (in its store buffer) | writer: unlinks N, scans: idle
    //   walk: reads the pointer to N          | writer: frees N
    // Two read-modify-writes of one word are ordered.
    // [epoch.1] acquire, pairs with [epoch.3].
    if (TryCmpxchg(place, kIdle, mine, kAcquire)) return Section(&place);
  }
  return Section();
}

template <unsigned kPlaces, BasicLock L>
void EpochDomain<kPlaces, L>::End(Section section) {
  PTAGE_ASSERT(static_cast<bool>(section));
  // [epoch.2] release, pairs with [epoch.3]: what the walk read, it read before
  // anything is freed.
  WriteOnce(*section.place_, kIdle, kRelease);
}

template <unsigned kPlaces, BasicLock L>
void EpochDomain<kPlaces, L>::Retire(Retired& node) {
  PTAGE_ASSERT(node.free != nullptr);
  Retired* ripe;
  {
    ScopedLock<L> hold(lock_);
    node.stamp = ReadOnce(epoch_, kRelaxed);
    Retired*& list = limbo_[node.stamp % 3];
    node.next = list;
    list = &node;
    ++stats_.retired;
    ripe = TryAdvance();
  }
  FreeAll(ripe);
}

template <unsigned kPlaces, BasicLock L>
void EpochDomain<kPlaces, L>::Poll() {
  Retired* ripe;
  {
    ScopedLock<L> hold(lock_);
    ripe = TryAdvance();
  }
  FreeAll(ripe);
}

template <unsigned kPlaces, BasicLock L>
void EpochDomain<kPlaces, L>::Synchronize() {
  const std::uint64_t begun = CurrentEpoch();
  // What was retired in this epoch is freed by the second advance from here.
  // The lock makes the walks' ends visible whoever advances.
  while (CurrentEpoch() < begun + 2) {
    Poll();
    SpinPause();
  }
}

template <unsigned kPlaces, BasicLock L>
std::uint64_t EpochDomain<kPlaces, L>::CurrentEpoch() {
  ScopedLock<L> hold(lock_);
  return ReadOnce(epoch_, kRelaxed);
}

template <unsigned kPlaces, BasicLock L>
typename EpochDomain<kPlaces, L>::Stats EpochDomain<kPlaces, L>::stats() {
  ScopedLock<L> hold(lock_);
  return stats_;
}

template <unsigned kPlaces, BasicLock L>
Retired* EpochDomain<kPlaces, L>::TryAdvance() {
  const std::uint64_t epoch = ReadOnce(epoch_, kRelaxed);
  for (Place& place : places_) {
    // [epoch.3] acquire-release, pairs with [epoch.1] and [epoch.2]. Adding
    // zero makes the read part of the place's modification order, see 2 above.
    const std::uint64_t announced =
        FetchAdd(place.announced, std::uint64_t{0}, kAcqRel);
    if (announced != kIdle && announced / 2 != epoch) return nullptr;
  }
  WriteOnce(epoch_, epoch + 1, kRelaxed);
  // Retired in epoch − 1, which is two before the one that begins.
  Retired*& list = limbo_[(epoch - 1) % 3];
  Retired* const ripe = list;
  list = nullptr;
  for (Retired* node = ripe; node != nullptr; node = node->next) {
    ++stats_.freed;
  }
  return ripe;
}

template <unsigned kPlaces, BasicLock L>
void EpochDomain<kPlaces, L>::FreeAll(Retired* ripe) {
  while (ripe != nullptr) {
    Retired* const next = ripe->next;
    ripe->free(*ripe, ripe->owner);
    ripe = next;
  }
}

}  // namespace ptage

#endif  // PTAGE_RECLAIM_EPOCH_H_
