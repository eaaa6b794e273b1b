// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A software vCPU: translates frames through a tree of tables, and marks the
// entries on its way, as hardware does.
//
// Contract
//   * A Vcpu is used by one thread. Concurrently, any threads may change the
//     tables by the rules of spte.h and flush by VcpuSet; see there for when a
//     vCPU is running.
//   * A reference polls for a request to flush; is answered from the cache; or
//     walks, from the root or from a cached inner entry. A walk sets the
//     accessed bit in the inner entries it reads (where the format has one),
//     and in the leaf accessed, and dirty for a write, by compare-and-swap on
//     the value it walked. If an entry was changed meanwhile, it walks again.
//     Intel SDM volume 3A, 4.8 "Accessed and Dirty Flags"; volume 3C, 29.3.5
//     "Accessed and Dirty Flags for EPT". Where the format's walkers do not set
//     a bit, a leaf without it makes a fault instead (kMarkedByFaults, spte.h).
//   * It never writes to an entry that is not present; a frozen one is not, and
//     makes a fault like an empty one. A fault marks no leaf, and drops what is
//     cached for its frame (3A, 4.10.4.1; 3C, 29.4.3.1), so that the next
//     attempt walks from the root.
//   * A translation may be used until the next reference or Pause: the page's
//     data is read and written before that, or a flusher would not wait for it.
//   * Tables need no LocklessWalk to be read here: whoever frees one flushes
//     first, and a flush waits for the reference under way.
//   * SwitchTo goes over to the tables of another address space. A cache that
//     does not tag what it holds is dropped by it, or the vCPU would use there
//     what it was allowed here; one that does is kept (space_cache.h).
//   * Malformed tables: a child outside the memory policy's tables, or a leaf
//     above the largest size, is a fault. Walks end, as each step goes down one
//     level.
//   * Progress: a reference answered from the cache is wait-free, a walk
//     lock-free: it starts again only after another thread changed an entry.
//
// Sites (order · partner)
//   [vcpu.8] acquire load in WalkOnce              · [spte.5], [spte.7]
//   [vcpu.9] relaxed compare-and-swap in Mark      · none: nothing is published
//                                                    by it

#ifndef PTAGE_SIM_VCPU_H_
#define PTAGE_SIM_VCPU_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "ptage/config.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/sim/space_cache.h"
#include "ptage/sim/tlb.h"
#include "ptage/sim/translation_cache.h"
#include "ptage/sim/vcpu_set.h"
#include "ptage/sim/walk_cache.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage::sim {

// Why a reference was not translated.
enum class FaultCause : std::uint64_t {
  kNone,
  kNotPresent,  // an entry on the path is empty or frozen
  kForbidden,   // the path does not grant what was needed
  kMalformed,   // an entry that no correct tree contains
  kUnmarked,    // the leaf lacks a bit that walkers of the format do not set
};

// The answer to a reference.
struct Translation {
  // Valid if `fault` is kNone.
  Pfn pfn{};
  FaultCause fault = FaultCause::kNone;

  explicit operator bool() const { return fault == FaultCause::kNone; }
};

// The last reference that was not translated.
struct Fault {
  Gfn gfn;                               // the frame that was referred to
  Rights needed = Rights::kNone;         // what for
  FaultCause cause = FaultCause::kNone;  // why not
};

// Counts since the vCPU was made.
struct VcpuStats {
  std::uint64_t translations = 0;  // references that were translated,
  std::uint64_t walks = 0;         // of which through the tables: misses
  std::uint64_t faults = 0;        // references that were not
  std::uint64_t repeats = 0;       // walks begun again, an entry having changed
  std::uint64_t flushes = 0;       // times that the caches were dropped

  // References that were answered from the cache.
  [[nodiscard]] std::uint64_t Hits() const { return translations - walks; }
};

// The TLB and the paging-structure cache of a vCPU that is told nothing else.
template <SpteFormat F>
using DefaultCache = SplitCache<F, Tlb<F>, WalkCache<F>>;

template <SpteFormat F, TableMemory<F> M,
          TranslationCache<F> C = DefaultCache<F>>
class Vcpu {
 public:
  using Format = F;

  // The vCPU `index` of `set`, not running, which translates by the tree below
  // `root`, the first of kRootTables<F>. All outlive it. No other Vcpu uses the
  // same index meanwhile.
  Vcpu(VcpuSet& set, std::size_t index, M& memory, Table<F>& root)
      : line_(set.LineOf(index)), memory_(memory), root_(&root) {
    if constexpr (TaggedCache<C, F>) cache_.Use(root_);
  }
  // Precondition: not running.
  ~Vcpu() { PTAGE_ASSERT(!running_); }
  Vcpu(const Vcpu&) = delete;
  Vcpu& operator=(const Vcpu&) = delete;

  // Between these two the vCPU runs. See Running and NotRunning.
  void Resume();
  void Pause();

  // Translates by the tree below `root` from now on, which outlives the vCPU or
  // its next switch. For the vCPU's thread, whether it runs or not.
  void SwitchTo(Table<F>& root) {
    root_ = &root;
    if constexpr (TaggedCache<C, F>) {
      cache_.Use(root_);
    } else {
      cache_.Flush();
    }
  }

  // One reference to `gfn`. Precondition: running.
  [[nodiscard]] Translation Translate(Gfn gfn, Rights needed) {
    // The poll may be relaxed, see 4 in vcpu_set.h.
    if (line_.Changed(known_)) [[unlikely]] {
      Attend(line_.Read());
    }
    Pfn pfn;
    if (cache_.FindPage(gfn, needed, pfn)) [[likely]] {
      ++stats_.translations;
      return Translation{.pfn = pfn};
    }
    return Walk(gfn, needed);
  }

  // Answers a pending request to flush; for a thread that runs its vCPU but has
  // nothing to translate for a while. Precondition: running.
  void Poll() {
    if (line_.Changed(known_)) Attend(line_.Read());
  }

  // Only the vCPU's thread may ask these while it runs.
  [[nodiscard]] const VcpuStats& stats() const { return stats_; }
  [[nodiscard]] const Fault& last_fault() const { return last_fault_; }

 private:
  using Word = typename F::Word;

  // Whether rights are also in inner entries: a tree's own grant everything
  // then. (Where they have none, what RightsOf makes of one means nothing: of
  // an ARM64 table descriptor, that it does not forbid to execute.)
  static constexpr bool kInnerRights =
      F::RightsOf(F::MakeInner(Pfn{0})) == Rights::kAll;

  // Flushes if `word`, as just read, holds a request that is not answered.
  void Attend(std::uint64_t word);

  // Kept out of line, so that the path of a hit stays short.
  [[gnu::noinline]] Translation Walk(Gfn gfn, Rights needed);
  // Nothing: an entry was changed on the way.
  std::optional<Translation> WalkOnce(Gfn gfn, Rights needed);
  std::optional<Translation> UseLeaf(SpteCell<F>& entry, Word seen, Gfn gfn,
                                     const WalkedTable<F>& at, Rights needed);
  // Sets `bits` in the entry from which `seen` was read. False: it was changed
  // meanwhile.
  [[nodiscard]] static bool Mark(SpteCell<F>& entry, Word seen, Word bits);

  FlushLine& line_;
  // The line's word as of the last look while the vCPU ran.
  std::uint64_t known_ = FlushLine::kRunning;
  VcpuStats stats_;
  M& memory_;
  Table<F>* root_;
  Fault last_fault_;
  bool running_ = false;
  C cache_;
};

// A vCPU's thread at work, as a scope.
template <class V>
class [[nodiscard]] Running {
 public:
  explicit Running(V& vcpu) : vcpu_(vcpu) { vcpu_.Resume(); }
  ~Running() { vcpu_.Pause(); }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

 private:
  V& vcpu_;
};

// Inside it, a fault or a wait for another thread.
template <class V>
class [[nodiscard]] NotRunning {
 public:
  explicit NotRunning(V& vcpu) : vcpu_(vcpu) { vcpu_.Pause(); }
  ~NotRunning() { vcpu_.Resume(); }
  NotRunning(const NotRunning&) = delete;
  NotRunning& operator=(const NotRunning&) = delete;

 private:
  V& vcpu_;
};

// ---------------------------------------------------------------------------

template <SpteFormat F, TableMemory<F> M, TranslationCache<F> C>
void Vcpu<F, M, C>::Resume() {
  PTAGE_ASSERT(!running_);
  running_ = true;
  Attend(line_.Resume());
}

template <SpteFormat F, TableMemory<F> M, TranslationCache<F> C>
void Vcpu<F, M, C>::Pause() {
  PTAGE_ASSERT(running_);
  running_ = false;
  line_.Pause(stats_.translations);
}

template <SpteFormat F, TableMemory<F> M, TranslationCache<F> C>
void Vcpu<F, M, C>::Attend(std::uint64_t word) {
  // A reference outside Resume and Pause ends here: no word that the vCPU knew
  // while it ran equals one of the time after.
  PTAGE_ASSERT(FlushLine::Running(word));
  if (FlushLine::Requests(word) != FlushLine::Requests(known_)) {
    cache_.Flush();
    ++stats_.flushes;
    line_.Acknowledge(word, stats_.translations);
  }
  known_ = word;
}

template <SpteFormat F, TableMemory<F> M, TranslationCache<F> C>
Translation Vcpu<F, M, C>::Walk(Gfn gfn, Rights needed) {
  std::optional<Translation> done = WalkOnce(gfn, needed);
  while (!done.has_value()) {
    ++stats_.repeats;
    done = WalkOnce(gfn, needed);
  }
  if (*done) {
    ++stats_.translations;
    ++stats_.walks;
  } else {
    ++stats_.faults;
    last_fault_ = Fault{gfn, needed, done->fault};
    cache_.Forget(gfn);
  }
  return *done;
}

template <SpteFormat F, TableMemory<F> M, TranslationCache<F> C>
std::optional<Translation> Vcpu<F, M, C>::WalkOnce(Gfn gfn, Rights needed) {
  constexpr Level kRoot{F::kLevels};
  if (gfn.value >= kFramesPerTree<F>) {
    return Translation{.fault = FaultCause::kNotPresent};
  }
  WalkedTable<F> at = cache_.FindTable(gfn);
  if (at.table == nullptr) {
    at = WalkedTable<F>{RootTableOf(root_, gfn), kRoot, Rights::kAll};
  }
  for (;;) {
    SpteCell<F>& entry =
        at.table
            ->entries[gfn.value / FramesAt<F>(at.level) % kEntriesPerTable<F>];
    // [vcpu.8] acquire, pairs with [spte.5] and [spte.7]: the table below is
    // visible as its builder left it.
    const Word seen = ReadOnce(entry, kAcquire);
    if (!F::IsPresent(seen)) {
      return Translation{.fault = FaultCause::kNotPresent};
    }
    if (F::IsLeaf(seen, at.level)) {
      return UseLeaf(entry, seen, gfn, at, needed);
    }
    if constexpr (F::kInnerAccessed) {
      if (!Mark(entry, seen, F::kAccessed)) return std::nullopt;
    }
    Table<F>* const child = memory_.TableAt(F::FrameOf(seen));
    if (child == nullptr) return Translation{.fault = FaultCause::kMalformed};
    at.table = child;
    at.level = at.level.Below();
    if constexpr (kInnerRights) at.rights = at.rights & F::RightsOf(seen);
    cache_.AddTable(gfn, at);
  }
}

template <SpteFormat F, TableMemory<F> M, TranslationCache<F> C>
std::optional<Translation> Vcpu<F, M, C>::UseLeaf(SpteCell<F>& entry, Word seen,
                                                  Gfn gfn,
                                                  const WalkedTable<F>& at,
                                                  Rights needed) {
  if (at.level > F::kLargestLeaf) {
    return Translation{.fault = FaultCause::kMalformed};
  }
  Rights granted = at.rights & F::RightsOf(seen);
  if (!Allows(granted, needed)) {
    return Translation{.fault = FaultCause::kForbidden};
  }
  if constexpr (kMarkedByFaults<F>) {
    granted = granted & LiveRights<F>(seen);
    if (!Allows(granted, needed)) {
      return Translation{.fault = FaultCause::kUnmarked};
    }
  }
  Word bits = kHardwareAccessed<F> ? F::kAccessed : Word{0};
  if (kHardwareDirty<F> && Allows(needed, Rights::kWrite)) bits |= F::kDirty;
  if (!Mark(entry, seen, bits)) return std::nullopt;
  const Word marked = seen | bits;
  if ((marked & F::kDirty) != F::kDirty)
    granted = granted & Rights::kReadExecute;
  const Pfn first = F::FrameOf(seen);
  cache_.AddPage(gfn, at.level, first, granted);
  return Translation{.pfn = first + gfn.value % FramesAt<F>(at.level)};
}

template <SpteFormat F, TableMemory<F> M, TranslationCache<F> C>
bool Vcpu<F, M, C>::Mark(SpteCell<F>& entry, Word seen, Word bits) {
  const Word marked = seen | bits;
  if (marked == seen) return true;
  // Were this an OR without comparison:
  //   vCPU: reads a present entry | zapper: freezes it, hands on its bits
  //   vCPU: sets accessed         | owner: empties it, and with it the bit
  // or the bit would stand in an entry that is frozen or empty.
  // [vcpu.9] relaxed: nothing is published by it.
  return TryCmpxchg(entry, seen, marked, kRelaxed);
}

}  // namespace ptage::sim

#endif  // PTAGE_SIM_VCPU_H_
