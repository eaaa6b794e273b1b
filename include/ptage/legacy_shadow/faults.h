// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What builds the shadow tables of a guest: the loading of a root, and faults,
// which make room where there is no memory. Included by legacy_shadow.h.
//
// Contract
//   As legacy_shadow.h says. A fault walks the guest's tables twice: a look
//   ahead, without the MMU lock, so that nothing is built for what the guest
//   does not have; and under the lock, shared, where it builds, from the root
//   down, the table for each frame before it reads it, links what it built, and
//   maps the page. It leaves no table that is not linked. Who finds no memory
//   lets go of the lock, makes room under the exclusive one, and tries again.

#ifndef PTAGE_LEGACY_SHADOW_FAULTS_H_
#define PTAGE_LEGACY_SHADOW_FAULTS_H_

#include <cstddef>
#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "ptage/fault_lock.h"
#include "ptage/guest_walk.h"
#include "ptage/legacy_shadow/reclaim.h"
#include "ptage/legacy_shadow/tables.h"
#include "ptage/memory.h"
#include "ptage/memslot.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage::internal {

// `State` is a LegacyState.
template <class State>
class LegacyFaults {
  using F = typename State::Format;
  using G = typename State::GuestFormat;
  using Root = typename State::Root;
  using Tree = typename State::Tree;
  using Walk = typename State::Walk;
  using Walker = typename State::Walker;

 public:
  // See LegacyShadow, of all.
  LegacyFaults(State& state, std::function<void(const ZappedLeaf&)> sink)
      : state_(state), sink_(std::move(sink)) {}

  absl::StatusOr<Root> LoadRoot(Gfn frame);
  FaultOutcome Fault(Root root, Gfn page, Rights access,
                     GuestTranslation& walked);

 private:
  static constexpr Level kSmall{1};
  static constexpr Level kTop{F::kLevels};
  // Of a fault that finds no memory, as in vm/faults.h.
  static constexpr int kTries = 4;
  // As many tables as a fault can need.
  static constexpr std::size_t kPath = 2 * F::kLevels;

  // Why a fault found no memory.
  enum class Shortage { kNone, kList, kTables };

  // The shadow tables of a path.
  struct Path {
    Table<F>* tables[F::kLevels] = {};  // by level − 1
    Shortage shortage = Shortage::kNone;
    bool retry = false;
    bool built = false;  // tables that are not linked yet

    [[nodiscard]] Table<F>*& At(Level level) { return tables[level.value - 1]; }
    [[nodiscard]] SpteCell<F>& EntryAt(Level level, Gfn page) {
      return At(level)
          ->entries[page.value / FramesAt<F>(level) % kEntriesPerTable<F>];
    }
  };

  FaultOutcome TryFault(Root root, Gfn page, Rights access, const Walker& guest,
                        GuestTranslation& walked, Path& path);
  // Finds or builds the shadow table of the guest's table that is about to be
  // read. False: the walk ends here, and `path` says why, if not because the
  // guest has no such memory.
  bool Enter(const Walk& walk, const FaultLock::Held& held, Root root, Gfn page,
             TableRole role, Path& path);
  FaultOutcome MapLeaf(const Walk& walk, const FaultLock::Held& held, Gfn page,
                       const GuestTranslation& to, Rights access, Path& path);
  // What a fault does that found no memory, and one that did not come to link
  // what it built.
  void MakeRoom(Shortage shortage, Gfn gfn);
  void RemoveUnused();
  void ToSink(const ZappedLeaf& leaf) {
    if (sink_) sink_(leaf);
  }
  // Whether no invalidation of the frame is open. One that ended before is of
  // no matter: all that a fault finds it finds under the lock.
  [[nodiscard]] bool MayBelieve(const FaultLock::Held& held, Gfn frame) const {
    return !state_.invalidations.MustRetry(
        held, state_.invalidations.Snapshot(), GfnRange{frame, frame + 1});
  }

  State& state_;
  const std::function<void(const ZappedLeaf&)> sink_;
};

// ---------------------------------------------------------------------------

template <class State>
auto LegacyFaults<State>::LoadRoot(Gfn frame) -> absl::StatusOr<Root> {
  if (!state_.tree.HasFrame(frame) ||
      state_.guest.At(frame.value << G::kPageBits, sizeof(Table<G>)) ==
          nullptr) {
    return absl::InvalidArgumentError(
        absl::StrFormat("root %d: the guest has no such frame", frame.value));
  }
  for (int tries = 0; tries < kTries; ++tries) {
    {
      const Walk walk(state_.reclaimer, WalkEntry::kWait);
      const FaultLock::Shared hold(state_.fault_lock);
      Table<F>* const table = state_.tree.TableFor(
          walk, TableRole{frame, kTop, Rights::kAll}, true);
      if (table != nullptr) return Root{frame, table};
    }
    MakeRoom(Shortage::kTables, frame);
  }
  return absl::ResourceExhaustedError(
      absl::StrFormat("root %d: no table is free", frame.value));
}

template <class State>
FaultOutcome LegacyFaults<State>::Fault(Root root, Gfn page, Rights access,
                                        GuestTranslation& walked) {
  const Walker guest(state_.guest, Pfn{root.frame.value}, GuestBits::kMarked,
                     state_.physical_bits);
  // A look ahead, so that nothing is built for what the guest does not have.
  walked = guest.Translate(page, access);
  if (walked.walk == GuestWalk::kBusy) return FaultOutcome::kRetry;
  if (!walked) return FaultOutcome::kReflected;
  FaultOutcome outcome = FaultOutcome::kNoMemory;
  for (int tries = 0; tries < kTries; ++tries) {
    Path path;
    outcome = TryFault(root, page, access, guest, walked, path);
    if (path.built) RemoveUnused();
    if (outcome != FaultOutcome::kNoMemory) break;
    MakeRoom(path.shortage, walked.gfn);
  }
  return outcome;
}

template <class State>
FaultOutcome LegacyFaults<State>::TryFault(Root root, Gfn page, Rights access,
                                           const Walker& guest,
                                           GuestTranslation& walked,
                                           Path& path) {
  const Walk walk(state_.reclaimer, WalkEntry::kWait);
  const FaultLock::Shared hold(state_.fault_lock);
  // Each table is protected before it is read, and stays as it is read until
  // the lock is free. Were the look ahead built upon:
  //   fault: reads a table | guest: writes it
  //   fault: protects it, and builds what is not there any more.
  walked =
      guest.Translate(page, access, [&](Pfn frame, Level level, Rights above) {
        return Enter(walk, hold, root, page,
                     TableRole{Gfn{frame.value}, level, above}, path);
      });
  if (path.retry) return FaultOutcome::kRetry;
  if (path.shortage != Shortage::kNone) return FaultOutcome::kNoMemory;
  if (walked.walk == GuestWalk::kBusy) return FaultOutcome::kRetry;
  if (!walked) return FaultOutcome::kReflected;
  // The guest's entries are marked as accessed by now.
  for (Level level = kTop; level > walked.level; level = level.Below()) {
    state_.tree.Link(path.EntryAt(level, page), path.At(level.Below()));
  }
  path.built = false;
  return MapLeaf(walk, hold, page, walked, access, path);
}

template <class State>
bool LegacyFaults<State>::Enter(const Walk& walk, const FaultLock::Held& held,
                                Root root, Gfn page, TableRole role,
                                Path& path) {
  if (!state_.tree.HasFrame(role.frame)) return false;
  if (!MayBelieve(held, role.frame)) {
    path.retry = true;
    return false;
  }
  Table<F>*& table = path.At(role.level);
  if (role.level == kTop) {
    table = root.table;
    return true;
  }
  const typename F::Word above =
      ReadOnce(path.EntryAt(role.level.Above(), page), kAcquire);
  if (F::IsPresent(above)) {
    table = state_.tree.memory().TableAt(F::FrameOf(above));
    return true;
  }
  table = state_.tree.TableFor(walk, role);
  path.built = true;
  if (table == nullptr) path.shortage = Shortage::kTables;
  return table != nullptr;
}

template <class State>
FaultOutcome LegacyFaults<State>::MapLeaf(const Walk& walk,
                                          const FaultLock::Held& held, Gfn page,
                                          const GuestTranslation& to,
                                          Rights access, Path& path) {
  if (!MayBelieve(held, to.gfn)) return FaultOutcome::kRetry;
  Memslot<F>* const slot = state_.tree.memslots().Find(walk, to.gfn);
  if (slot == nullptr) return FaultOutcome::kNoSlot;
  if (!Allows(slot->rights(), access)) return FaultOutcome::kNotPermitted;
  for (Level level = to.level; level > kSmall; level = level.Below()) {
    path.At(level.Below()) =
        state_.tree.PartsOf(path.EntryAt(level, page), level);
    if (path.At(level.Below()) == nullptr) {
      path.shortage = Shortage::kTables;
      return FaultOutcome::kNoMemory;
    }
  }
  switch (state_.tree.Map(*slot, path.EntryAt(kSmall, page), to.gfn,
                          slot->rights() & to.rights, access)) {
    case Tree::Leaf::kMapped:
      return FaultOutcome::kMapped;
    case Tree::Leaf::kThere:
      return FaultOutcome::kSpurious;
    case Tree::Leaf::kProtected:
      return FaultOutcome::kGuestTable;
    case Tree::Leaf::kRetry:
      return FaultOutcome::kRetry;
    case Tree::Leaf::kListFull:
      path.shortage = Shortage::kList;
      return FaultOutcome::kNoMemory;
    case Tree::Leaf::kNoMemory:
      break;
  }
  path.shortage = Shortage::kTables;
  return FaultOutcome::kNoMemory;
}

template <class State>
void LegacyFaults<State>::MakeRoom(Shortage shortage, Gfn gfn) {
  {
    const Walk walk(state_.reclaimer, WalkEntry::kWait);
    const FaultLock::Exclusive hold(state_.fault_lock);
    const auto sink = [this](const ZappedLeaf& leaf) { ToSink(leaf); };
    if (shortage == Shortage::kTables) {
      (void)ReclaimTables(state_.tree, walk, kPath, sink);
    } else if (Memslot<F>* const slot =
                   state_.tree.memslots().Find(walk, gfn)) {
      typename Tree::Removal removal(walk, sink);
      state_.tree.TakeLeaves(removal, *slot, gfn);
      (void)state_.tree.Finish(removal);
    }
  }
  // What was retired comes back when the walks that may hold it have ended; if
  // another thread is just freeing it, to a later try.
  if constexpr (SynchronizingReclaimer<typename State::Reclamation>) {
    state_.reclaimer.Synchronize();
  }
}

template <class State>
void LegacyFaults<State>::RemoveUnused() {
  const Walk walk(state_.reclaimer, WalkEntry::kWait);
  const FaultLock::Exclusive hold(state_.fault_lock);
  const auto sink = [this](const ZappedLeaf& leaf) { ToSink(leaf); };
  typename Tree::Removal removal(walk, sink);
  state_.tree.TakeUnused(removal);
  (void)state_.tree.Finish(removal);
}

}  // namespace ptage::internal

#endif  // PTAGE_LEGACY_SHADOW_FAULTS_H_
