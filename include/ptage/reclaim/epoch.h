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
// Why nothing is freed under a walk, in short (docs/reclamation.md, in full):
//   an object N is unlinked and then retired; under the lock, epoch e ends
//   [epoch.7] after that; then comes a HeavyBarrier; then each place is looked
//   at until it is idle or announces more than e. A walk W that could reach N
//   read an epoch of at most e, or [epoch.1] would have made it see N unlinked.
//   Its announcement [epoch.2] comes before its read of the link, and that
//   before the barrier, or it would see N unlinked; so every look at its place
//   finds it until it ends, and the look that no longer does happens after its
//   reads [epoch.4], [epoch.5]. Without the barrier the announcement and the
//   look are both read-modify-writes of one word [epoch.3], [epoch.6], which
//   orders them. Looking again needs no second barrier.
//
// Sites (order · partner)
//   [epoch.1] acquire load of the epoch in Begin,        · [epoch.7]
//             BeginSlowly
//   [epoch.2] release store in Begin, BeginSlowly, then  · [epoch.5]
//             LightBarrier
//   [epoch.3] acquire addition in BeginSlowly, where     · [epoch.4],
//             there is no HeavyBarrier                     [epoch.6]
//   [epoch.4] release store in End                       · [epoch.3],
//                                                          [epoch.5],
//                                                          [epoch.6]
//   [epoch.5] acquire load in OldestWalk, after          · [epoch.2],
//             HeavyBarrier                                 [epoch.4]
//   [epoch.6] acquire-release addition of zero in        · [epoch.3],
//             OldestWalk, where there is none              [epoch.4]
//   [epoch.7] release store in NextEpoch                 · [epoch.1]
//   [epoch.8] acquire compare-and-swap in Claim          · [epoch.9]
//   [epoch.9] release store in GiveBack                  · [epoch.8]
//   [epoch.10] acquire load in Use                       · [epoch.12]
//   [epoch.11] acquire compare-and-swap in Use           · [epoch.12]
//   [epoch.12] release addition of zero in OldestWalk    · [epoch.10],
//                                                          [epoch.11]

#ifndef PTAGE_RECLAIM_EPOCH_H_
#define PTAGE_RECLAIM_EPOCH_H_

#include <cstdint>

#include "ptage/config.h"
#include "ptage/lock.h"
#include "ptage/once.h"
#include "ptage/once/asymmetric.h"
#include "ptage/once/thread.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/limbo.h"

namespace ptage {

// How walks begin.
enum class EpochReaders {
  kFastest,   // by a store if the system has a HeavyBarrier, else as below
  kExchange,  // by a locked operation; then no writer interrupts a processor
};

struct EpochOptions {
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
class EpochDomain final : private ThreadWatcher {
  static_assert(kPlaces > 0);
  struct Place;

 public:
  // An entered section, or none.
  class Section {
   public:
    Section() = default;
    explicit operator bool() const { return place_ != nullptr; }

   private:
    friend class EpochDomain;
    explicit Section(Place* place) : place_(place) {}
    Place* place_ = nullptr;
  };

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
  bool Register() { return Mine() != nullptr; }
  // Gives the calling thread's place back. Precondition: it is not inside a
  // walk.
  void Unregister();

  [[nodiscard]] Section Begin();
  void End(Section section);
  RetireOutcome Retire(Retired& node);

  // Frees what no walk holds any more.
  void Poll() { Advance(0, nullptr); }

  // Returns when every walk that began before the call has ended, and what was
  // retired before it is freed, or about to be by another caller. Precondition:
  // the calling thread is not inside a walk.
  void Synchronize();

  [[nodiscard]] Stats stats();
  // Whether walks begin by a store.
  [[nodiscard]] bool asymmetric() const { return asymmetric_; }

 private:
  static constexpr std::uint64_t kFirstEpoch = 1;
  // In one epoch of so many Retire serves all threads.
  static constexpr std::uint64_t kEpochsApart = 64;
  static constexpr std::uint64_t kIdle = 0;
  static constexpr std::uint64_t kNobody = 0;
  // Keys are multiples of it.
  static constexpr std::uint64_t kKeyUnit = std::uint64_t{1} << 20;

  // What one thread has retired and nobody has collected.
  struct Stash {
    Stash() : waiting(0), retired(0) {}
    L lock;
    RetiredList list;             // of the holder of the lock
    Cell<std::uint64_t> waiting;  // list.Count(), for a look without the lock
    Cell<std::uint64_t> retired;  // altogether
  };
  struct alignas(64) Place {
    Place() : announced(kIdle), owner(kNobody) {}
    // kIdle, or a walk's epoch. Stored by the owner alone, and its signal
    // handlers, which leave it as it was.
    Cell<std::uint64_t> announced;
    Cell<std::uint64_t> owner;  // a thread's identity, or kNobody
    alignas(64) Stash stash;
  };
  static_assert(kPlaces <= kKeyUnit / sizeof(Place));

  // What a thread keeps of its place: where it is among the places, in bytes,
  // above key_. Zero is nobody's, and so is another domain's to us.
  std::uint64_t TicketOf(const Place* place) const {
    return key_ +
           static_cast<std::uint64_t>(reinterpret_cast<const char*>(place) -
                                      reinterpret_cast<const char*>(places_));
  }
  // Null if the ticket is not ours.
  Place* PlaceOf(std::uint64_t ticket) {
    const std::uint64_t offset = ticket - key_;
    if (offset >= sizeof(places_)) return nullptr;
    return reinterpret_cast<Place*>(reinterpret_cast<char*>(places_) + offset);
  }
  Place* Mine();
  Place* FindOrClaim();
  // For a walk inside that of `outer`.
  Place* Another(Place* outer);
  Place* Claim(Place* first);
  // Before the place of this number is claimed.
  void Use(std::uint64_t number);
  void GiveBack(Place& place);
  Section BeginSlowly();
  // Whether the caller is inside a walk, as far as can be told at once.
  bool SeemsInside();

  // Serves what is in `own`, or in every stash if it is null.
  void Advance(std::uint64_t wanted, Stash* own);
  void Collect(Stash& stash);
  std::uint64_t NextEpoch();
  std::uint64_t OldestWalk();
  std::uint64_t CurrentEpoch() const { return ReadOnce(epoch_, kRelaxed); }
  void Free(RetiredList& ripe);
  // Every lock of the domain.
  template <class Function>
  void EachLock(Function function);

  void OnThreadExit(std::uint64_t thread) override;
  void BeforeFork() override;
  void AfterForkInParent() override;
  void AfterForkInChild() override;

  // What Begin reads: the epoch, and what tells this domain's tickets.
  Cell<std::uint64_t> epoch_;
  const std::uint64_t key_;
  const unsigned slot_;
  const bool asymmetric_;
  const EpochOptions options_;
  // Places of this number and above nobody has ever claimed. Grows only.
  Cell<std::uint64_t> used_;

  Place places_[kPlaces];
  Stash others_;              // of threads without a place
  Cell<std::uint64_t> held_;  // counted only where there is a limit
  Cell<std::uint64_t> ended_by_exit_;

  L lock_;
  Limbo limbo_;  // of the holder of lock_
};

// ---------------------------------------------------------------------------

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
EpochDomain<kPlaces, L, B>::EpochDomain(const EpochOptions& options)
    : epoch_(kFirstEpoch),
      key_(kKeyUnit * NewNumber()),
      slot_(static_cast<unsigned>(key_ / kKeyUnit % kThreadSlots)),
      asymmetric_(options.readers == EpochReaders::kFastest && B::Prepare()),
      options_(options),
      used_(0),
      held_(0),
      ended_by_exit_(0) {
  PTAGE_ASSERT(options.batch > 0);
  StartWatching();
}

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
EpochDomain<kPlaces, L, B>::~EpochDomain() {
  // What is freed may retire more.
  while (stats().Held() != 0) {
    RetiredList all;
    {
      ScopedLock<L> hold(lock_);
      for (Place& place : places_) Collect(place.stash);
      Collect(others_);
      all = limbo_.TakeAll();
    }
    Free(all);
  }
  StopWatching();
}

// --- Walks.

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
inline typename EpochDomain<kPlaces, L, B>::Section
EpochDomain<kPlaces, L, B>::Begin() {
  // Where walks begin by a locked operation, the last ticket is never ours.
  Place* const place = PlaceOf(ThisThread().last.Get());
  if (place == nullptr || ReadOnce(place->announced, kRelaxed) != kIdle)
      [[unlikely]] {
    return BeginSlowly();
  }
  // [epoch.1] acquire, pairs with [epoch.7]: who announces a later epoch than
  // that of N's batch sees N unlinked.
  const std::uint64_t now = ReadOnce(epoch_, kAcquire);
  // [epoch.2] release, pairs with [epoch.5]: a look that finds this walk has
  // seen those before it end. The barrier comes before the walk reads:
  //   walk: announces (in its store buffer) | writer: unlinks N; looks
  //   walk: reads the pointer to N          | writer: frees N
  WriteOnce(place->announced, now, kRelease);
  B::Light();
  return Section(place);
}

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
[[gnu::noinline]] typename EpochDomain<kPlaces, L, B>::Section
EpochDomain<kPlaces, L, B>::BeginSlowly() {
  Place* place = Mine();
  if (place == nullptr) return Section();
  if (ReadOnce(place->announced, kRelaxed) != kIdle) {
    place = Another(place);
    if (place == nullptr) return Section();
  } else if (asymmetric_) {
    // At hand for the next.
    ThisThread().last.Set(TicketOf(place));
  }
  // [epoch.1] acquire, pairs with [epoch.7].
  const std::uint64_t now = ReadOnce(epoch_, kAcquire);
  if (asymmetric_) {
    // [epoch.2] release, pairs with [epoch.5].
    WriteOnce(place->announced, now, kRelease);
    B::Light();
  } else {
    // [epoch.3] acquire, pairs with [epoch.4] and [epoch.6]: added to kIdle.
    FetchAdd(place->announced, now, kAcquire);
  }
  return Section(place);
}

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
inline void EpochDomain<kPlaces, L, B>::End(Section section) {
  PTAGE_ASSERT(static_cast<bool>(section));
  // [epoch.4] release, pairs with [epoch.3], [epoch.5] and [epoch.6]: what the
  // walk read, it read before anything is freed.
  WriteOnce(section.place_->announced, kIdle, kRelease);
}

// --- Places.

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
inline typename EpochDomain<kPlaces, L, B>::Place*
EpochDomain<kPlaces, L, B>::Mine() {
  Place* const place = PlaceOf(ThisThread().slots[slot_].Get());
  return place != nullptr ? place : FindOrClaim();
}

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
[[gnu::noinline]] typename EpochDomain<kPlaces, L, B>::Place*
EpochDomain<kPlaces, L, B>::FindOrClaim() {
  const std::uint64_t me = ThisThreadId();
  Place* mine = nullptr;
  for (Place& place : places_) {
    if (ReadOnce(place.owner, kRelaxed) == me) {
      mine = &place;
      break;
    }
  }
  if (mine == nullptr) mine = Claim(places_);
  if (mine != nullptr) {
    ThisThread().slots[slot_].Set(TicketOf(mine));
    if (asymmetric_) ThisThread().last.Set(TicketOf(mine));
  }
  return mine;
}

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
typename EpochDomain<kPlaces, L, B>::Place* EpochDomain<kPlaces, L, B>::Another(
    Place* outer) {
  const std::uint64_t me = ThisThreadId();
  // One that served an inner walk before is likely to be the next.
  for (unsigned i = 1; i < kPlaces; ++i) {
    Place& place =
        places_[(static_cast<unsigned>(outer - places_) + i) % kPlaces];
    if (ReadOnce(place.owner, kRelaxed) == me &&
        ReadOnce(place.announced, kRelaxed) == kIdle) {
      return &place;
    }
  }
  return Claim(outer);
}

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
typename EpochDomain<kPlaces, L, B>::Place* EpochDomain<kPlaces, L, B>::Claim(
    Place* first) {
  if (!WatchThisThread()) return nullptr;
  for (unsigned i = 0; i < kPlaces; ++i) {
    const unsigned number =
        (static_cast<unsigned>(first - places_) + i) % kPlaces;
    Place& place = places_[number];
    if (ReadOnce(place.owner, kRelaxed) != kNobody) continue;
    // First, so that a handler that comes in between finds no place of ours
    // that others do not look at.
    Use(number);
    // [epoch.8] acquire, pairs with [epoch.9]: the owner before has stored to
    // the place for the last time,
    //   before: leaves, gives the place back | new: announces
    //                                        | (the idle of before arrives)
    if (TryCmpxchg(place.owner, kNobody, ThisThreadId(), kAcquire)) {
      return &place;
    }
  }
  return nullptr;
}

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
void EpochDomain<kPlaces, L, B>::Use(std::uint64_t number) {
  for (;;) {
    // [epoch.10] acquire, pairs with [epoch.12]: the exchange of whoever
    // brought the place into use hands it on.
    const std::uint64_t used = ReadOnce(used_, kAcquire);
    if (used > number) return;
    // [epoch.11] acquire, pairs with [epoch.12]: either a look sees the place,
    // or the walk sees the epoch that began before the look. Else
    //   walk: reads the epoch e         | writer: unlinks N; ends e
    //   walk: announces e in a new      | writer: looks at the others
    //         place; reads the pointer  | writer: frees N
    if (TryCmpxchg(used_, used, number + 1, kAcquire)) return;
  }
}

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
void EpochDomain<kPlaces, L, B>::GiveBack(Place& place) {
  // [epoch.9] release, pairs with [epoch.8].
  WriteOnce(place.owner, kNobody, kRelease);
}

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
void EpochDomain<kPlaces, L, B>::Unregister() {
  const std::uint64_t me = ThisThreadId();
  ThisThread().Clear();
  for (Place& place : places_) {
    if (ReadOnce(place.owner, kRelaxed) != me) continue;
    PTAGE_ASSERT(ReadOnce(place.announced, kRelaxed) == kIdle);
    GiveBack(place);
  }
}

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
bool EpochDomain<kPlaces, L, B>::SeemsInside() {
  const Place* const place = PlaceOf(ThisThread().slots[slot_].Get());
  return place != nullptr && ReadOnce(place->announced, kRelaxed) != kIdle;
}

// --- Grace periods.

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
RetireOutcome EpochDomain<kPlaces, L, B>::Retire(Retired& node) {
  PTAGE_ASSERT(node.free != nullptr);
  // Counted before anyone can free it.
  const bool at_limit =
      options_.limit != 0 && FetchAdd(held_, 1, kRelaxed) + 1 >= options_.limit;
  Place* const place = Mine();
  Stash& stash = place != nullptr ? place->stash : others_;
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
  PTAGE_ASSERT(!SeemsInside());
  std::uint64_t begun;
  {
    // What the callers before us unlinked, they unlinked in this epoch or in an
    // earlier one. What was retired must be in the batch of this epoch too:
    //   caller: reads the epoch, e       | other: closes batch e, without what
    //                                    |   waits in the caller's stash
    //                                    | walk: begins, announces e + 1
    //   caller: closes batch e + 1, which the walk holds; finds e ended.
    ScopedLock<L> hold(lock_);
    for (Place& place : places_) Collect(place.stash);
    Collect(others_);
    begun = CurrentEpoch();
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
    if (own != nullptr && CurrentEpoch() % kEpochsApart != 0) {
      Collect(*own);
    } else {
      for (Place& place : places_) Collect(place.stash);
      Collect(others_);
    }
    ripe = limbo_.Advance(
        wanted, [this] { return NextEpoch(); },
        [this] { return OldestWalk(); });
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
std::uint64_t EpochDomain<kPlaces, L, B>::NextEpoch() {
  const std::uint64_t ended = ReadOnce(epoch_, kRelaxed);
  // [epoch.7] release, pairs with [epoch.1].
  WriteOnce(epoch_, ended + 1, kRelease);
  // Walks that do not see what was unlinked have announced themselves before.
  if (asymmetric_) B::Heavy();
  return ended;
}

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
std::uint64_t EpochDomain<kPlaces, L, B>::OldestWalk() {
  std::uint64_t oldest = CurrentEpoch();
  // [epoch.12] release, pairs with [epoch.10] and [epoch.11]: a walk in a place
  // that comes into use after this sees the epoch that has begun. Adding zero
  // puts the look into the order of what brings places into use.
  const std::uint64_t used = FetchAdd(used_, 0, kRelease);
  for (std::uint64_t i = 0; i < used; ++i) {
    Place& place = places_[i];
    std::uint64_t seen;
    if (asymmetric_) {
      // [epoch.5] acquire, pairs with [epoch.2] and [epoch.4].
      seen = ReadOnce(place.announced, kAcquire);
    } else {
      // [epoch.6] acquire-release, pairs with [epoch.3] and [epoch.4]. Adding
      // zero puts the look into the place's modification order.
      seen = FetchAdd(place.announced, 0, kAcqRel);
    }
    if (seen != kIdle && seen < oldest) oldest = seen;
  }
  return oldest;
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
  stats.retired = ReadOnce(others_.retired, kRelaxed);
  for (const Place& place : places_) {
    stats.retired += ReadOnce(place.stash.retired, kRelaxed);
  }
  stats.epoch = CurrentEpoch();
  stats.ended_by_exit = ReadOnce(ended_by_exit_, kRelaxed);
  return stats;
}

// --- Threads that end, and fork.

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
void EpochDomain<kPlaces, L, B>::OnThreadExit(std::uint64_t thread) {
  for (Place& place : places_) {
    if (ReadOnce(place.owner, kRelaxed) != thread) continue;
    if (ReadOnce(place.announced, kRelaxed) != kIdle) {
      // Nobody is left to use what the walk held.
      FetchAdd(ended_by_exit_, 1, kRelaxed);
      WriteOnce(place.announced, kIdle, kRelease);
    }
    GiveBack(place);
  }
}

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
template <class Function>
void EpochDomain<kPlaces, L, B>::EachLock(Function function) {
  function(lock_);
  for (Place& place : places_) function(place.stash.lock);
  function(others_.lock);
}

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
void EpochDomain<kPlaces, L, B>::BeforeFork() {
  // So that the child finds no list half changed.
  EachLock([](L& lock) { lock.Lock(); });
}

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
void EpochDomain<kPlaces, L, B>::AfterForkInParent() {
  EachLock([](L& lock) { lock.Unlock(); });
}

template <unsigned kPlaces, BasicLock L, AsymmetricBarrier B>
void EpochDomain<kPlaces, L, B>::AfterForkInChild() {
  for (Place& place : places_) {
    if (ReadOnce(place.owner, kRelaxed) == ThisThreadId()) continue;
    WriteOnce(place.announced, kIdle, kRelaxed);
    WriteOnce(place.owner, kNobody, kRelaxed);
  }
  // The registration is inherited; asking again is for systems that forget it.
  // One that fails shows at the next HeavyBarrier.
  if (asymmetric_) static_cast<void>(B::Prepare());
  AfterForkInParent();
}

}  // namespace ptage

#endif  // PTAGE_RECLAIM_EPOCH_H_
