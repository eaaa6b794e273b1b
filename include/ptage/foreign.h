// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Walks and harvests of page tables that somebody else built, and may rewrite
// at any moment with whatever he likes: a guest's own, seen from outside.
//
// Contract
//   A ForeignTree is what WalkSome (walk.h) and HarvestSome (harvest.h) take
//   for a tree. Concurrently, the owner's CPUs may set accessed and dirty bits
//   by compare-and-swap, and he may write anything anywhere; other threads may
//   walk and harvest the same tables, each through a ForeignTree of its own.
//
//   * Nothing is read or written outside what the memory admits. Written is
//     only by test-and-clear, and only the bit in question, of a leaf that was
//     well-formed and had it, by compare-and-swap against what was read.
//   * An entry is decided about by the value that was read of it (leaves of
//     level 1 that are only tested: the bit by one read, the form by a second).
//     What is wrong with it is counted, the first is kept (report()), and it is
//     passed over with everything below:
//       kOutside    it points to a table that the memory does not admit
//       kReserved   it has a bit that the format wants clear: a processor
//                   would fault. A large leaf that is not aligned, and one at a
//                   level that has none, are of this kind
//       kCycle      it points to a table that the walk is inside of: the walk
//                   would take tables for pages (Windows and some kernels map
//                   their own tables so, in one entry)
//       kTooMany    more tables would be entered than the caller allows
//   * A walk ends: it enters no table below level 1, and no more tables in all
//     than `most_tables`. A tree without shared tables has no more than there
//     are pages of memory; a malicious one of four pages has 2^27 paths.
//   * Frames of leaves are not looked at, since nothing follows them.
//   * The sentinel of a frozen entry (spte.h) means nothing here: such an entry
//     is not present.
//   * What is true of an answer: each leaf was so when it was read. A page that
//     the owner moves while the walk is on its way may be met twice or missed.
//
//   Nothing here flushes a TLB, and nothing can flush the owner's: who clears
//   accessed bits of a running guest takes them from its own reclaim, and a CPU
//   sets a bit again only when it next walks.
//
//   No order between entries is relied on, so there is none for a search to
//   refute; the one compare-and-swap is spte.h's.
//
//   Progress: wait-free, in entries of the range and in tables allowed.

#ifndef PTAGE_FOREIGN_H_
#define PTAGE_FOREIGN_H_

#include <cstddef>
#include <cstdint>

#include "ptage/memory.h"
#include "ptage/memory/foreign_ram.h"
#include "ptage/once.h"
#include "ptage/once/vector.h"
#include "ptage/page_table.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// What may be wrong with an entry: see the contract.
enum class ForeignError {
  kOutside,   // it points to a table in memory that is not admitted
  kReserved,  // it has bits that a processor wants clear
  kCycle,     // it points to a table that the walk is inside of
  kTooMany,   // it points to a table, and most_tables were entered
};
// How many kinds there are.
inline constexpr unsigned kForeignErrors = 4;

// An entry that something is wrong with.
struct ForeignFinding {
  ForeignError error;  // what is wrong
  Gfn gfn;             // the first frame that it would cover
  Level level;         // of the table that it lies in
  std::uint64_t word;  // as it was read
};

// What walks through one ForeignTree found. An entry that several read counts
// each time.
struct ForeignReport {
  std::uint64_t tables = 0;                  // entered, the root too
  std::uint64_t count[kForeignErrors] = {};  // entries, by ForeignError
  bool any = false;                          // whether one was malformed
  ForeignFinding first{};                    // if any

  // How many entries were wrong in this way.
  [[nodiscard]] std::uint64_t Of(ForeignError error) const {
    return count[static_cast<unsigned>(error)];
  }
};

// Leaves of level 1: nothing follows them, so that checking each is a matter of
// what answers are worth, not of safety. It costs a second look at the table.
enum class ForeignLeaves { kChecked, kUnchecked };

// What the caller knows of the owner's processor, and allows a walk to cost.
struct ForeignLimits {
  // Address bits that the owner's processor has: higher ones are reserved.
  // All that an entry has room for, by default.
  int physical_bits = 56;
  // Tables that may be entered, the root not counted, by all walks through the
  // tree. A walk that goes on after its budget enters those on its path again.
  std::uint64_t most_tables = std::uint64_t{1} << 20;
};

// Tables below the one at a physical address, in memory of others. For one
// thread at a time.
template <CheckedFormat F, ForeignMemory M,
          ForeignLeaves kLeaves = ForeignLeaves::kChecked>
class ForeignTree {
 public:
  using Format = F;
  using Tables = ForeignTree;
  using Word = typename F::Word;
  // What a walk of our own tables needs, and these do not.
  struct Walk {
    explicit operator bool() const { return true; }
  };

  // `root` is the frame of the table at Level{F::kLevels}: in x86-64 the frame
  // in CR3; where a root is several tables, of the first. `memory` outlives
  // this. Check valid().
  ForeignTree(const M& memory, Pfn root, ForeignLimits limits);
  ForeignTree(const ForeignTree&) = delete;
  ForeignTree& operator=(const ForeignTree&) = delete;

  // False if the memory does not admit the root, or it is not aligned to its
  // size, as processors want it.
  [[nodiscard]] bool valid() const { return valid_; }
  // What all walks through it have found.
  [[nodiscard]] const ForeignReport& report() const { return report_; }

  // As PageTable::Visit: `visit(entry, seen, gfn, level)` of well-formed
  // leaves. Precondition: valid().
  template <ColdEntries kCold = ColdEntries::kChecked, class Visitor>
  Gfn Visit(const Walk&, GfnRange range, std::uint64_t& budget,
            Visitor&& visit) const {
    if (range.Empty()) return range.end;
    return internal::VisitRoot(
        *this, range, [&](Table<F>& table, Gfn base, GfnRange part) {
          return internal::VisitTable<kCold>(*this, table, Level{F::kLevels},
                                             base, part, budget, visit);
        });
  }

  // The rest is for the walkers of this library (internal::TableTree).
  static constexpr bool kStable = false;
  static constexpr bool kTrusted = false;
  class Here {
   public:
    Here(const ForeignTree&, const Table<F>&, Gfn, Level) {}
    // What is there now.
    template <ColdEntries kCold = ColdEntries::kChecked>
    Word Read(const SpteCell<F>& entry) {
      // No order is needed: what is read through an inner entry is believed of
      // nothing but itself.
      return WithoutSentinel(ReadOnce(entry, kRelaxed));
    }

   private:
    static Word WithoutSentinel(Word word) {
      return word == F::kFrozen ? Word{F::kEmpty} : word;
    }
  };
  // The tree by its tables; those of the root; and where an entry is.
  [[nodiscard]] const ForeignTree& tables() const { return *this; }
  [[nodiscard]] Table<F>& RootTable(unsigned i) const { return *root_[i]; }
  [[nodiscard]] Here HereOf(const SpteCell<F>&, Gfn gfn, Level level) const {
    return Here(*this, *root_[0], gfn, level);
  }
  // The table that an inner entry at `level` points to; null, and reported, if
  // it is not to be entered.
  [[nodiscard]] Table<F>* Follow(Word inner, Gfn gfn, Level level) const;
  // Whether a leaf is well-formed; if not, it is reported.
  [[nodiscard]] bool AdmitsLeaf(Word leaf, Gfn gfn, Level level) const {
    if (kUnchecked && level == Level{1}) return true;
    if ((leaf & ReservedIn(level, EntryKind::kLeaf)) == 0) return true;
    Report(ForeignError::kReserved, gfn, level, leaf);
    return false;
  }
  // Whether kBlock entries at level 1 are all present and well-formed.
  [[nodiscard]] bool AdmitsBlock(const SpteCell<F>* entries) const {
    return kUnchecked || BlockHasLacks(entries, Word{F::kPresentBits},
                                       ReservedIn(Level{1}, EntryKind::kLeaf));
  }
  // Of `count` entries at level 1, at most kBlock, bit i if the i-th is present
  // and malformed.
  [[nodiscard]] std::uint64_t MalformedLeaves(const SpteCell<F>* entries,
                                              unsigned count) const {
    if constexpr (kUnchecked) return 0;
    return SeeWords(entries, count, Word{F::kPresentBits},
                    ReservedIn(Level{1}, EntryKind::kLeaf), Word{0})
        .both;
  }

 private:
  static constexpr std::uint64_t kTableBytes = sizeof(Table<F>);
  static constexpr bool kUnchecked = kLeaves == ForeignLeaves::kUnchecked;

  // The one place where foreign bytes become cells.
  [[nodiscard]] Table<F>* TableAt(Pfn pfn) const {
    std::byte* const bytes = memory_.At(pfn.value << F::kPageBits, kTableBytes);
    PTAGE_ASSERT(reinterpret_cast<std::uintptr_t>(bytes) % kTableBytes == 0);
    return reinterpret_cast<Table<F>*>(bytes);
  }
  [[nodiscard]] Word ReservedIn(Level level, EntryKind kind) const {
    return reserved_[level.value - 1][static_cast<unsigned>(kind)];
  }
  void Report(ForeignError error, Gfn gfn, Level level, Word word) const;

  const M& memory_;
  // Looked up one by one: what follows in guest memory need not follow here.
  Table<F>* root_[kRootTables<F>];
  bool valid_;
  Word reserved_[F::kLevels][2];

  // What a walk notes. A thread has its own tree, so that threads share no line
  // that they write.
  mutable std::uint64_t tables_left_;
  // The tables that a walk is inside of, by their level.
  mutable Pfn path_[F::kLevels];
  mutable ForeignReport report_;
};

// ---------------------------------------------------------------------------

template <CheckedFormat F, ForeignMemory M, ForeignLeaves kLeaves>
ForeignTree<F, M, kLeaves>::ForeignTree(const M& memory, Pfn root,
                                        ForeignLimits limits)
    : memory_(memory), tables_left_(limits.most_tables) {
  valid_ = root.value % kRootTables<F> == 0;
  for (unsigned i = 0; i < kRootTables<F>; ++i) {
    root_[i] = TableAt(root + i);
    valid_ = valid_ && root_[i] != nullptr;
  }
  for (int level = 1; level <= F::kLevels; ++level) {
    reserved_[level - 1][static_cast<unsigned>(EntryKind::kTable)] =
        F::ReservedBits(Level{level}, EntryKind::kTable, limits.physical_bits);
    reserved_[level - 1][static_cast<unsigned>(EntryKind::kLeaf)] =
        F::ReservedBits(Level{level}, EntryKind::kLeaf, limits.physical_bits);
  }
  path_[F::kLevels - 1] = root;
  if (valid_) report_.tables = kRootTables<F>;
}

template <CheckedFormat F, ForeignMemory M, ForeignLeaves kLeaves>
Table<F>* ForeignTree<F, M, kLeaves>::Follow(Word inner, Gfn gfn,
                                             Level level) const {
  if ((inner & ReservedIn(level, EntryKind::kTable)) != 0) {
    Report(ForeignError::kReserved, gfn, level, inner);
    return nullptr;
  }
  const Pfn pfn = F::FrameOf(inner);
  for (int above = level.value; above <= F::kLevels; ++above) {
    // Whichever table of the root it is.
    const unsigned tables = above == F::kLevels ? kRootTables<F> : 1;
    if (pfn.value - path_[above - 1].value < tables) {
      Report(ForeignError::kCycle, gfn, level, inner);
      return nullptr;
    }
  }
  // Had only the paths been bounded by their length:
  //   owner: 512 entries of each of four tables point to the next one
  //   walk: enters the last of them 2^27 times
  if (tables_left_ == 0) {
    Report(ForeignError::kTooMany, gfn, level, inner);
    return nullptr;
  }
  Table<F>* const table = TableAt(pfn);
  if (table == nullptr) {
    Report(ForeignError::kOutside, gfn, level, inner);
    return nullptr;
  }
  --tables_left_;
  ++report_.tables;
  path_[level.value - 2] = pfn;
  return table;
}

template <CheckedFormat F, ForeignMemory M, ForeignLeaves kLeaves>
void ForeignTree<F, M, kLeaves>::Report(ForeignError error, Gfn gfn,
                                        Level level, Word word) const {
  if (!report_.any) {
    report_.any = true;
    report_.first = ForeignFinding{error, gfn, level, word};
  }
  ++report_.count[static_cast<unsigned>(error)];
}

}  // namespace ptage

#endif  // PTAGE_FOREIGN_H_
