// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The smallest page-table format that has everything: two levels, two entries a
// table, leaves at both levels, accessed bits in inner entries, and an empty
// entry that is not zero.

#ifndef PTAGE_TEST_RELACY_TINY_FORMAT_H_
#define PTAGE_TEST_RELACY_TINY_FORMAT_H_

#include <cstdint>

#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage::relacy {

struct TinyFormat {
  using Word = std::uint64_t;

  static constexpr int kLevels = 2;
  static constexpr int kIndexBits = 1;
  static constexpr int kPageBits = 12;
  static constexpr Level kLargestLeaf{2};
  static constexpr bool kInnerAccessed = true;

  static constexpr Word kPresent = 1u << 0;
  static constexpr Word kAccessed = 1u << 5;
  static constexpr Word kDirty = 1u << 6;
  static constexpr Word kLarge = 1u << 7;
  static constexpr Word kFrame = 0xFFFF'F000u;
  static constexpr Word kEmpty = Word{1} << 63;
  static constexpr Word kFrozen = kEmpty | Word{1} << 58;

  static constexpr Word kPresentBits = kPresent;
  static constexpr bool IsPresent(Word word) { return (word & kPresent) != 0; }
  static constexpr bool IsLeaf(Word word, Level level) {
    return level == Level{1} || (word & kLarge) != 0;
  }
  static constexpr Pfn FrameOf(Word word) {
    return Pfn{(word & kFrame) >> kPageBits};
  }
  static constexpr Rights RightsOf(Word) { return Rights::kAll; }
  static constexpr Word MakeLeaf(Pfn pfn, Level level, Rights) {
    return pfn.value << kPageBits | kPresent |
           (level > Level{1} ? kLarge : Word{0});
  }
  static constexpr Word MakeInner(Pfn table) {
    return table.value << kPageBits | kPresent | kAccessed;
  }
  static constexpr Word SplitLeaf(Word word, Level, unsigned index) {
    return (word & ~kLarge) + (Word{index} << kPageBits);
  }
};

static_assert(SpteFormat<TinyFormat>);

using Word = TinyFormat::Word;
using Entry = SpteCell<TinyFormat>;

// A leaf of the lowest level that maps `pfn`.
constexpr Word Leaf(Pfn pfn) {
  return TinyFormat::MakeLeaf(pfn, Level{1}, Rights::kAll);
}
constexpr Word YoungLeaf(Pfn pfn) { return Leaf(pfn) | TinyFormat::kAccessed; }

// Two frames, and what backs each.
inline constexpr Gfn kA{0};
inline constexpr Gfn kB{1};
constexpr Pfn Backing(Gfn gfn) { return Pfn{0x10 + gfn.value}; }
constexpr Gfn Backed(Word leaf) {
  return Gfn{TinyFormat::FrameOf(leaf).value - 0x10};
}

enum class AccessKind { kRead, kWrite };

// A page walker's access through a leaf that it found to be `seen`: sets the
// accessed bit, and for a write the dirty bit, by one compare-and-swap on that
// value. False if the access did not come about.
inline bool AccessSeen(Entry& entry, Word seen, AccessKind kind) {
  if (!TinyFormat::IsPresent(seen)) return false;
  const Word set = seen | TinyFormat::kAccessed |
                   (kind == AccessKind::kWrite ? TinyFormat::kDirty : Word{0});
  return set == seen || TryCmpxchg(entry, seen, set, kRelaxed);
}

// The same of an entry. Returns the value before, or kEmpty.
inline Word Access(Entry& entry, AccessKind kind) {
  const Word seen = ReadOnce(entry, kRelaxed);
  return AccessSeen(entry, seen, kind) ? seen : TinyFormat::kEmpty;
}

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_TINY_FORMAT_H_
