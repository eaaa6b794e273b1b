// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A list of entries that is read without waiting while it is written.
//
// Contract
//   Entries have positions 0 … n − 1, dense, from the oldest chunk's first slot
//   up; only the newest chunk is part-full. Added, Removed, Count and Find need
//   exclusion from each other on the same list. Scan needs none: any thread, at
//   any time, inside a walk of the reclaimer that the pool retires chunks to,
//   from a word that it has read from the head with acquire, inside that walk.
//
//   Scan visits each entry that is in the list from before the head was read
//   until the scan ends. It may visit an entry at each place that it has moved
//   through, and one that was removed since. It reads the slots that the word
//   leads to, however many writers are at work: wait-free. Removed allocates
//   nothing; Added waits for nobody but the pool.
//
// Why nothing is missed (docs/lockless-rmap.md has it step by step)
//   Removed moves the top entry down into the hole *first* and clears the top
//   slot *then*; Scan reads from the top down. So an entry's position only
//   falls, and so does the reader's. A reader that finds a slot cleared,
//   refilled, or gone with its chunk has read the store that did it, with
//   acquire, and thus sees the copy below, which it has still to pass.
//
//   The bad interleaving, were the top slot cleared first:
//     writer: clears the top slot       | scan: reads the top slot: empty
//     writer: (holds the entry)         | scan: reads the hole as it was
//     writer: writes it into the hole   |
//   and were the scan upwards:
//     writer: writes the entry into     | scan: reads the hole as it was
//       the hole, clears the top slot   | scan: reads the top slot: empty.
//
// A chunk that leaves the list keeps its slots and `next` as they are: a reader
// may still be inside.
//
// Sites (order · partner)
//   [list.1] acquire load of a slot in ScanSlots · [list.2], [list.3], [list.4]
//   [list.2] release store of an entry in Added  · [list.1]
//   [list.3] release store into the hole         · [list.1]
//            in Removed
//   [list.4] release store that clears a slot    · [list.1]
//            in Removed

#ifndef PTAGE_RMAP_LOCKLESS_LIST_H_
#define PTAGE_RMAP_LOCKLESS_LIST_H_

#include <concepts>
#include <cstddef>
#include <cstdint>

#include "ptage/once.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"

namespace ptage {

// The chunks of a list: its first one, and later ones. The first is a cache
// line, since most lists are short, and a line of empty slots costs a reader of
// two entries half again as much.
template <SpteFormat F, unsigned kFirstSlots = 7, unsigned kLaterSlots = 14>
struct RmapChunks {
  static_assert(kFirstSlots >= 2 && kLaterSlots >= 1);

  using Format = F;
  using Slot = Cell<SpteCell<F>*>;

  // The first chunk of a list, and a later one.
  struct alignas(64) First {
    // Entries that it has room for.
    static constexpr unsigned kSlots = kFirstSlots;
    // Who owns the chunk keeps a word in it that no reader looks at: writers of
    // the list their counts, a pool the next chunk.
    Plain<std::uint64_t> owner;
    // The entries, lowest position first.
    Slot slots[kSlots];
  };
  struct alignas(64) Later {
    // As in the first.
    static constexpr unsigned kSlots = kLaterSlots;
    Plain<std::uint64_t> owner;
    // The head's word before this chunk was added; constant while a reader may
    // see the chunk.
    Plain<std::uintptr_t> next;
    // The entries, lowest position first.
    Slot slots[kSlots];
  };
};

// Where chunks come from.
//   AllocateFirst()      a chunk that no reader can see; null if there is none.
//   AllocateLater()      Contents are arbitrary.
//   Retire(chunk)        no scan that begins from here on reaches the chunk;
//                        its slots stay until the others have ended. Never
//                        allocates or waits for a reader.
// Any thread may call them.
template <class P, class F>
concept LocklessRmapPool = std::same_as<typename P::Chunks::Format, F> &&
                           requires(P& pool, typename P::Chunks::First* first,
                                    typename P::Chunks::Later* later) {
                             {
                               pool.AllocateFirst()
                             } -> std::same_as<typename P::Chunks::First*>;
                             {
                               pool.AllocateLater()
                             } -> std::same_as<typename P::Chunks::Later*>;
                             pool.Retire(first);
                             pool.Retire(later);
                           };

namespace internal {

// The list behind a head's word. Only its lock bit, which is masked, is not the
// list's.
template <class Chunks>
class LocklessList {
 public:
  using Entry = SpteCell<typename Chunks::Format>;
  using First = typename Chunks::First;
  using Later = typename Chunks::Later;

  // What a writer must do once it has published the word that it was given.
  struct Change {
    std::uintptr_t word;
    First* retired_first = nullptr;
    Later* retired_later = nullptr;
    bool done = true;
  };

  // The word with `entry`, which is not in the list; `word` itself unless
  // `outcome` is kDone.
  template <class Pool>
  static std::uintptr_t Added(std::uintptr_t word, Entry& entry,
                              std::uint32_t cap, Pool& pool, RmapAdd& outcome);
  // The word without `entry`; not done if it was not there.
  static Change Removed(std::uintptr_t word, Entry& entry);

  static std::uint32_t Count(std::uintptr_t word);
  // The slot that holds `entry`; null if none does, and for a word with one
  // entry, which has no slot.
  static typename Chunks::Slot* Find(std::uintptr_t word, Entry& entry);

  // Calls `visit(Entry&)` until it returns false. Returns the slots that it
  // read.
  template <class Visitor>
  [[gnu::always_inline]] static std::uint32_t Scan(std::uintptr_t word,
                                                   Visitor&& visit);
  static bool LeadsToLater(std::uintptr_t word) {
    return (word & (RmapWord::kMany | kLater)) == (RmapWord::kMany | kLater);
  }
  // The same of a word that leads to no later chunk: most do not, and what is
  // done for these fits in line.
  template <class Visitor>
  [[gnu::always_inline]] static std::uint32_t ScanShort(std::uintptr_t word,
                                                        Visitor&& visit);

  // Hints ahead of a scan: fetches what the word leads to; once that is there,
  // what this leads to in turn. Called as Scan is.
  static void PrefetchNear(std::uintptr_t word);
  static void PrefetchFar(std::uintptr_t word);

 private:
  using Slot = typename Chunks::Slot;

  // Chunks are aligned to lines; a word that leads to a later one has this bit
  // besides kMany. In an entry's address it is any.
  static constexpr std::uintptr_t kLater = 4;

  static First& FirstOf(std::uintptr_t word) {
    return *reinterpret_cast<First*>(word & ~kBits);
  }
  static Later& LaterOf(std::uintptr_t word) {
    return *reinterpret_cast<Later*>(word & ~kBits);
  }
  static constexpr std::uintptr_t kBits =
      RmapWord::kMany | RmapWord::kLocked | kLater;

  // A chunk's own word: entries in it, and in those behind it.
  static std::uint64_t Counts(std::uint32_t here, std::uint32_t behind) {
    return std::uint64_t{behind} << 32 | here;
  }
  static std::uint32_t Here(std::uint64_t counts) {
    return static_cast<std::uint32_t>(counts);
  }
  static std::uint32_t Behind(std::uint64_t counts) {
    return static_cast<std::uint32_t>(counts >> 32);
  }
  static Plain<std::uint64_t>& CountsOf(std::uintptr_t word) {
    return LeadsToLater(word) ? LaterOf(word).owner : FirstOf(word).owner;
  }
  static Slot* SlotsOf(std::uintptr_t word) {
    return LeadsToLater(word) ? LaterOf(word).slots : FirstOf(word).slots;
  }
  static unsigned CapacityOf(std::uintptr_t word) {
    return LeadsToLater(word) ? Later::kSlots : First::kSlots;
  }

  // Added, for an entry that needs a chunk. Out of line, so that the path of
  // one that does not saves no registers.
  template <class Pool>
  [[gnu::noinline]] static std::uintptr_t Grown(std::uintptr_t word,
                                                Entry& entry, Pool& pool,
                                                RmapAdd& outcome);

  // Fills a chunk that nobody sees yet; its words are published with the head.
  template <class Chunk>
  static void Fill(Chunk& chunk, Entry* first, Entry* second) {
    WriteOnce(chunk.slots[0], first, kRelaxed);
    for (unsigned i = 1; i < Chunk::kSlots; ++i) {
      WriteOnce(chunk.slots[i], i == 1 ? second : nullptr, kRelaxed);
    }
  }

  // False: the visitor has had enough.
  template <unsigned kSlots, class Visitor>
  [[gnu::always_inline]] static bool ScanSlots(const Slot (&slots)[kSlots],
                                               std::uint32_t& read,
                                               Visitor& visit);
};

// ---------------------------------------------------------------------------

template <class Chunks>
template <class Pool>
std::uintptr_t LocklessList<Chunks>::Added(std::uintptr_t word, Entry& entry,
                                           std::uint32_t cap, Pool& pool,
                                           RmapAdd& outcome) {
  const std::uint32_t count = Count(word);
  outcome = RmapAdd::kFull;
  if (count >= cap) return word;
  outcome = RmapAdd::kDone;
  if (count == 0) return RmapWord::ForSingle(&entry);
  if (count == 1 || Here(CountsOf(word).Get()) == CapacityOf(word)) {
    return Grown(word, entry, pool, outcome);
  }
  const std::uint64_t counts = CountsOf(word).Get();
  // Were this relaxed, a reader that finds the entry in a slot that was cleared
  // and filled again could miss the copy that was moved below.
  // [list.2] release, pairs with [list.1]: who finds the entry finds its table,
  // and what was moved below before.
  WriteOnce(SlotsOf(word)[Here(counts)], &entry, kRelease);
  CountsOf(word).Set(counts + 1);
  return word;
}

template <class Chunks>
template <class Pool>
std::uintptr_t LocklessList<Chunks>::Grown(std::uintptr_t word, Entry& entry,
                                           Pool& pool, RmapAdd& outcome) {
  const RmapWord head(word);
  if (!head.Many()) {
    First* const first = pool.AllocateFirst();
    if (first == nullptr) {
      outcome = RmapAdd::kNoMemory;
      return word;
    }
    Fill(*first, head.Single<Entry>(), &entry);
    first->owner.Set(Counts(2, 0));
    return reinterpret_cast<std::uintptr_t>(first) | RmapWord::kMany;
  }
  Later* const later = pool.AllocateLater();
  if (later == nullptr) {
    outcome = RmapAdd::kNoMemory;
    return word;
  }
  const std::uint64_t counts = CountsOf(word).Get();
  Fill(*later, &entry, nullptr);
  later->next.Set(word);
  later->owner.Set(Counts(1, Here(counts) + Behind(counts)));
  return reinterpret_cast<std::uintptr_t>(later) | RmapWord::kMany | kLater;
}

template <class Chunks>
auto LocklessList<Chunks>::Removed(std::uintptr_t word, Entry& entry)
    -> Change {
  const RmapWord head(word);
  if (head.Empty() || (!head.Many() && head.Single<Entry>() != &entry)) {
    return Change{.word = word, .done = false};
  }
  if (!head.Many()) return Change{.word = 0};
  Slot* const hole = Find(word, entry);
  if (hole == nullptr) return Change{.word = word, .done = false};
  const std::uint64_t counts = CountsOf(word).Get();
  const std::uint32_t here = Here(counts);
  if (here + Behind(counts) == 2) {
    First& first = FirstOf(word);
    Slot& other = hole == &first.slots[0] ? first.slots[1] : first.slots[0];
    return Change{.word = RmapWord::ForSingle(ReadOnce(other, kRelaxed)),
                  .retired_first = &first};
  }
  Slot& top = SlotsOf(word)[here - 1];
  if (hole != &top) {
    // Before the top slot is cleared or its chunk unlinked, see above.
    // [list.3] release, pairs with [list.1]: the entry's table is visible to
    // who finds it here.
    WriteOnce(*hole, ReadOnce(top, kRelaxed), kRelease);
  }
  if (here == 1) {
    Later& later = LaterOf(word);
    return Change{.word = later.next.Get(), .retired_later = &later};
  }
  // [list.4] release, pairs with [list.1]: who finds the slot cleared finds the
  // entry below.
  WriteOnce(top, nullptr, kRelease);
  CountsOf(word).Set(counts - 1);
  return Change{.word = word};
}

template <class Chunks>
std::uint32_t LocklessList<Chunks>::Count(std::uintptr_t word) {
  const RmapWord head(word);
  if (head.Empty()) return 0;
  if (!head.Many()) return 1;
  const std::uint64_t counts = CountsOf(word).Get();
  return Here(counts) + Behind(counts);
}

template <class Chunks>
auto LocklessList<Chunks>::Find(std::uintptr_t word, Entry& entry) -> Slot* {
  if (!RmapWord(word).Many()) return nullptr;
  for (;; word = LaterOf(word).next.Get()) {
    Slot* const slots = SlotsOf(word);
    for (std::uint32_t i = Here(CountsOf(word).Get()); i-- > 0;) {
      if (ReadOnce(slots[i], kRelaxed) == &entry) return &slots[i];
    }
    if (!LeadsToLater(word)) return nullptr;
  }
}

template <class Chunks>
template <unsigned kSlots, class Visitor>
inline bool LocklessList<Chunks>::ScanSlots(const Slot (&slots)[kSlots],
                                            std::uint32_t& read,
                                            Visitor& visit) {
#pragma GCC unroll 16
  for (unsigned left = kSlots; left != 0; --left) {
    ++read;
    // [list.1] acquire, pairs with [list.2], [list.3] and [list.4].
    Entry* const entry = ReadOnce(slots[left - 1], kAcquire);
    if (entry != nullptr && !visit(*entry)) return false;
  }
  return true;
}

template <class Chunks>
template <class Visitor>
inline std::uint32_t LocklessList<Chunks>::Scan(std::uintptr_t word,
                                                Visitor&& visit) {
  std::uint32_t read = 0;
  for (; LeadsToLater(word); word = LaterOf(word).next.Get()) {
    if (!ScanSlots(LaterOf(word).slots, read, visit)) return read;
  }
  return read + ScanShort(word, visit);
}

template <class Chunks>
template <class Visitor>
inline std::uint32_t LocklessList<Chunks>::ScanShort(std::uintptr_t word,
                                                     Visitor&& visit) {
  const RmapWord head(word);
  std::uint32_t read = 0;
  if (head.Many()) {
    ScanSlots(FirstOf(word).slots, read, visit);
  } else if (!head.Empty()) {
    visit(*head.Single<Entry>());
  }
  return read;
}

template <class Chunks>
void LocklessList<Chunks>::PrefetchNear(std::uintptr_t word) {
  const char* const chunk = reinterpret_cast<const char*>(word & ~kBits);
  const std::size_t size = LeadsToLater(word) ? sizeof(Later) : sizeof(First);
  for (std::size_t line = 0; line < size; line += 64) Prefetch(chunk + line);
}

template <class Chunks>
void LocklessList<Chunks>::PrefetchFar(std::uintptr_t word) {
  if (!RmapWord(word).Many()) return;
  // From the top down: what Scan asks first is fetched first.
  std::uint32_t read = 0;
  const auto fetch = [](Entry& entry) {
    Prefetch(&entry);
    return true;
  };
  if (LeadsToLater(word)) {
    ScanSlots(LaterOf(word).slots, read, fetch);
    word = LaterOf(word).next.Get();
    PrefetchNear(word);
    // Of a longer list the rest is fetched while its beginning is asked.
    if (LeadsToLater(word)) return;
  }
  ScanSlots(FirstOf(word).slots, read, fetch);
}

}  // namespace internal

}  // namespace ptage

#endif  // PTAGE_RMAP_LOCKLESS_LIST_H_
