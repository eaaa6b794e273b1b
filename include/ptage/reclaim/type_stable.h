// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Type-stable memory: a removed table goes back to its pool at once, walks cost
// nothing, and a walk that finds itself in a table which serves another place
// by now notices it, by the identity beside the table.
//
// Contract
//   * TypeStable holds nothing back, and Begin and End do nothing. So it keeps
//     no promise about what a walk holds, but this: it is memory of the same
//     type. The pool (page_table/tables.h, StableTableMemory) holds tables of
//     one format only, neither unmaps nor writes a page while a walk may hold
//     it, puts no links inside, and keeps the identity beside it as well.
//   * For direct page tables (PageTable, TdpMmu). A stale entry of theirs can
//     be told by its table's identity. Nothing tells a scan that a chunk of an
//     rmap was given to another list, nor a reader that a set of memslots was
//     freed: those do not compile with this scheme.
//   * A table cannot change its format: its pool is typed by it, and trees of
//     another format do not compile with that pool. Its level, its first frame
//     and its tree may change from one life to the next.
//   * Progress: every function is wait-free. A table may be given out again
//     under a walk; the walk goes on, and is told that its entries are frozen.
//
// Why no page is charged with another's access
//   Notation: a table has lives. In each it serves one place: a tree, a first
//   frame, a level. Whoever begins a life has the table for himself, every
//   entry frozen since the end of the life before; he records the tree and the
//   place [stable.1, stable.2], then the number of the life [stable.3], and
//   only then opens entries, by release stores. Whoever ends one freezes every
//   entry. A walk that expects a place P reads the number a [stable.6], the
//   tree and the place [stable.4, stable.5], which must be P's; then an entry,
//   by acquire, and finds v; then the number again, which must still be a.
//   1. v was written in some life x of the table, whoever wrote it: by its
//      builder, by a fault, or by a walker or ager over one of those.
//   2. Writes of an entry other than the owner's are compare-and-swaps, which
//      carry on the release sequence of the store that they build on. So the
//      acquire load of v synchronizes with a store of life x, after which comes
//      everything that was recorded for x.
//   3. If x is later than a, that includes the number x, and the second look at
//      the number does not find a any more. Without it:
//        walk: finds the table P's    | remover: ends P's life
//                                     | builder: begins another's, A set there
//        walk: reads that entry as P's.
//   4. If x is earlier than a, the freeze that ended x happened before a was
//      recorded, [stable.6] synchronizes with [stable.3], and the load of v
//      cannot return what was there before the freeze. Were the identity read
//      after the entry alone:
//        walk: reads v                | remover: ends the life of v
//        walk: finds the table P's    | builder: begins P's.
//   5. So x is a. The tree and the place that the walk read were recorded for
//      a, or for a later life b: not for an earlier one, by [stable.6]. Were
//      one recorded for b, [stable.4] or [stable.5] would synchronize with its
//      store, and the load of v, coming after, could not return a value from
//      before the freeze that ended a. So they are a's, and a served P.
//   6. Re-reading the entry above instead would not do: a table may leave its
//      place and come back, and the entry above is then the same, bit by bit.
//
// Why no access is lost
//   7. An ager then compares and swaps on v. If it succeeds, and the table is
//      still in life a, the bit was P's, and is reported for P. If it fails, v
//      was young, and that is reported.
//   8. If it succeeds in a later life, an entry there holds the same word: the
//      same frame at the same level with the same rights, young. Its access is
//      then reported for P, where the frame was mapped when the ager looked: it
//      is charged to the frame, as rmap.h does. In a virtual machine with one
//      direct tree a frame has one place.
//   9. Who must not err at all, because he takes the entry for good (a zap) or
//      fills it (a fault, a builder), freezes it first and asks the identity
//      then. No life ends without every entry being frozen by who ends it, so
//      while he owns the entry the answer stays true; if it is "another", he
//      puts back what he took.
//  10. For that, whoever builds a table writes its entries only from frozen, as
//      their owner, and opens them only when it is certain that the table will
//      be reached (page_table/tables.h says what happens else).
//
// Sites (order · partner)
//   [stable.1] release store of the tree in Record    · [stable.4]
//   [stable.2] release store of the place in Record   · [stable.5]
//   [stable.3] release store of the life in Record    · [stable.6]
//   [stable.4] acquire load of the tree in LifeIn     · [stable.1]
//   [stable.5] acquire load of the place in LifeIn    · [stable.2]
//   [stable.6] acquire load of the life in LifeIn     · [stable.3]
//   [stable.7] relaxed load of the life in StillIn    · ordered by [table.1]

#ifndef PTAGE_RECLAIM_TYPE_STABLE_H_
#define PTAGE_RECLAIM_TYPE_STABLE_H_

#include <cstdint>

#include "ptage/config.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/types.h"

namespace ptage {

// The scheme. It has no state.
class TypeStable {
 public:
  // Tables go back to their pool at once, and walks tell by identity.
  static constexpr bool kTypeStable = true;

  struct Section {
    explicit operator bool() const { return true; }
  };

  [[nodiscard]] Section Begin() { return Section(); }
  void End(Section) {}
  // Frees the object before it returns, whoever still reads it.
  void Retire(Retired& node) {
    PTAGE_ASSERT(node.free != nullptr);
    node.free(node, node.owner);
  }
};

// What a table serves in one of its lives.
struct TablePlace {
  const void* tree;  // which of the trees that share the pool
  Gfn base;          // the first frame
  Level level;       // of its entries

  bool operator==(const TablePlace&) const = default;
};

// A number that a table has in one of its lives, and never again. At a million
// lives a second they last for half a million years.
using TableLife = std::uint64_t;
// That of a table before its first.
inline constexpr TableLife kNoTableLife = 0;

// The record beside a table that tells what it serves. It stays as long as a
// walk may hold the table.
class TableIdentity {
 public:
  // Of a table that has never been used.
  TableIdentity() : tree_(0), place_(0), life_(kNoTableLife) {}
  TableIdentity(const TableIdentity&) = delete;
  TableIdentity& operator=(const TableIdentity&) = delete;

  // Begins a life. Precondition: the caller has the table for himself, with
  // every entry frozen, or it has never been used.
  void Record(const TablePlace& place);

  // The life that the table is in, if it serves `place`; else kNoTableLife. Any
  // thread, before it reads the entry in question.
  [[nodiscard]] TableLife LifeIn(const TablePlace& place) const;

  // Whether an entry was of this life. Any thread, after it has read the entry
  // by acquire. False for kNoTableLife.
  [[nodiscard]] bool StillIn(TableLife life) const {
    // [stable.7] relaxed: the acquire load of the entry comes before it.
    return life != kNoTableLife && ReadOnce(life_, kRelaxed) == life;
  }

 private:
  static std::uint64_t TreeWord(const TablePlace& place) {
    return reinterpret_cast<std::uintptr_t>(place.tree);
  }
  // A frame has at most 52 bits, a level at most 3.
  static std::uint64_t PlaceWord(const TablePlace& place) {
    return place.base.value << 3 |
           static_cast<std::uint64_t>(place.level.value);
  }

  Cell<std::uint64_t> tree_;
  Cell<std::uint64_t> place_;
  Cell<std::uint64_t> life_;
};

// ---------------------------------------------------------------------------

inline void TableIdentity::Record(const TablePlace& place) {
  const TableLife life = ReadOnce(life_, kRelaxed);
  // [stable.1] release, pairs with [stable.4]: as [stable.2].
  WriteOnce(tree_, TreeWord(place), kRelease);
  // [stable.2] release, pairs with [stable.5]: see 5 above.
  WriteOnce(place_, PlaceWord(place), kRelease);
  // [stable.3] release, pairs with [stable.6]: see 4 above.
  WriteOnce(life_, life + 1, kRelease);
}

inline TableLife TableIdentity::LifeIn(const TablePlace& place) const {
  // [stable.6] acquire, pairs with [stable.3]: see 4 and 5 above.
  const TableLife life = ReadOnce(life_, kAcquire);
  // [stable.4] acquire, pairs with [stable.1]: as [stable.5].
  if (ReadOnce(tree_, kAcquire) != TreeWord(place)) return kNoTableLife;
  // [stable.5] acquire, pairs with [stable.2]: see 5 above.
  if (ReadOnce(place_, kAcquire) != PlaceWord(place)) return kNoTableLife;
  return life;
}

}  // namespace ptage

#endif  // PTAGE_RECLAIM_TYPE_STABLE_H_
