// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The MMU of a guest without nested paging. The guest keeps page tables in its
// memory, from its pages to its frames; a processor walks tables of ours
// instead, from the guest's pages straight to host frames: the *shadow* tables,
// one for each table of the guest's that is in use.
//
// Contract
//   * Any threads may call any function concurrently, none of them inside a
//     walk, holding the MMU lock, or running a vCPU.
//   * No shadow table is out of date: what a CPU is given by one is what the
//     guest's tables said at some moment of the access. For that, no leaf maps
//     a frame that holds a shadowed table as writable, so each write to one is
//     a fault (kGuestTable), which GuestWrite carries out: it zaps what was
//     built from the changed entries, in every shadow table of the frame, and
//     flushes, before it returns. A table is built only after its frame is
//     protected (legacy_shadow/protected_frames.h) and flushed, from what is
//     read then.
//     So the guest's INVLPG and its reload of CR3 have nothing to do.
//   * An access sets the accessed bit in each of the guest's entries on its
//     path, and for a write the dirty bit in the leaf, before anything is built
//     from them, as guest_walk.h says. A leaf of ours is writable only where
//     the guest's is dirty.
//   * A leaf grants what the guest's entries of its path and the slot grant.
//     Not among Rights is who may use a page, user or supervisor: a guest that
//     tells them apart is not kept to it (docs/legacy_shadow.md).
//   * Faults hold the MMU lock shared, and go on beside each other; a fault
//     that needs a new table takes a second lock for it. All that takes entries
//     away holds the MMU lock exclusively. So under that no entry is frozen by
//     another, and a fault meets no table that is being removed.
//   * A leaf is in the rmap of its frame as rmap.h says, and aging goes through
//     the rmaps, without a lock: by the rules of the discipline. All leaves are
//     small; a large page of the guest's has shadow tables of small ones, each
//     its own.
//   * Accessed and dirty bits of leaves that are taken away go to a sink, while
//     the leaf is frozen. What *we* write into the guest's memory is in no
//     entry's dirty bit: GuestWrite's bytes, and the bits that a fault sets in
//     the tables of its path. Who collects dirty pages adds these himself.
//   * Not seen: writes to the guest's tables by devices, or by the host. Who
//     makes such writes calls ZapFrames of the tables' frames around them.
//
// How entries are taken away, and what is asked, is here; faults are in
// legacy_shadow/faults.h; the tables are one structure,
// legacy_shadow/shadow_tree.h.
//
//   Progress: Age as the discipline says; Fault waits for the lock, and where
//   it builds a table, for owners of frozen leaves and for the flush.
//
// Sites (order · partner)
//   [legacy.1] release compare-and-swap in GuestWrite   · [guest.1]

#ifndef PTAGE_LEGACY_SHADOW_H_
#define PTAGE_LEGACY_SHADOW_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <optional>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "ptage/config.h"
#include "ptage/fault_lock.h"
#include "ptage/guest_walk.h"
#include "ptage/invalidate.h"
#include "ptage/legacy_shadow/faults.h"
#include "ptage/legacy_shadow/protected_frames.h"
#include "ptage/legacy_shadow/reclaim.h"
#include "ptage/legacy_shadow/state.h"
#include "ptage/legacy_shadow/tables.h"
#include "ptage/memory.h"
#include "ptage/memory/foreign_ram.h"
#include "ptage/memslot.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/once/mutex.h"
#include "ptage/reclaim.h"
#include "ptage/rmap.h"
#include "ptage/rmap/range.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// `F` is the format of our tables, `G` that of the guest's, in its memory `L1`.
template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D, CheckedFormat G, ForeignMemory L1>
class LegacyShadow : public AgeQuestions<LegacyShadow<F, M, R, Fl, D, G, L1>> {
  static_assert(ProtectableFormat<F>,
                "LegacyShadow: leaves of the format do not stay dirty when "
                "they are made read-only");
  static_assert(!kTypeStable<R>,
                "LegacyShadow: rmaps and their chunks need a reclaimer that "
                "waits for walks; TypeStable does not");
  static_assert(G::kLevels == F::kLevels && G::kIndexBits == F::kIndexBits &&
                    G::kPageBits == F::kPageBits && kRootTables<F> == 1 &&
                    kRootTables<G> == 1,
                "LegacyShadow: our tables have another shape than the guest's");

  using State = internal::LegacyState<F, M, R, Fl, D, G, L1>;
  using Tree = typename State::Tree;

 public:
  using Walk = LocklessWalk<R>;
  static constexpr bool kFastAging = D::kFastAging;
  // Pages that a guest's table can translate.
  static constexpr std::uint64_t kPages = kFramesPerTree<F>;

  // What it is made of; all outlive it. `guest` is the guest's memory by its
  // own addresses. If the discipline's chunks are retired, they are to this
  // very reclaimer.
  struct Parts {
    M& memory;              // for tables
    R& reclaimer;           // of removed tables
    Fl& flusher;            // of all CPUs that run the guest
    D& rmaps;               // of all entries
    HostedMutex& mmu_lock;  // what faults share, and who zaps has alone
    const L1& guest;        // its memory
  };
  // How large the guest is, and what may be spent on it.
  struct Limits {
    // The guest has frames 0 … frames − 1.
    std::uint64_t frames = 0;
    // Bits of the guest's physical addresses.
    int physical_bits = 52;
    // Shadow tables, before the oldest is taken for a new one.
    std::size_t tables = std::numeric_limits<std::size_t>::max();
  };

  // `fault_sink`, if there is one, gets the bits of what a fault takes away to
  // make room.
  LegacyShadow(const Parts& parts, const Limits& limits,
               std::function<void(const ZappedLeaf&)> fault_sink = nullptr);
  // Precondition: no other thread uses the MMU, and no CPU its tables.
  ~LegacyShadow();
  LegacyShadow(const LegacyShadow&) = delete;
  LegacyShadow& operator=(const LegacyShadow&) = delete;

  // Adds memory, of which no two frames are the same. InvalidArgument: the
  // range is empty, reversed or too far up, or entries cannot lead to the
  // memory or grant the rights (memslot.h); AlreadyExists: it overlaps another
  // slot.
  absl::Status AddMemslot(GfnRange frames, Pfn base, Rights rights) {
    const HostedMutexLock slots(&slots_lock_);
    // Were it added beside who builds a table, he could find no slot, and a
    // fault find the slot and not his mark.
    const FaultLock::Exclusive hold(state_.fault_lock);
    return state_.tree.memslots().Add(frames, base, rights, Gfn{state_.frames});
  }
  // Takes the memory of exactly these frames away, as ZapFrames does with what
  // maps it. NotFound: there is no such slot.
  absl::Status RemoveMemslot(GfnRange frames, ZapSink sink);

  // An address space as a CPU uses it: `frame` is the guest's table at the top,
  // `table` ours.
  using Root = typename State::Root;

  // The guest loads the address of `frame` into CR3: what the CPU is to load
  // instead. The root stays until it is unloaded as often as it was loaded.
  // InvalidArgument: the guest has no such memory; ResourceExhausted: there is
  // no memory for the table.
  [[nodiscard]] absl::StatusOr<Root> LoadRoot(Gfn frame) {
    return faults_.LoadRoot(frame);
  }
  // Another root was loaded in its place. What was built is kept for the next
  // time, until its memory is wanted.
  void UnloadRoot(Root root);
  // Removes what was built for the space. False if there is nothing, or it is
  // loaded.
  bool DropRoot(Gfn frame, ZapSink sink);

  // An access to page number `page` of the space, which is loaded, that the
  // shadow tables did not allow. `walked` is what the guest's tables say: of
  // kReflected why; of kGuestTable and kNoSlot, which frame it is. A page that
  // is mapped is accessed, and dirty if `access` writes.
  [[nodiscard]] FaultOutcome Fault(Root root, Gfn page, Rights access,
                                   GuestTranslation& walked) {
    return faults_.Fault(root, page, access, walked);
  }

  // A CPU of the guest's writes `bytes` bytes at `offset` of `frame`, all in
  // it: zaps what was built from these, flushes, and calls `change()`, which
  // writes them, under the MMU lock. It writes each entry of the guest's by
  // one atomic operation, for beside it faults set accessed and dirty bits.
  // Returns how many entries were zapped, not counting those below them.
  std::uint64_t GuestWrite(Gfn frame, std::size_t offset, std::size_t bytes,
                           ZapSink sink, absl::FunctionRef<void()> change);
  // The same of a plain write. Nothing: the guest has no such memory.
  std::optional<std::uint64_t> GuestWrite(Gfn frame, std::size_t offset,
                                          absl::Span<const std::byte> bytes,
                                          ZapSink sink);

  // The guest's INVLPG: nothing is out of date that it could want to be rid of.
  static constexpr void InvalidatePage(Root, Gfn) {}

  // Zaps every leaf that maps a frame of `range`, and what was built from
  // tables in it. When it returns, no CPU uses the frames, and none will before
  // it faults; to keep faults out for longer, hold an invalidation of the
  // frames open around it. Returns how many entries.
  std::uint64_t ZapFrames(GfnRange range, ZapSink sink);
  // Those that keep faults out.
  [[nodiscard]] InvalidateSequence& invalidations() {
    return state_.invalidations;
  }

  // Tests or clears every leaf that maps a frame of `range`.
  AgeResult Age(GfnRange range, AgeAction action, AgeMode mode,
                const AgeOutput& output);

  // Removes shadow tables until `count` are gone or none is left that is not
  // loaded: those that nothing points to; then, level by level from the bottom,
  // the oldest, but such as CPUs used since they were last passed over (where
  // inner entries have an accessed bit) only after the others. Returns how
  // many.
  std::size_t Reclaim(std::size_t count, ZapSink sink);

  // Leaves that map `gfn` and grant at least `rights`; tables in use; and
  // whether the frame holds a table that is shadowed. What was so a moment ago,
  // if other threads use the MMU.
  [[nodiscard]] std::uint32_t CountEntries(Gfn gfn,
                                           Rights rights = Rights::kNone);
  [[nodiscard]] std::size_t tables() {
    const FaultLock::Shared hold(state_.fault_lock);
    return state_.tree.size();
  }
  [[nodiscard]] bool IsTable(Gfn gfn) const {
    return state_.tree.HasFrame(gfn) && HoldsTable(state_.tree.MarkOf(gfn));
  }

 private:
  static constexpr Level kSmall{1};
  static constexpr Level kTop{F::kLevels};

  State state_;
  internal::LegacyFaults<State> faults_;
  // Excludes changes of slots from each other. Taken before the MMU lock.
  HostedMutex slots_lock_;
};

// ---------------------------------------------------------------------------

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D, CheckedFormat G, ForeignMemory L1>
LegacyShadow<F, M, R, Fl, D, G, L1>::LegacyShadow(
    const Parts& parts, const Limits& limits,
    std::function<void(const ZappedLeaf&)> fault_sink)
    : state_(parts, limits), faults_(state_, std::move(fault_sink)) {}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D, CheckedFormat G, ForeignMemory L1>
LegacyShadow<F, M, R, Fl, D, G, L1>::~LegacyShadow() {
  const Walk walk(state_.reclaimer, WalkEntry::kWait);
  const FaultLock::Exclusive hold(state_.fault_lock);
  state_.tree.Clear(walk, [](const ZappedLeaf&) {});
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D, CheckedFormat G, ForeignMemory L1>
absl::Status LegacyShadow<F, M, R, Fl, D, G, L1>::RemoveMemslot(GfnRange frames,
                                                                ZapSink sink) {
  const HostedMutexLock slots(&slots_lock_);
  const absl::Status held = state_.tree.memslots().Holds(frames);
  if (!held.ok()) return held;
  // Open until the slot is gone, or a fault would map from it again. That keeps
  // faults out, so the MMU lock need not. A root that is loaded meanwhile finds
  // the slot with no leaf left to protect, or none; its mark stays either way.
  const ScopedInvalidation open(state_.invalidations, frames);
  ZapFrames(frames, sink);
  return state_.tree.memslots().Remove(frames);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D, CheckedFormat G, ForeignMemory L1>
void LegacyShadow<F, M, R, Fl, D, G, L1>::UnloadRoot(Root root) {
  const FaultLock::Shared hold(state_.fault_lock);
  state_.tree.Unload(root.table);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D, CheckedFormat G, ForeignMemory L1>
bool LegacyShadow<F, M, R, Fl, D, G, L1>::DropRoot(Gfn frame, ZapSink sink) {
  const Walk walk(state_.reclaimer, WalkEntry::kWait);
  const FaultLock::Exclusive hold(state_.fault_lock);
  ShadowTable<F>* const root =
      state_.tree.tables().Find(TableRole{frame, kTop, Rights::kAll});
  if (root == nullptr || root->loads != 0) return false;
  typename Tree::Removal removal(walk, sink);
  state_.tree.TakeTable(removal, *root);
  (void)state_.tree.Finish(removal);
  return true;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D, CheckedFormat G, ForeignMemory L1>
std::uint64_t LegacyShadow<F, M, R, Fl, D, G, L1>::GuestWrite(
    Gfn frame, std::size_t offset, std::size_t bytes, ZapSink sink,
    absl::FunctionRef<void()> change) {
  constexpr std::size_t kEntry = sizeof(typename G::Word);
  PTAGE_ASSERT(bytes != 0 && offset < sizeof(Table<G>) &&
               bytes <= sizeof(Table<G>) - offset);
  const Walk walk(state_.reclaimer, WalkEntry::kWait);
  const FaultLock::Exclusive hold(state_.fault_lock);
  typename Tree::Removal removal(walk, sink);
  state_.tree.TakeEntries(removal, frame, offset / kEntry,
                          (offset + bytes - 1) / kEntry);
  const std::uint64_t zapped = state_.tree.Finish(removal);
  change();
  return zapped;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D, CheckedFormat G, ForeignMemory L1>
std::optional<std::uint64_t> LegacyShadow<F, M, R, Fl, D, G, L1>::GuestWrite(
    Gfn frame, std::size_t offset, absl::Span<const std::byte> bytes,
    ZapSink sink) {
  std::byte* const memory =
      state_.guest.At(frame.value << G::kPageBits, sizeof(Table<G>));
  if (memory == nullptr) return std::nullopt;
  auto* const table = reinterpret_cast<Table<G>*>(memory);
  return GuestWrite(frame, offset, bytes.size(), sink, [&] {
    for (std::size_t done = 0; done < bytes.size();) {
      constexpr std::size_t kEntry = sizeof(typename G::Word);
      const std::size_t at = offset + done;
      const std::size_t count =
          std::min(kEntry - at % kEntry, bytes.size() - done);
      SpteCell<G>& entry = table->entries[at / kEntry];
      // By compare-and-swap: a fault that looks ahead may set an accessed bit
      // next to the bytes.
      for (;;) {
        const typename G::Word seen = ReadOnce(entry, kRelaxed);
        typename G::Word word = seen;
        std::memcpy(reinterpret_cast<std::byte*>(&word) + at % kEntry,
                    bytes.data() + done, count);
        // [legacy.1] release, pairs with [guest.1].
        if (TryCmpxchg(entry, seen, word, kRelease)) break;
      }
      done += count;
    }
  });
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D, CheckedFormat G, ForeignMemory L1>
std::uint64_t LegacyShadow<F, M, R, Fl, D, G, L1>::ZapFrames(GfnRange range,
                                                             ZapSink sink) {
  const ScopedInvalidation open(state_.invalidations, range);
  const Walk walk(state_.reclaimer, WalkEntry::kWait);
  const FaultLock::Exclusive hold(state_.fault_lock);
  typename Tree::Removal removal(walk, sink);
  state_.tree.memslots().ForEach(
      walk, range, [&](Memslot<F>& slot, GfnRange part) {
        for (Gfn gfn = part.begin; gfn < part.end; gfn = gfn + 1) {
          state_.tree.TakeLeaves(removal, slot, gfn);
        }
      });
  state_.tree.TakeTables(removal, range);
  return state_.tree.Finish(removal);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D, CheckedFormat G, ForeignMemory L1>
AgeResult LegacyShadow<F, M, R, Fl, D, G, L1>::Age(GfnRange range,
                                                   AgeAction action,
                                                   AgeMode mode,
                                                   const AgeOutput& output) {
  const Walk walk(state_.reclaimer, EntryFor(mode));
  if (!walk) return Unanswered(range, output);
  AgeResult result;
  AgeCounts counts;
  state_.tree.memslots().ForEach(
      walk, range, [&](Memslot<F>& slot, GfnRange part) {
        result |= AgeRange(state_.rmaps, &slot.HeadOf(part.begin, kSmall),
                           RmapFrame{part.begin, kSmall}, part.Frames(), action,
                           mode, output, counts);
      });
  output.Count(counts);
  result.was_fast = kFastAging && counts.young != 0;
  return result;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D, CheckedFormat G, ForeignMemory L1>
std::size_t LegacyShadow<F, M, R, Fl, D, G, L1>::Reclaim(std::size_t count,
                                                         ZapSink sink) {
  const Walk walk(state_.reclaimer, WalkEntry::kWait);
  const FaultLock::Exclusive hold(state_.fault_lock);
  return internal::ReclaimTables(state_.tree, walk, count, sink);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D, CheckedFormat G, ForeignMemory L1>
std::uint32_t LegacyShadow<F, M, R, Fl, D, G, L1>::CountEntries(Gfn gfn,
                                                                Rights rights) {
  const Walk walk(state_.reclaimer, WalkEntry::kWait);
  Memslot<F>* const slot = state_.tree.memslots().Find(walk, gfn);
  std::uint32_t count = 0;
  if (slot == nullptr) return count;
  state_.rmaps.Visit(slot->HeadOf(gfn, kSmall), [&](SpteCell<F>& leaf) {
    const typename F::Word seen = ReadOnce(leaf, kRelaxed);
    if (F::IsPresent(seen) && Allows(F::RightsOf(seen), rights)) ++count;
    return true;
  });
  return count;
}

}  // namespace ptage

#endif  // PTAGE_LEGACY_SHADOW_H_
