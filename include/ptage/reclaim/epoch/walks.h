// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Who walks, and since which epoch: the places in which threads announce their
// walks, and the epoch. Included by reclaim/epoch.h.
//
// Contract
//   As reclaim/epoch.h says of places and walks. Begin, End, Mine and
//   Unregister are for any thread, at any time; NextEpoch and OldestWalk for
//   one thread at a time. The domain watches threads, and tells of their ends
//   and of forks.
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

#ifndef PTAGE_RECLAIM_EPOCH_WALKS_H_
#define PTAGE_RECLAIM_EPOCH_WALKS_H_

#include <cstdint>

#include "ptage/config.h"
#include "ptage/once.h"
#include "ptage/once/asymmetric.h"
#include "ptage/once/thread.h"

namespace ptage {

// How walks begin.
enum class EpochReaders {
  kFastest,   // by a store if the system has a HeavyBarrier, else as below
  kExchange,  // by a locked operation; then no writer interrupts a processor
};

namespace internal {

// For up to `kPlaces` threads, each of which has a `Kept` at its place.
template <unsigned kPlaces, AsymmetricBarrier B, class Kept>
class EpochWalks {
  static_assert(kPlaces > 0);
  struct Place;

 public:
  // An entered section, or none.
  class Section {
   public:
    Section() = default;
    explicit operator bool() const { return place_ != nullptr; }

   private:
    friend class EpochWalks;
    explicit Section(Place* place) : place_(place) {}
    Place* place_ = nullptr;
  };

  explicit EpochWalks(EpochReaders readers);
  EpochWalks(const EpochWalks&) = delete;
  EpochWalks& operator=(const EpochWalks&) = delete;

  [[nodiscard]] Section Begin();
  void End(Section section);

  // What the calling thread keeps at its place; it takes one if it has none.
  // Null if there is none left.
  Kept* Mine() {
    Place* const place = MyPlace();
    return place != nullptr ? &place->kept : nullptr;
  }
  // Gives the calling thread's place back. Precondition: it is not inside a
  // walk.
  void Unregister();
  // Whether the caller is inside a walk, as far as can be told at once.
  bool SeemsInside();
  // Calls `function(kept)` for each place, whoever's it is.
  template <class Function>
  void EachKept(Function function) {
    for (Place& place : places_) function(place.kept);
  }

  // As Limbo wants them.
  std::uint64_t NextEpoch();
  std::uint64_t OldestWalk();
  [[nodiscard]] std::uint64_t CurrentEpoch() const {
    return ReadOnce(epoch_, kRelaxed);
  }

  // As ThreadWatcher says: the thread's walks end, and its places are free; in
  // the child, those of all other threads.
  void OnThreadExit(std::uint64_t thread);
  void AfterForkInChild();

  // Walks that ended only because their threads did.
  [[nodiscard]] std::uint64_t ended_by_exit() const {
    return ReadOnce(ended_by_exit_, kRelaxed);
  }
  // Whether walks begin by a store.
  [[nodiscard]] bool asymmetric() const { return asymmetric_; }

 private:
  static constexpr std::uint64_t kFirstEpoch = 1;
  static constexpr std::uint64_t kIdle = 0;
  static constexpr std::uint64_t kNobody = 0;
  // Keys are multiples of it.
  static constexpr std::uint64_t kKeyUnit = std::uint64_t{1} << 20;

  struct alignas(64) Place {
    Place() : announced(kIdle), owner(kNobody) {}
    // kIdle, or a walk's epoch. Stored by the owner alone, and its signal
    // handlers, which leave it as it was.
    Cell<std::uint64_t> announced;
    Cell<std::uint64_t> owner;  // a thread's identity, or kNobody
    alignas(64) Kept kept;
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
  Place* MyPlace();
  Place* FindOrClaim();
  // For a walk inside that of `outer`.
  Place* Another(Place* outer);
  Place* Claim(Place* first);
  // Before the place of this number is claimed.
  void Use(std::uint64_t number);
  void GiveBack(Place& place);
  Section BeginSlowly();

  // What Begin reads: the epoch, and what tells these places' tickets.
  Cell<std::uint64_t> epoch_;
  const std::uint64_t key_;
  const unsigned slot_;
  const bool asymmetric_;
  // Places of this number and above nobody has ever claimed. Grows only. In
  // another line, for each look at all walks writes to it.
  alignas(64) Cell<std::uint64_t> used_;
  Cell<std::uint64_t> ended_by_exit_;

  Place places_[kPlaces];
};

// ---------------------------------------------------------------------------

template <unsigned kPlaces, AsymmetricBarrier B, class Kept>
EpochWalks<kPlaces, B, Kept>::EpochWalks(EpochReaders readers)
    : epoch_(kFirstEpoch),
      key_(kKeyUnit * NewNumber()),
      slot_(static_cast<unsigned>(key_ / kKeyUnit % kThreadSlots)),
      asymmetric_(readers == EpochReaders::kFastest && B::Prepare()),
      used_(0),
      ended_by_exit_(0) {}

// --- Walks.

template <unsigned kPlaces, AsymmetricBarrier B, class Kept>
inline typename EpochWalks<kPlaces, B, Kept>::Section
EpochWalks<kPlaces, B, Kept>::Begin() {
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

template <unsigned kPlaces, AsymmetricBarrier B, class Kept>
[[gnu::noinline]] typename EpochWalks<kPlaces, B, Kept>::Section
EpochWalks<kPlaces, B, Kept>::BeginSlowly() {
  Place* place = MyPlace();
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

template <unsigned kPlaces, AsymmetricBarrier B, class Kept>
inline void EpochWalks<kPlaces, B, Kept>::End(Section section) {
  PTAGE_ASSERT(static_cast<bool>(section));
  // [epoch.4] release, pairs with [epoch.3], [epoch.5] and [epoch.6]: what the
  // walk read, it read before anything is freed.
  WriteOnce(section.place_->announced, kIdle, kRelease);
}

// --- Places.

template <unsigned kPlaces, AsymmetricBarrier B, class Kept>
inline typename EpochWalks<kPlaces, B, Kept>::Place*
EpochWalks<kPlaces, B, Kept>::MyPlace() {
  Place* const place = PlaceOf(ThisThread().slots[slot_].Get());
  return place != nullptr ? place : FindOrClaim();
}

template <unsigned kPlaces, AsymmetricBarrier B, class Kept>
[[gnu::noinline]] typename EpochWalks<kPlaces, B, Kept>::Place*
EpochWalks<kPlaces, B, Kept>::FindOrClaim() {
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

template <unsigned kPlaces, AsymmetricBarrier B, class Kept>
typename EpochWalks<kPlaces, B, Kept>::Place*
EpochWalks<kPlaces, B, Kept>::Another(Place* outer) {
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

template <unsigned kPlaces, AsymmetricBarrier B, class Kept>
typename EpochWalks<kPlaces, B, Kept>::Place*
EpochWalks<kPlaces, B, Kept>::Claim(Place* first) {
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

template <unsigned kPlaces, AsymmetricBarrier B, class Kept>
void EpochWalks<kPlaces, B, Kept>::Use(std::uint64_t number) {
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

template <unsigned kPlaces, AsymmetricBarrier B, class Kept>
void EpochWalks<kPlaces, B, Kept>::GiveBack(Place& place) {
  // [epoch.9] release, pairs with [epoch.8].
  WriteOnce(place.owner, kNobody, kRelease);
}

template <unsigned kPlaces, AsymmetricBarrier B, class Kept>
void EpochWalks<kPlaces, B, Kept>::Unregister() {
  const std::uint64_t me = ThisThreadId();
  ThisThread().Clear();
  for (Place& place : places_) {
    if (ReadOnce(place.owner, kRelaxed) != me) continue;
    PTAGE_ASSERT(ReadOnce(place.announced, kRelaxed) == kIdle);
    GiveBack(place);
  }
}

template <unsigned kPlaces, AsymmetricBarrier B, class Kept>
bool EpochWalks<kPlaces, B, Kept>::SeemsInside() {
  const Place* const place = PlaceOf(ThisThread().slots[slot_].Get());
  return place != nullptr && ReadOnce(place->announced, kRelaxed) != kIdle;
}

// --- Epochs.

template <unsigned kPlaces, AsymmetricBarrier B, class Kept>
std::uint64_t EpochWalks<kPlaces, B, Kept>::NextEpoch() {
  const std::uint64_t ended = ReadOnce(epoch_, kRelaxed);
  // [epoch.7] release, pairs with [epoch.1].
  WriteOnce(epoch_, ended + 1, kRelease);
  // Walks that do not see what was unlinked have announced themselves before.
  if (asymmetric_) B::Heavy();
  return ended;
}

template <unsigned kPlaces, AsymmetricBarrier B, class Kept>
std::uint64_t EpochWalks<kPlaces, B, Kept>::OldestWalk() {
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

// --- Threads that end, and fork.

template <unsigned kPlaces, AsymmetricBarrier B, class Kept>
void EpochWalks<kPlaces, B, Kept>::OnThreadExit(std::uint64_t thread) {
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

template <unsigned kPlaces, AsymmetricBarrier B, class Kept>
void EpochWalks<kPlaces, B, Kept>::AfterForkInChild() {
  for (Place& place : places_) {
    if (ReadOnce(place.owner, kRelaxed) == ThisThreadId()) continue;
    WriteOnce(place.announced, kIdle, kRelaxed);
    WriteOnce(place.owner, kNobody, kRelaxed);
  }
  // The registration is inherited; asking again is for systems that forget it.
  // One that fails shows at the next HeavyBarrier.
  if (asymmetric_) static_cast<void>(B::Prepare());
}

}  // namespace internal
}  // namespace ptage

#endif  // PTAGE_RECLAIM_EPOCH_WALKS_H_
