// SPDX-License-Identifier: MIT OR Apache-2.0
//
// One walk through a guest's own tables, as a processor makes it: what a
// hypervisor does for a nested guest's fault, whose frames L1 translates by
// tables in its own memory.
//
// Contract
//   L1 and its CPUs may write anything anywhere in that memory, at any moment;
//   other threads may walk the same tables.
//
//   * Nothing is read or written outside what the memory admits. Written are
//     only accessed and dirty bits, by compare-and-swap against the value that
//     was walked. As foreign.h, of which this is the walk for one frame.
//   * Each entry of the path is read once; what it grants is what all of them
//     grant (where inner entries have rights), checked as a processor checks
//     it: present, no reserved bit, then the rights that are needed.
//   * A translation is answered only after the accessed bit was set in each
//     entry of its path, from the root down, and the dirty bit in the leaf, if
//     it is to be written. So whoever builds an entry from the answer builds it
//     behind L1's bits: L1 finds set what the nested guest could have used.
//     Without kMarked L1 has no such bits, and none is touched.
//     Where the format has them set by faults (kMarkedByFaults, spte.h) none is
//     touched either: an access that needs one that the leaf lacks is
//     kForbidden, and L1 gets the fault by which it sets the bit.
//   * The answer grants no write as long as the leaf is not dirty: who builds
//     from it is asked again by the first write, and D is set then. In the
//     other order
//       hypervisor: builds a writable entry | nested guest: writes
//       L1: reads its leaf: clean, and drops the page
//     the write is lost.
//   * The answer is about a moment in the past. L1 tells of a change
//     afterwards, by an invalidation, and what was built from the answer is
//     zapped then (vm.h).
//   * A fault marks nothing. (A processor may have marked the entries above the
//     one that faults; none has to.)
//
//   Progress: wait-free. Where L1 changes an entry of the path between its read
//   and its mark, kTries times in a row, the answer is kBusy.
//
// Sites (order · partner)
//   [guest.1] acquire load in Walk           · what L1 wrote before the entry
//   [guest.2] relaxed compare-and-swap       · none: nothing is published by it
//             in MarkPath

#ifndef PTAGE_GUEST_WALK_H_
#define PTAGE_GUEST_WALK_H_

#include <concepts>
#include <cstddef>
#include <cstdint>

#include "ptage/config.h"
#include "ptage/memory.h"
#include "ptage/memory/foreign_ram.h"
#include "ptage/once.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// Whether L1 has its tables' accessed and dirty bits enabled (EPTP bit 6; on
// x86-64 and RISC-V with Svadu always; where faults set them either will do).
enum class GuestBits { kMarked, kNone };

// What a walk came to.
enum class GuestWalk {
  kTranslated,
  kNotPresent,  // L1 maps nothing there
  kForbidden,   // L1 does not allow the access
  kReserved,    // an entry is malformed: L1 gets the fault that says so
  kOutside,     // a table lies where L1 has no memory
  kBusy,        // L1 changes the path all the time: try again
};

// The answer to a walk.
struct GuestTranslation {
  // What it came to; the rest is valid as this says.
  GuestWalk walk = GuestWalk::kNotPresent;
  // kTranslated: the frame of L1 behind the asked one, the size of L1's page,
  // and what may be built from it now. Otherwise the level of the entry that
  // the walk ended at.
  Gfn gfn{};
  Level level{1};
  Rights rights = Rights::kNone;

  explicit operator bool() const { return walk == GuestWalk::kTranslated; }
};

// A format may say which words a processor takes for misconfigured though no
// single bit of them is reserved.
template <class F>
concept Misconfigurable = requires(typename F::Word word, EntryKind kind) {
  { F::IsMisconfigured(word, kind) } -> std::same_as<bool>;
};

// Tables of L1, which translate frames of a nested guest. Any number of threads
// at a time.
template <CheckedFormat F, ForeignMemory M>
class GuestWalker {
 public:
  // Walks that are begun again, before kBusy.
  static constexpr int kTries = 8;

  // `root` is the frame of the table at Level{F::kLevels}, or of the first of
  // them: in EPT that of the EPTP. `physical_bits`: what L1's processor has.
  // `memory`, by addresses of L1, outlives this.
  GuestWalker(const M& memory, Pfn root, GuestBits bits, int physical_bits)
      : memory_(memory), root_(root), bits_(bits) {
    for (int level = 1; level <= F::kLevels; ++level) {
      reserved_[level - 1][static_cast<unsigned>(EntryKind::kTable)] =
          F::ReservedBits(Level{level}, EntryKind::kTable, physical_bits);
      reserved_[level - 1][static_cast<unsigned>(EntryKind::kLeaf)] =
          F::ReservedBits(Level{level}, EntryKind::kLeaf, physical_bits);
    }
  }

  // An access to frame `nested` of the nested guest. Beyond what the tables
  // have room for nothing is mapped.
  [[nodiscard]] GuestTranslation Translate(Gfn nested, Rights needed) const {
    return Translate(nested, needed, [](Pfn, Level, Rights) { return true; });
  }

  // The same. Before a table is read, `enter(Pfn table, Level, Rights above)`
  // is asked, `above` being what the entries above grant (all, where rights are
  // in leaves alone): false ends the walk as if the table were outside. A walk
  // that is begun again asks again.
  template <class Enter>
  [[nodiscard]] GuestTranslation Translate(Gfn nested, Rights needed,
                                           Enter&& enter) const {
    for (int i = 0; i < kTries; ++i) {
      Path path;
      const GuestTranslation found = Walk(nested, needed, path, enter);
      if (!found || MarkPath(path, needed)) return found;
    }
    return GuestTranslation{.walk = GuestWalk::kBusy};
  }

 private:
  using Word = typename F::Word;
  using Entry = SpteCell<F>;

  // Whether rights are also in inner entries.
  static constexpr bool kInnerRights =
      F::RightsOf(F::MakeInner(Pfn{0})) != Rights::kNone;
  // What a walk passed, the root's entry first.
  struct Path {
    Entry* entries[F::kLevels];
    Word words[F::kLevels];
    int length = 0;
  };

  template <class Enter>
  GuestTranslation Walk(Gfn nested, Rights needed, Path& path,
                        Enter& enter) const;
  // False: an entry was changed meanwhile.
  bool MarkPath(const Path& path, Rights needed) const;

  [[nodiscard]] bool IsMalformed(Word word, Level level, EntryKind kind) const {
    if ((word & reserved_[level.value - 1][static_cast<unsigned>(kind)]) != 0) {
      return true;
    }
    // Nothing lies below, though the entry may say so (RISC-V: a page fault,
    // 12.3.2, step 4).
    if (kind == EntryKind::kTable && level == Level{1}) return true;
    // By such a bit the frame is another's too: L1's processor has no pages of
    // that kind (RISC-V: no Svnapot), and so wants it clear.
    if ((word & kRefusedBits<F>) != 0) return true;
    if constexpr (Misconfigurable<F>) return F::IsMisconfigured(word, kind);
    return false;
  }
  // The one place where foreign bytes become cells.
  [[nodiscard]] Table<F>* TableAt(Pfn pfn) const {
    return reinterpret_cast<Table<F>*>(
        memory_.At(pfn.value << F::kPageBits, sizeof(Table<F>)));
  }

  const M& memory_;
  const Pfn root_;
  const GuestBits bits_;
  Word reserved_[F::kLevels][2];
};

// ---------------------------------------------------------------------------

template <CheckedFormat F, ForeignMemory M>
template <class Enter>
GuestTranslation GuestWalker<F, M>::Walk(Gfn nested, Rights needed, Path& path,
                                         Enter& enter) const {
  if (nested.value >= kFramesPerTree<F>) {
    return GuestTranslation{.walk = GuestWalk::kNotPresent,
                            .level = Level{F::kLevels}};
  }
  Rights rights = Rights::kAll;
  Pfn frame = root_ + nested.value / kFramesPerRootTable<F>;
  for (Level level{F::kLevels};; level = level.Below()) {
    Table<F>* const table =
        enter(frame, level, rights) ? TableAt(frame) : nullptr;
    if (table == nullptr) {
      return GuestTranslation{.walk = GuestWalk::kOutside, .level = level};
    }
    Entry& entry =
        table->entries[nested.value / FramesAt<F>(level) % kEntriesPerTable<F>];
    // [guest.1] acquire: what L1 wrote into a table before the entry above it
    // is there to be read.
    const Word seen = ReadOnce(entry, kAcquire);
    if (!F::IsPresent(seen)) {
      return GuestTranslation{.walk = GuestWalk::kNotPresent, .level = level};
    }
    const bool leaf = F::IsLeaf(seen, level);
    if (IsMalformed(seen, level, leaf ? EntryKind::kLeaf : EntryKind::kTable)) {
      return GuestTranslation{.walk = GuestWalk::kReserved, .level = level};
    }
    path.entries[path.length] = &entry;
    path.words[path.length++] = seen;
    if (leaf) {
      rights = rights & LiveRights<F>(seen);
    } else if (kInnerRights) {
      rights = rights & F::RightsOf(seen);
    }
    frame = F::FrameOf(seen);
    if (!leaf) continue;
    if (!Allows(rights, needed)) {
      return GuestTranslation{.walk = GuestWalk::kForbidden, .level = level};
    }
    const bool written = Allows(needed, Rights::kWrite) || IsDirty<F>(seen);
    if (bits_ == GuestBits::kMarked && !written) {
      rights = rights & Rights::kReadExecute;
    }
    const std::uint64_t frames = FramesAt<F>(level);
    // Not all that lies below a large page's size need be frame bits: x86-64
    // has its PAT bit there.
    return GuestTranslation{
        .walk = GuestWalk::kTranslated,
        .gfn = Gfn{frame.value / frames * frames + nested.value % frames},
        .level = level,
        .rights = rights};
  }
}

template <CheckedFormat F, ForeignMemory M>
bool GuestWalker<F, M>::MarkPath(const Path& path, Rights needed) const {
  if (bits_ == GuestBits::kNone) return true;
  for (int i = 0; i < path.length; ++i) {
    const bool leaf = i + 1 == path.length;
    Word bits = leaf || F::kInnerAccessed ? F::kAccessed : Word{0};
    if (leaf && Allows(needed, Rights::kWrite)) bits |= F::kDirty;
    const Word seen = path.words[i];
    // Even where the bits are there already: were it only assumed,
    //   walk: reads the leaf: accessed | L1: clears the bit, invalidates, and
    //                                  |   finds nothing built
    //   hypervisor: builds, and L1's page counts as idle while it is used.
    // An entry that is built after that invalidation is begun is refused by its
    // sequence (invalidate.h), so a read is enough here.
    if ((seen & bits) == bits) continue;
    // [guest.2] relaxed, from the value that was walked: L1 may have put
    // another page there, which nobody accessed.
    if (!TryCmpxchg(*path.entries[i], seen, static_cast<Word>(seen | bits),
                    kRelaxed)) {
      return false;
    }
  }
  return true;
}

}  // namespace ptage

#endif  // PTAGE_GUEST_WALK_H_
