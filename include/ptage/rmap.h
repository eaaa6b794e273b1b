// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Reverse maps: for a frame and page size, the entries that map it. What a head
// holds, what a discipline must say, and what all disciplines share.
//
// Contract
//   A head is one word, a caller's to keep, one for each frame and level:
//       0               empty
//       bit 0 clear     the address of the only entry
//       bit 0 set       a list of entries
//       bit 1 set       a writer has locked it; readers mask the bit
//   Readers read the head once, and follow the value they read.
//
//   *Lifetime.* An entry is in its rmap from before it becomes present until
//   after it is frozen for good: claim the empty entry by freezing it, write
//   its frame record, Add, then Publish (on failure Remove, then Empty). To
//   take it down: freeze, hand on its accessed and dirty bits, Remove, then
//   Empty (or leave it frozen, in a removed table). Were the record written
//   before the entry is owned, two racing faults could leave the wrong one.
//
//   *Identity.* An entry found through a head may have been given to another
//   frame since. Age reads the entry, then the frame and level that its table
//   records for it, then compares and swaps on the value read (see AgeEntry).
//   What remains is the same value under another gfn of the same frame, and
//   that is charged to the frame.
//
//   The disciplines (rmap/*.h) differ in who waits for whom. Age is called
//   inside a LocklessWalk, which keeps the tables of stale entries allocated.

// Sites (order · partner)
//   [rmap.1] acquire load in AgeThroughRmap  · [spte.5], [spte.6]

#ifndef PTAGE_RMAP_H_
#define PTAGE_RMAP_H_

#include <concepts>
#include <cstdint>

#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// The word. Zero-filled memory is a valid array of empty heads. Only a
// discipline looks inside.
struct RmapHead {
  // Nothing, the address of the only entry, or that of a list: RmapWord.
  Cell<std::uintptr_t> word{std::uintptr_t{0}};
};

static_assert(alignof(RmapHead) >= 4);

// Entries that one rmap holds at most, unless told otherwise: aliases are
// controlled by the guest, and each one makes a scan longer.
inline constexpr std::uint32_t kDefaultRmapCap = 1000;

// What Add comes to. But for kDone nothing was added.
enum class RmapAdd {
  kDone,
  kFull,      // the cap is reached: zap what is there, then try again
  kNoMemory,  // for a chunk of the list
};

// The page that an rmap is about.
struct RmapFrame {
  Gfn gfn;      // its first frame
  Level level;  // its size
};

namespace internal {

// What a head's word says, without the lock bit.
class RmapWord {
 public:
  static constexpr std::uintptr_t kMany = 1;
  static constexpr std::uintptr_t kLocked = 2;

  explicit RmapWord(std::uintptr_t word) : word_(word & ~kLocked) {}
  template <class Entry>
  static std::uintptr_t ForSingle(Entry* entry) {
    return reinterpret_cast<std::uintptr_t>(entry);
  }
  template <class Chunk>
  static std::uintptr_t ForMany(Chunk* newest) {
    return reinterpret_cast<std::uintptr_t>(newest) | kMany;
  }

  [[nodiscard]] bool Empty() const { return word_ == 0; }
  [[nodiscard]] bool Many() const { return (word_ & kMany) != 0; }
  template <class Entry>
  [[nodiscard]] Entry* Single() const {
    return reinterpret_cast<Entry*>(word_);
  }
  template <class Chunk>
  [[nodiscard]] Chunk* Newest() const {
    return reinterpret_cast<Chunk*>(word_ & ~kMany);
  }

 private:
  std::uintptr_t word_;
};

// A question about one rmap, and the answer so far.
template <SpteFormat F, TableMemory<F> M>
struct RmapQuestion {
  M& memory;
  RmapFrame frame;
  AgeAction action;
  AgeMode mode;
  AgeCounts& counts;
  AgeResult result = {};
};

// What is left to do for an entry that is not simply cold. Out of line, so that
// the path of a cold one keeps all that it needs in registers.
template <SpteFormat F, TableMemory<F> M>
[[gnu::noinline]] void AgeSeenThroughRmap(RmapQuestion<F, M>& question,
                                          SpteCell<F>& entry,
                                          typename F::Word seen) {
  const SpteAge age = AgeSeen<F>(entry, seen, question.action, [&] {
    // Where a large leaf was, an entry may lead to a table by now, with the
    // record that the leaf had. Its bit says nothing of the page, and were it
    // cleared, leaves under it would be skipped unseen (prune.h).
    return F::IsLeaf(seen, question.frame.level) &&
           RecordsFrame<F>(question.memory, entry, question.frame.gfn,
                           question.frame.level);
  });
  question.counts += CountsOf(age);
  question.result |= ToResult(age, question.mode);
}

// Ages one entry that was found through the rmap in question. A cold entry adds
// nothing to the answer, and is counted in `cold`, for the caller to add to
// counts.examined: a local that stays in a register, or one entry would make
// the next one wait for a store.
template <SpteFormat F, TableMemory<F> M>
[[gnu::always_inline]] inline void AgeThroughRmap(RmapQuestion<F, M>& question,
                                                  SpteCell<F>& entry,
                                                  std::uint64_t& cold) {
  // [rmap.1] acquire, pairs with [spte.5] and [spte.6], as [spte.1].
  const typename F::Word seen = ReadOnce(entry, kAcquire);
  if (F::IsPresent(seen) && !IsYoung<F>(seen)) [[likely]] {
    ++cold;
    return;
  }
  AgeSeenThroughRmap<F>(question, entry, seen);
}

}  // namespace internal

// A discipline: how writers of one rmap exclude each other, and what a reader
// may answer without waiting.
//   kFastAging        fast-only answers for every entry, and never waits
//   kParallelWriters  writers of one head exclude each other by themselves
//   Add(head, entry)  precondition: `entry` is not in the rmap
//   Remove(head, e)   false if it was not there; never allocates
//   Any(head)         one of the entries; null if there is none
//   Count, Contains   as Any, called as writers are
//   Age(…)            asks each entry, inside a walk; adds to `counts`, in
//                     entries; what fast-only cannot answer without waiting is
//                     unknown. was_fast is for an MMU to set
template <class D>
concept RmapDiscipline =
    SpteFormat<typename D::Format> &&
    requires(D& rmaps, RmapHead& head, SpteCell<typename D::Format>& entry,
             RmapFrame frame, AgeAction action, AgeMode mode,
             AgeCounts& counts) {
      { D::kFastAging } -> std::convertible_to<bool>;
      { D::kParallelWriters } -> std::convertible_to<bool>;
      { rmaps.Add(head, entry) } -> std::same_as<RmapAdd>;
      { rmaps.Remove(head, entry) } -> std::same_as<bool>;
      { rmaps.Any(head) } -> std::same_as<SpteCell<typename D::Format>*>;
      { rmaps.Count(head) } -> std::same_as<std::uint32_t>;
      { rmaps.Contains(head, entry) } -> std::same_as<bool>;
      {
        rmaps.Age(head, frame, action, mode, counts)
      } -> std::same_as<AgeResult>;
    };

// A discipline that shows all entries of an rmap: ForEach(head, visit) calls
// `visit(entry)` for each. Precondition: nobody adds or removes meanwhile, and
// the caller sees what was added and removed before: he holds, exclusively, a
// lock that writers hold.
template <class D>
concept EnumerableRmaps =
    RmapDiscipline<D> &&
    requires(D& rmaps, RmapHead& head,
             void (*visit)(SpteCell<typename D::Format>&)) {
      rmaps.ForEach(head, visit);
    };

// A discipline of which one thread can find all entries, while others add
// some:
//   Visit(head, visit)   calls `visit(entry)` for each entry that is there from
//                        before the call until it returns, perhaps repeatedly,
//                        and for others, until it answers false; true if it
//                        never did. `visit` takes no head's lock, and waits for
//                        nobody
//   Announce(head)       for an entry that is there and was frozen since it was
//                        added: to Visit as if it were added now
// Let one thread write a word and then Visit, and another Add or Announce an
// entry and then read the word, the write and the read being kSeqCst. Then the
// first visits the entry, and finds it as it was added or later, or the second
// reads what the first wrote, or both.
template <class D>
concept OrderedRmaps = RmapDiscipline<D> &&
                       requires(D& rmaps, RmapHead& head,
                                bool (*visit)(SpteCell<typename D::Format>&)) {
                         { rmaps.Visit(head, visit) } -> std::same_as<bool>;
                         rmaps.Announce(head);
                       };

// The three questions, of one rmap. Precondition: the caller is inside a walk
// of the reclaimer that keeps the tables, and the list's chunks, of stale
// entries.
template <RmapDiscipline D>
AgeResult TestYoung(D& rmaps, RmapHead& head, RmapFrame frame) {
  AgeCounts counts;
  return rmaps.Age(head, frame, AgeAction::kTest, AgeMode::kSlow, counts);
}
template <RmapDiscipline D>
AgeResult TestClearYoung(D& rmaps, RmapHead& head, RmapFrame frame) {
  AgeCounts counts;
  return rmaps.Age(head, frame, AgeAction::kTestAndClear, AgeMode::kSlow,
                   counts);
}
template <RmapDiscipline D>
AgeResult TestClearYoungFastOnly(D& rmaps, RmapHead& head, RmapFrame frame) {
  AgeCounts counts;
  return rmaps.Age(head, frame, AgeAction::kTestAndClear, AgeMode::kFastOnly,
                   counts);
}

}  // namespace ptage

#endif  // PTAGE_RMAP_H_
