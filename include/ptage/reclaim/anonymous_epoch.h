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
// Why nothing is freed under a walk
//   Notation: a walk W reads the epoch [anonymous.4], announces it in a
//   place by compare-and-swap [anonymous.1], and leaves by a store
//   [anonymous.2]; a scan reads each place by a read-modify-write that
//   adds zero [anonymous.3], under the lock, and then writes the next
//   epoch [anonymous.5]. An object N is unlinked, and then retired in
//   epoch r; S is the scan that ends epoch r + 1. S, and every write of an
//   epoch above r, happen after N was unlinked: the lock orders them.
//   1. A walk that announced r + 1 or more read an epoch above r, and
//      [anonymous.4] synchronizes with [anonymous.5]: it sees N
//      unlinked.
//   2. Let W have announced r or less. In the modification order of its place
//      the announcement comes before or after S, both being read-modify-writes.
//   3. If before, and W has not left, S reads it, and the epoch stays r + 1. If
//      W has left, S synchronizes with its leaving: the value that S reads is
//      W's, or descends from it through the announcements of later walks.
//   4. If after, and S found the place idle, the first announcement after S
//      synchronizes with S. If S found a walk there, that one announced r + 1,
//      and 1 holds for it; the walks after it learn what it knows, each from
//      the leaving of the one before. Either way W sees N unlinked.
//   5. N is freed after S. By 1, 3 and 4 every walk that has not left, or will
//      begin, sees N unlinked and cannot reach it; the others' reads of N
//      happened before.
//   Why S, and not the scan before it: that one lets the epoch go on while
//   walks that announced r are inside, and they may hold N. Why 1 is needed:
//   the store in [anonymous.2] ends the release sequence of a scan,
//     W0: leaves, over the scan's value   | writer: writes epoch r + 1
//     W:  reads r + 1, announces in the place, learning nothing from the scan
//     W:  still reads the link to N       | writer: S sees r + 1, frees N.
//   The epoch of a retirement must be exact, which the lock makes it: were it
//   stale, N would be freed too early.
//
// Sites (order · partner)
//   [anonymous.1] acquire compare-and-swap in Begin · [anonymous.2],
//                                                     [anonymous.3]
//   [anonymous.2] release store in End              · [anonymous.1],
//                                                     [anonymous.3]
//   [anonymous.3] acquire-release addition of zero  · [anonymous.1],
//                 in TryAdvance                       [anonymous.2]
//   [anonymous.4] acquire load in Begin             · [anonymous.5]
//   [anonymous.5] release store in TryAdvance       · [anonymous.4]

#ifndef PTAGE_RECLAIM_ANONYMOUS_EPOCH_H_
#define PTAGE_RECLAIM_ANONYMOUS_EPOCH_H_

#include <cstdint>

#include "ptage/config.h"
#include "ptage/lock.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"

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

  // Objects, not bytes.
  struct Stats {
    std::uint64_t retired = 0;
    std::uint64_t freed = 0;  // or about to be, by who found them ripe
    [[nodiscard]] std::uint64_t Held() const { return retired - freed; }
  };

  AnonymousEpochDomain() : epoch_(kFirstEpoch) {
    for (Place& place : places_) WriteOnce(place.announced, kIdle, kRelaxed);
  }
  // Frees what is held. Precondition: no walk is under way.
  ~AnonymousEpochDomain();
  AnonymousEpochDomain(const AnonymousEpochDomain&) = delete;
  AnonymousEpochDomain& operator=(const AnonymousEpochDomain&) = delete;

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
AnonymousEpochDomain<kPlaces, L>::~AnonymousEpochDomain() {
  // What is freed may retire more.
  while (stats().Held() != 0) Poll();
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
void AnonymousEpochDomain<kPlaces, L>::Poll() {
  Retired* ripe;
  {
    ScopedLock<L> hold(lock_);
    ripe = TryAdvance();
  }
  FreeAll(ripe);
}

template <unsigned kPlaces, BasicLock L>
void AnonymousEpochDomain<kPlaces, L>::Synchronize() {
  const std::uint64_t begun = CurrentEpoch();
  // What was retired in this epoch is freed by the second advance from here.
  // The lock makes the walks' ends visible whoever advances.
  while (CurrentEpoch() < begun + 2) {
    Poll();
    SpinPause();
  }
}

template <unsigned kPlaces, BasicLock L>
std::uint64_t AnonymousEpochDomain<kPlaces, L>::CurrentEpoch() {
  ScopedLock<L> hold(lock_);
  return ReadOnce(epoch_, kRelaxed);
}

template <unsigned kPlaces, BasicLock L>
typename AnonymousEpochDomain<kPlaces, L>::Stats
AnonymousEpochDomain<kPlaces, L>::stats() {
  ScopedLock<L> hold(lock_);
  return stats_;
}

template <unsigned kPlaces, BasicLock L>
Retired* AnonymousEpochDomain<kPlaces, L>::TryAdvance() {
  const std::uint64_t epoch = ReadOnce(epoch_, kRelaxed);
  for (Place& place : places_) {
    // [anonymous.3] acquire-release, pairs with [anonymous.1] and
    // [anonymous.2]. Adding zero puts the read into the place's
    // modification order, see 2 above.
    const std::uint64_t announced =
        FetchAdd(place.announced, std::uint64_t{0}, kAcqRel);
    if (announced != kIdle && announced / 2 != epoch) return nullptr;
  }
  // [anonymous.5] release, pairs with [anonymous.4].
  WriteOnce(epoch_, epoch + 1, kRelease);
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
void AnonymousEpochDomain<kPlaces, L>::FreeAll(Retired* ripe) {
  while (ripe != nullptr) {
    Retired* const next = ripe->next;
    ripe->free(*ripe, ripe->owner);
    ripe = next;
  }
}

}  // namespace ptage

#endif  // PTAGE_RECLAIM_ANONYMOUS_EPOCH_H_
