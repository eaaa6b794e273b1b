// SPDX-License-Identifier: MIT OR Apache-2.0
//
// One entry of a secondary page table (SPTE): what its format must say, how it
// is aged, and how it changes hands.
//
// Contract
//   Concurrently with every function here, a page walker (hardware, or
//   sim/vcpu.h), or a fault (fast_fault.h), may set the accessed and dirty bits
//   of a present entry by compare-and-swap, and other threads may age, freeze,
//   zap or install it.
//
//   * Read once, decide on that value, change only by a strong
//     compare-and-swap against it. There is no blind read-modify-write: the
//     entry may have been zapped, frozen or given to another page meanwhile.
//   * A cold entry costs one load and no store.
//   * A lost race answers young, since the value read was young; that is true
//     whoever won. So a young bit may be reported twice, never not at all.
//   * Permission bits are never lost. An accessed or dirty bit leaves an entry
//     only into a caller's hands: by test-and-clear of that bit, or with the
//     value that Freeze took.
//   * *Frozen* (F::kFrozen) is owned by the thread that put it there. Freeze,
//     Restore, Publish and Empty below are the only functions that write it or
//     overwrite it.
//   * Nothing here flushes a TLB. A CPU with a cached translation sets the
//     accessed bit again only when it next walks the table.
//
//   Progress: every function is wait-free but Zap, which is lock-free: it
//   repeats only after another thread changed the entry.
//
// Sites (order · partner)
//   [spte.1] acquire load in AgeEntry      · [spte.5], [spte.6]
//   [spte.2] relaxed clear in AgeSeen      · none: nothing is published by it
//   [spte.3] acquire compare-and-swap      · [spte.4], [spte.5], [spte.6]
//            in Freeze
//   [spte.4] release store in Restore      · [spte.1], [spte.3], [table.1]
//   [spte.5] release store in Publish      · [spte.1], [spte.3], [rmap.1],
//                                            [table.1]
//   [spte.6] release store in Empty        · [spte.1], [spte.3], [spte.8],
//                                            [rmap.1]
//   [spte.7] release compare-and-swap      · [table.1]
//            in Install
//   [spte.8] acquire load in Zap           · [spte.6]

#ifndef PTAGE_SPTE_H_
#define PTAGE_SPTE_H_

#include <concepts>
#include <cstdint>

#include "ptage/once.h"
#include "ptage/types.h"

namespace ptage {

// Bits that some architecture uses for accessed or dirty state, which no
// frozen sentinel may contain: EPT 8 and 9 (SDM 3C 29.3), x86-64 5 and 6 (SDM
// 3A 4.5), ARM64 stage 2 AF 10, S2AP[1] 7 and DBM 51 (DDI 0487 D8.3), RISC-V 6
// and 7 (Privileged 10.3).
inline constexpr std::uint64_t kAccessedOrDirtyOfAnyFormat =
    0x7E0u | std::uint64_t{1} << 51;

// What a page-table format must say. All functions are pure and constexpr.
template <class F>
concept SpteFormat =
    std::unsigned_integral<typename F::Word> &&
    (sizeof(typename F::Word) == 4 || sizeof(typename F::Word) == 8) &&
    requires(typename F::Word word, Level level, Pfn pfn, Rights rights) {
      // Levels of tables: the root is at Level{kLevels}.
      { F::kLevels } -> std::convertible_to<int>;
      // log2 of the entries in a table, and of the bytes in the smallest page.
      { F::kIndexBits } -> std::convertible_to<int>;
      { F::kPageBits } -> std::convertible_to<int>;
      // The highest level that may hold leaves.
      { F::kLargestLeaf } -> std::convertible_to<Level>;
      // An entry that maps nothing, and one that a thread owns.
      { F::kEmpty } -> std::convertible_to<typename F::Word>;
      { F::kFrozen } -> std::convertible_to<typename F::Word>;
      // The accessed and the dirty bit of a leaf, one each. Software sets them
      // by Used, below.
      { F::kAccessed } -> std::convertible_to<typename F::Word>;
      { F::kDirty } -> std::convertible_to<typename F::Word>;
      // Whether walkers set kAccessed in inner entries as well.
      { F::kInnerAccessed } -> std::convertible_to<bool>;
      // Whether the entry maps something, which need not mean that hardware
      // would use it (see kMarkedByFaults). False for empty and frozen.
      { F::IsPresent(word) } -> std::same_as<bool>;
      // Whether a present entry of a table at `level` maps a page.
      { F::IsLeaf(word, level) } -> std::same_as<bool>;
      { F::FrameOf(word) } -> std::same_as<Pfn>;
      { F::RightsOf(word) } -> std::same_as<Rights>;
      // A leaf, neither accessed nor dirty. `pfn` is aligned to the page.
      { F::MakeLeaf(pfn, level, rights) } -> std::same_as<typename F::Word>;
      // An entry that points to a table, accessed where there is such a bit.
      { F::MakeInner(pfn) } -> std::same_as<typename F::Word>;
      // The leaf one level below that is entry `index` of the split of `word`,
      // which is at `level`: same rights, accessed and dirty.
      { F::SplitLeaf(word, level, 0u) } -> std::same_as<typename F::Word>;
    } && (F::kEmpty != F::kFrozen) && !F::IsPresent(F::kEmpty) &&
    !F::IsPresent(F::kFrozen) &&
    (F::kFrozen & kAccessedOrDirtyOfAnyFormat) == 0 &&
    (F::kFrozen & (F::kAccessed | F::kDirty)) == 0;

// What a present entry is: it points to a table, or maps a page.
enum class EntryKind { kTable, kLeaf };

// A format may say that an entry is present exactly if it has one of the bits
// F::kPresentBits. Its entries can then be tested in vectors.
template <class F>
concept VectorTestable = SpteFormat<F> && requires {
  { F::kPresentBits } -> std::convertible_to<typename F::Word>;
};

// A format may also say which bits a processor wants clear in a present entry
// of a table at `level`, and faults on. Frames have `physical_bits` bits, those
// in the page counted.
template <class F>
concept CheckedFormat =
    VectorTestable<F> &&
    requires(Level level, EntryKind kind, int physical_bits) {
      {
        F::ReservedBits(level, kind, physical_bits)
      } -> std::same_as<typename F::Word>;
    };

// A format may also say, in F::kRootTables, that a root is so many tables, one
// after the other in memory, as if they were one; and in F::kRefusedBits, with
// which bits an entry's accessed bit would speak for others too. Who installs
// an entry has none of these.
template <SpteFormat F>
inline constexpr unsigned kRootTables = 1;
template <SpteFormat F>
  requires requires { F::kRootTables; }
inline constexpr unsigned kRootTables<F> = F::kRootTables;

// The bits that are refused; none, unless the format says so.
template <SpteFormat F>
inline constexpr typename F::Word kRefusedBits = 0;
template <SpteFormat F>
  requires requires { F::kRefusedBits; }
// The same of a format that says so.
inline constexpr typename F::Word kRefusedBits<F> = F::kRefusedBits;

// Whether page walkers set the accessed bit, and the dirty bit, of a leaf. A
// format may say that they do not, by F::kHardwareAccessed and
// F::kHardwareDirty: they then fault on a leaf without the bit, and a fault
// sets it (fast_fault.h). Such a leaf maps its page all the same: it is
// present for zap, harvest and rmaps.
template <SpteFormat F>
inline constexpr bool kHardwareAccessed = [] {
  if constexpr (requires { F::kHardwareAccessed; }) {
    return bool{F::kHardwareAccessed};
  } else {
    return true;
  }
}();
template <SpteFormat F>
inline constexpr bool kHardwareDirty = [] {
  if constexpr (requires { F::kHardwareDirty; }) {
    return bool{F::kHardwareDirty};
  } else {
    return true;
  }
}();
// Whether a fault sets one of them.
template <SpteFormat F>
inline constexpr bool kMarkedByFaults =
    !kHardwareAccessed<F> || !kHardwareDirty<F>;

// Entries in a table.
template <SpteFormat F>
inline constexpr unsigned kEntriesPerTable = 1u << F::kIndexBits;

// Frames that an entry at `level` covers. Precondition: `level` is one of the
// format's, or the one above its root.
template <SpteFormat F>
[[nodiscard]] constexpr std::uint64_t FramesAt(Level level) {
  return std::uint64_t{1} << (F::kIndexBits * (level.value - 1));
}

// The frames of the page at `level` that `gfn` lies in.
template <SpteFormat F>
[[nodiscard]] constexpr GfnRange PageAround(Gfn gfn, Level level) {
  const std::uint64_t frames = FramesAt<F>(level);
  const Gfn first{gfn.value / frames * frames};
  return GfnRange{first, first + frames};
}

// Frames that a table of the root translates, and that a tree does.
template <SpteFormat F>
inline constexpr std::uint64_t kFramesPerRootTable =
    FramesAt<F>(Level{F::kLevels + 1});
template <SpteFormat F>
inline constexpr std::uint64_t kFramesPerTree =
    kRootTables<F> * kFramesPerRootTable<F>;

// The shared word of an entry.
template <SpteFormat F>
using SpteCell = Cell<typename F::Word>;

// Whether the entry is present and was accessed.
template <SpteFormat F>
[[nodiscard]] constexpr bool IsYoung(typename F::Word word) {
  return F::IsPresent(word) && (word & F::kAccessed) != 0;
}

// Whether the entry is present and was written through.
template <SpteFormat F>
[[nodiscard]] constexpr bool IsDirty(typename F::Word word) {
  return F::IsPresent(word) && (word & F::kDirty) != 0;
}

// Whether a thread owns the entry. It is not present then.
template <SpteFormat F>
[[nodiscard]] constexpr bool IsFrozen(typename F::Word word) {
  return word == F::kFrozen;
}

// What more changes with the two bits, where they alone do not tell a walker
// what to do: a format may have the functions of these names.

// A present entry made old: what aging leaves of it. Dirty stays.
template <SpteFormat F>
[[nodiscard]] constexpr typename F::Word Aged(typename F::Word word) {
  if constexpr (requires { F::Aged(word); }) {
    return F::Aged(word);
  } else {
    return static_cast<typename F::Word>(word & ~F::kAccessed);
  }
}

// A present leaf made clean: the next write sets dirty again. Accessed stays.
template <SpteFormat F>
[[nodiscard]] constexpr typename F::Word Cleaned(typename F::Word word) {
  if constexpr (requires { F::Cleaned(word); }) {
    return F::Cleaned(word);
  } else {
    return static_cast<typename F::Word>(word & ~F::kDirty);
  }
}

// A present leaf after an access that a fault let through: accessed, and dirty
// if it was a write. Precondition: RightsOf(word) has `access`.
template <SpteFormat F>
[[nodiscard]] constexpr typename F::Word Used(typename F::Word word,
                                              Rights access) {
  if constexpr (requires { F::Used(word, access); }) {
    return F::Used(word, access);
  } else {
    return static_cast<typename F::Word>(
        word | F::kAccessed |
        (Allows(access, Rights::kWrite) ? F::kDirty : typename F::Word{0}));
  }
}

// What hardware lets through by a present leaf as it stands; RightsOf is what
// it lets through once a fault has set what is missing.
template <SpteFormat F>
[[nodiscard]] constexpr Rights LiveRights(typename F::Word word) {
  if constexpr (requires { F::LiveRights(word); }) {
    return F::LiveRights(word);
  } else {
    if (!kHardwareAccessed<F> && (word & F::kAccessed) == 0) {
      return Rights::kNone;
    }
    const bool writes = kHardwareDirty<F> || (word & F::kDirty) != 0;
    return F::RightsOf(word) & (writes ? Rights::kAll : Rights::kReadExecute);
  }
}

// What was found of one entry.
enum class SpteAge {
  kAbsent,    // maps nothing, or, where identity was asked, another page
  kCold,      // present and not accessed
  kYoung,     // accessed (and cleared, if that was asked)
  kLostRace,  // accessed; someone else changed the entry before it was cleared
  kFrozen,    // owned by another thread; left untouched
};

// Ages one entry. `belongs()` is asked of a young entry only, after it was read
// and before it is changed: does the table still record this entry for the page
// in question? Pass [] { return true; } where entries keep their frame for as
// long as the table lives.
template <SpteFormat F, class Belongs>
SpteAge AgeEntry(SpteCell<F>& entry, AgeAction action, Belongs&& belongs);

// The same of an entry from which `seen` was just read, with acquire. `kBit` is
// the bit in question: F::kAccessed or F::kDirty.
template <SpteFormat F, typename F::Word kBit = F::kAccessed, class Belongs>
SpteAge AgeSeen(SpteCell<F>& entry, typename F::Word seen, AgeAction action,
                Belongs&& belongs);

// The answer that `age` amounts to. Fast-only leaves a frozen entry as unknown;
// slow answers young, since whoever froze it may hold an access in hand.
[[nodiscard]] constexpr AgeResult ToResult(SpteAge age, AgeMode mode);

// The same as counts.
[[nodiscard]] constexpr AgeCounts CountsOf(SpteAge age) {
  const bool lost = age == SpteAge::kLostRace;
  const bool young = lost || age == SpteAge::kYoung;
  return AgeCounts{.examined = young || age == SpteAge::kCold ? 1u : 0u,
                   .young = young ? 1u : 0u,
                   .lost_races = lost ? 1u : 0u,
                   .unanswered = age == SpteAge::kFrozen ? 1u : 0u};
}

// The three questions, of one entry that keeps its frame.
template <SpteFormat F>
AgeResult TestYoung(SpteCell<F>& entry);
template <SpteFormat F>
AgeResult TestClearYoung(SpteCell<F>& entry);
template <SpteFormat F>
AgeResult TestClearYoungFastOnly(SpteCell<F>& entry);

// Installs `word`, which is present, if the entry still maps nothing. False: it
// does not, or is frozen, and is as it was. For entries that need no record;
// what the caller wrote before is visible as with Publish.
template <SpteFormat F>
[[nodiscard]] bool Install(SpteCell<F>& entry, typename F::Word word);

// Takes the entry from the value `seen`, which was read from it and is not
// frozen. True: the caller owns it, and `seen` is the last value it had. False:
// it was changed meanwhile.
template <SpteFormat F>
[[nodiscard]] bool Freeze(SpteCell<F>& entry, typename F::Word seen);

// The owner puts back the value that Freeze took.
template <SpteFormat F>
void Restore(SpteCell<F>& entry, typename F::Word taken);

// The owner installs `word`, which is present. What the owner wrote before is
// visible to whoever reads `word` with acquire.
template <SpteFormat F>
void Publish(SpteCell<F>& entry, typename F::Word word);

// The owner leaves the entry mapping nothing.
template <SpteFormat F>
void Empty(SpteCell<F>& entry);

// What Zap comes to.
enum class ZapOutcome {
  kZapped,  // the sink has it
  kAbsent,  // there was nothing to zap
  kFrozen,  // owned by another thread: not touched
};

// Makes a leaf non-present. Freezes it, calls `flush()`, hands the value with
// its accessed and dirty bits to `sink(word)`, and only then empties it: nobody
// can read "empty" before the access is on record. A caller that keeps faults
// out may pass an empty `flush` and flush once for many.
template <SpteFormat F, class Flush, class Sink>
ZapOutcome Zap(SpteCell<F>& entry, Flush&& flush, Sink&& sink);

// The same of a present leaf from which `seen` was just read. False: the entry
// was changed meanwhile, and nothing was done.
template <SpteFormat F, class Flush, class Sink>
[[nodiscard]] bool ZapSeen(SpteCell<F>& entry, typename F::Word seen,
                           Flush&& flush, Sink&& sink);

// ---------------------------------------------------------------------------

template <SpteFormat F, class Belongs>
SpteAge AgeEntry(SpteCell<F>& entry, AgeAction action, Belongs&& belongs) {
  // [spte.1] acquire, pairs with [spte.5]: what the installer recorded about
  // the page is visible to belongs(); and with [spte.6].
  return AgeSeen<F>(entry, ReadOnce(entry, kAcquire), action, belongs);
}

template <SpteFormat F, typename F::Word kBit, class Belongs>
SpteAge AgeSeen(SpteCell<F>& entry, typename F::Word seen, AgeAction action,
                Belongs&& belongs) {
  if (IsFrozen<F>(seen)) return SpteAge::kFrozen;
  if (!F::IsPresent(seen)) return SpteAge::kAbsent;
  if ((seen & kBit) == 0) return SpteAge::kCold;
  // Were the record read before the entry:
  //   ager: record says A | owner: zaps A, records B, installs B
  //   ager: reads B's young entry, takes it for A's and clears it
  // and B's access is lost. In this order B's install is seen with its record.
  if (!belongs()) return SpteAge::kAbsent;
  if (action == AgeAction::kTest) return SpteAge::kYoung;
  const typename F::Word cleared =
      kBit == F::kAccessed ? Aged<F>(seen) : Cleaned<F>(seen);
  // Were this an AND without comparison:
  //   ager: reads young | owner: zaps, and installs another page, accessed
  //   ager: clears that page's bit, and nobody reports its access.
  // [spte.2] relaxed: nothing is published by it.
  return TryCmpxchg(entry, seen, cleared, kRelaxed) ? SpteAge::kYoung
                                                    : SpteAge::kLostRace;
}

constexpr AgeResult ToResult(SpteAge age, AgeMode mode) {
  const bool frozen = age == SpteAge::kFrozen;
  const bool slow = mode == AgeMode::kSlow;
  return AgeResult{.young = age == SpteAge::kYoung ||
                            age == SpteAge::kLostRace || (frozen && slow),
                   .was_fast = false,
                   .complete = !frozen || slow};
}

template <SpteFormat F>
AgeResult TestYoung(SpteCell<F>& entry) {
  return ToResult(AgeEntry<F>(entry, AgeAction::kTest, [] { return true; }),
                  AgeMode::kSlow);
}

template <SpteFormat F>
AgeResult TestClearYoung(SpteCell<F>& entry) {
  return ToResult(
      AgeEntry<F>(entry, AgeAction::kTestAndClear, [] { return true; }),
      AgeMode::kSlow);
}

template <SpteFormat F>
AgeResult TestClearYoungFastOnly(SpteCell<F>& entry) {
  return ToResult(
      AgeEntry<F>(entry, AgeAction::kTestAndClear, [] { return true; }),
      AgeMode::kFastOnly);
}

template <SpteFormat F>
bool Install(SpteCell<F>& entry, typename F::Word word) {
  PTAGE_ASSERT(F::IsPresent(word) && (word & kRefusedBits<F>) == 0);
  // Were this a store, two faults could both believe that they mapped the page,
  // or a fault could overwrite an entry that a table removal has frozen.
  // [spte.7] release, pairs with [table.1].
  return TryCmpxchg(entry, F::kEmpty, word, kRelease);
}

template <SpteFormat F>
bool Freeze(SpteCell<F>& entry, typename F::Word seen) {
  PTAGE_ASSERT(!IsFrozen<F>(seen));
  // [spte.3] acquire, pairs with [spte.4], [spte.5] and [spte.6]: what the
  // owner before wrote about this entry is older than what this owner writes.
  return TryCmpxchg(entry, seen, F::kFrozen, kAcquire);
}

template <SpteFormat F>
void Restore(SpteCell<F>& entry, typename F::Word taken) {
  PTAGE_ASSERT(!IsFrozen<F>(taken));
  // [spte.4] release, pairs with [spte.3]; and with [spte.1] and [table.1], who
  // reach what the installer wrote only through this store.
  WriteOnce(entry, taken, kRelease);
}

template <SpteFormat F>
void Publish(SpteCell<F>& entry, typename F::Word word) {
  PTAGE_ASSERT(F::IsPresent(word) && (word & kRefusedBits<F>) == 0);
  // [spte.5] release, pairs with [spte.1], [rmap.1], [spte.3] and [table.1]:
  // the page's record, or the table it points to, is visible before the entry
  // is.
  WriteOnce(entry, word, kRelease);
}

template <SpteFormat F>
void Empty(SpteCell<F>& entry) {
  // [spte.6] release, pairs with [spte.3]: the next owner's records come after
  // this one's; and with [spte.1] and [spte.8]: who reads "empty" sees the
  // access on record.
  WriteOnce(entry, F::kEmpty, kRelease);
}

template <SpteFormat F, class Flush, class Sink>
bool ZapSeen(SpteCell<F>& entry, typename F::Word seen, Flush&& flush,
             Sink&& sink) {
  if (!Freeze<F>(entry, seen)) return false;
  flush();
  sink(seen);
  // Were the entry emptied before the sink was called:
  //   zapper: empties              | reclaim: reads empty: not accessed
  //   zapper: hands over accessed  | reclaim: has already evicted the page.
  Empty<F>(entry);
  return true;
}

template <SpteFormat F, class Flush, class Sink>
ZapOutcome Zap(SpteCell<F>& entry, Flush&& flush, Sink&& sink) {
  for (;;) {
    // [spte.8] acquire, pairs with [spte.6]: who finds nothing to zap sees what
    // was handed over when it was zapped.
    const typename F::Word seen = ReadOnce(entry, kAcquire);
    if (IsFrozen<F>(seen)) return ZapOutcome::kFrozen;
    if (!F::IsPresent(seen)) return ZapOutcome::kAbsent;
    // Repeats only if the walker or another thread changed the entry.
    if (ZapSeen<F>(entry, seen, flush, sink)) return ZapOutcome::kZapped;
  }
}

}  // namespace ptage

#endif  // PTAGE_SPTE_H_
