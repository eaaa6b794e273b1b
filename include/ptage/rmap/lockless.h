// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The default discipline: aging never waits, for one entry or for many, in
// either mode, and leaves nothing unknown but frozen entries.
//
// Contract
//   * Any thread may call any function; Age inside a LocklessWalk of the
//     reclaimer that the pool retires chunks to.
//   * Writers of one head (Add, Remove) exclude each other, and Any, Count and
//     Contains: by bit 1 of the head, which they take themselves, or, with
//     RmapWriters::kExcluded, by a lock that the callers of all five hold.
//   * Age asks every entry that is in the rmap from before the call until it
//     returns; it may ask one at each place that it moves through, and one that
//     was removed meanwhile, which the identity rule of rmap.h makes harmless.
//     So counts are of entries asked, an entry perhaps more than once.
//   * Progress: Age is wait-free in both modes (on a machine with load-linked
//     and store-conditional, lock-free): it reads the slots that the head leads
//     to. Writers wait for a writer of the same head, and for the pool's lock
//     where a chunk comes or goes; never for a reader. Remove allocates
//     nothing; Add changes nothing where it finds no chunk.
//
// Sites (order · partner)
//   [lockless.1] acquire load in Age                   · [head.2],
//                                                        [lockless.2],
//                                                        [lockless.3]
//   [lockless.2] release store in Publish, if excluded · [lockless.1]
//   [lockless.3] sequentially consistent store in      · [lockless.1],
//                Publish, if in order                    [lockless.4], [head.1]
//   [lockless.4] sequentially consistent load in Visit · [lockless.3]

#ifndef PTAGE_RMAP_LOCKLESS_H_
#define PTAGE_RMAP_LOCKLESS_H_

#include <cstdint>

#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/rmap.h"
#include "ptage/rmap/head_lock.h"
#include "ptage/rmap/lockless_list.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// Who keeps two writers of one head apart.
enum class RmapWriters {
  kLockHead,         // they do, by a bit of the head
  kLockHeadInOrder,  // the same; and the rmaps are OrderedRmaps
  kExcluded,         // their callers, by a lock such as the MMU's
};

template <SpteFormat F, TableMemory<F> M, LocklessRmapPool<F> P,
          RmapWriters kWriters = RmapWriters::kLockHead>
class Lockless {
 private:
  using List = internal::LocklessList<typename P::Chunks>;
  using Question = internal::RmapQuestion<F, M>;

 public:
  using Format = F;
  using Entry = SpteCell<F>;
  static constexpr bool kFastAging = true;
  static constexpr bool kParallelWriters = kWriters != RmapWriters::kExcluded;
  static constexpr bool kSinglesUnlocked = true;

  // Both outlive the discipline.
  Lockless(M& memory, P& pool, std::uint32_t cap = kDefaultRmapCap)
      : memory_(memory), pool_(pool), cap_(cap) {}

  [[nodiscard]] RmapAdd Add(RmapHead& head, Entry& entry);
  bool Remove(RmapHead& head, Entry& entry);
  [[nodiscard]] Entry* Any(RmapHead& head);
  [[nodiscard]] std::uint32_t Count(RmapHead& head);
  [[nodiscard]] bool Contains(RmapHead& head, Entry& entry);
  // As EnumerableRmaps says.
  template <class Visitor>
  void ForEach(RmapHead& head, Visitor&& visit) {
    List::Scan(ReadOnce(head.word, kRelaxed), [&](Entry& entry) {
      visit(entry);
      return true;
    });
  }
  AgeResult Age(RmapHead& head, RmapFrame frame, AgeAction action, AgeMode mode,
                AgeCounts& counts);

  // Of OrderedRmaps, inside a LocklessWalk as Age. Wait-free but for `visit`.
  template <class Visitor>
  bool Visit(RmapHead& head, Visitor&& visit)
    requires(kWriters == RmapWriters::kLockHeadInOrder);
  void Announce(RmapHead& head)
    requires(kWriters == RmapWriters::kLockHeadInOrder)
  {
    Publish(head, Own(head));
  }

  // For AgeRange (rmap/range.h).
  [[nodiscard]] M& memory() const { return memory_; }
  static void PrefetchNear(std::uintptr_t word) { List::PrefetchNear(word); }
  static void PrefetchFar(std::uintptr_t word) { List::PrefetchFar(word); }

 private:
  // The word as writers may use it, and the end of that use.
  static std::uintptr_t Own(RmapHead& head) {
    if constexpr (kWriters != RmapWriters::kExcluded) {
      return internal::LockHead(head);
    } else {
      return ReadOnce(head.word, kRelaxed);
    }
  }
  static void Publish(RmapHead& head, std::uintptr_t word) {
    if constexpr (kWriters == RmapWriters::kLockHead) {
      internal::UnlockHead(head, word);
    } else if constexpr (kWriters == RmapWriters::kLockHeadInOrder) {
      // Unlocks, as UnlockHead does. Were this a release store:
      //   fault: adds (in its store buffer) | builder: marks, reads the head
      //   fault: reads the mark: no table   | builder: finds no entry
      // and both are in the right of their own.
      // [lockless.3] sequentially consistent, pairs with [lockless.4]; and as a
      // release with [head.1] and [lockless.1].
      WriteOnce(head.word, word, kSeqCst);
    } else {
      // [lockless.2] release, pairs with [lockless.1].
      WriteOnce(head.word, word, kRelease);
    }
  }

  // The end of a use that changed nothing.
  static void Disown(RmapHead& head, std::uintptr_t word) {
    if constexpr (kWriters != RmapWriters::kExcluded) {
      internal::UnlockHead(head, word);
    }
  }

  // Out of line, so that the path of a single entry stays short.
  [[gnu::noinline]] AgeResult AgeLong(std::uintptr_t word, RmapFrame frame,
                                      AgeAction action, AgeMode mode,
                                      AgeCounts& counts);

  M& memory_;
  P& pool_;
  const std::uint32_t cap_;
};

// ---------------------------------------------------------------------------

template <SpteFormat F, TableMemory<F> M, LocklessRmapPool<F> P,
          RmapWriters kWriters>
RmapAdd Lockless<F, M, P, kWriters>::Add(RmapHead& head, Entry& entry) {
  RmapAdd outcome;
  Publish(head, List::Added(Own(head), entry, cap_, pool_, outcome));
  return outcome;
}

template <SpteFormat F, TableMemory<F> M, LocklessRmapPool<F> P,
          RmapWriters kWriters>
bool Lockless<F, M, P, kWriters>::Remove(RmapHead& head, Entry& entry) {
  const typename List::Change change = List::Removed(Own(head), entry);
  Publish(head, change.word);
  // Only now no scan can begin that reaches the chunk.
  if (change.retired_first != nullptr) pool_.Retire(change.retired_first);
  if (change.retired_later != nullptr) pool_.Retire(change.retired_later);
  return change.done;
}

template <SpteFormat F, TableMemory<F> M, LocklessRmapPool<F> P,
          RmapWriters kWriters>
auto Lockless<F, M, P, kWriters>::Any(RmapHead& head) -> Entry* {
  const std::uintptr_t word = Own(head);
  Entry* any = nullptr;
  List::Scan(word, [&](Entry& entry) {
    any = &entry;
    return false;
  });
  Disown(head, word);
  return any;
}

template <SpteFormat F, TableMemory<F> M, LocklessRmapPool<F> P,
          RmapWriters kWriters>
std::uint32_t Lockless<F, M, P, kWriters>::Count(RmapHead& head) {
  const std::uintptr_t word = Own(head);
  const std::uint32_t count = List::Count(word);
  Disown(head, word);
  return count;
}

template <SpteFormat F, TableMemory<F> M, LocklessRmapPool<F> P,
          RmapWriters kWriters>
bool Lockless<F, M, P, kWriters>::Contains(RmapHead& head, Entry& entry) {
  const std::uintptr_t word = Own(head);
  const internal::RmapWord seen(word);
  const bool found = seen.Many() ? List::Find(word, entry) != nullptr
                                 : seen.Single<Entry>() == &entry;
  Disown(head, word);
  return found;
}

template <SpteFormat F, TableMemory<F> M, LocklessRmapPool<F> P,
          RmapWriters kWriters>
template <class Visitor>
bool Lockless<F, M, P, kWriters>::Visit(RmapHead& head, Visitor&& visit)
  requires(kWriters == RmapWriters::kLockHeadInOrder)
{
  // [lockless.4] sequentially consistent, pairs with [lockless.3]: the entry is
  // found here, or who added it reads what this thread wrote before.
  const std::uintptr_t word = ReadOnce(head.word, kSeqCst);
  bool all = true;
  List::Scan(word, [&](Entry& entry) {
    all = visit(entry);
    return all;
  });
  return all;
}

template <SpteFormat F, TableMemory<F> M, LocklessRmapPool<F> P,
          RmapWriters kWriters>
AgeResult Lockless<F, M, P, kWriters>::Age(RmapHead& head, RmapFrame frame,
                                           AgeAction action, AgeMode mode,
                                           AgeCounts& counts) {
  // Read once. Were it read again for the list:
  //   ager: reads the only entry's address | writer: makes it a list
  //   ager: reads a chunk's address, and takes it for an entry's.
  // [lockless.1] acquire, pairs with [head.2], [lockless.2] and [lockless.3]:
  // what the word leads to is visible as its writer left it; and who reads
  // "empty" finds the access on record.
  const std::uintptr_t word = ReadOnce(head.word, kAcquire);
  if (List::LeadsToLater(word))
    return AgeLong(word, frame, action, mode, counts);
  Question question{memory_, frame, action, mode, counts};
  std::uint64_t cold = 0;
  List::ScanShort(word, [&](Entry& entry) __attribute__((always_inline)) {
    internal::AgeThroughRmap<F>(question, entry, cold);
    return true;
  });
  counts.examined += cold;
  return question.result;
}

template <SpteFormat F, TableMemory<F> M, LocklessRmapPool<F> P,
          RmapWriters kWriters>
AgeResult Lockless<F, M, P, kWriters>::AgeLong(std::uintptr_t word,
                                               RmapFrame frame,
                                               AgeAction action, AgeMode mode,
                                               AgeCounts& counts) {
  Question question{memory_, frame, action, mode, counts};
  std::uint64_t cold = 0;
  List::Scan(word, [&](Entry& entry) __attribute__((always_inline)) {
    internal::AgeThroughRmap<F>(question, entry, cold);
    return true;
  });
  counts.examined += cold;
  return question.result;
}

}  // namespace ptage

#endif  // PTAGE_RMAP_LOCKLESS_H_
