// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Where random operations go: a few places in a sparse space, so that they
// meet, wide enough for a leaf of every level.

#ifndef PTAGE_TEST_MODEL_VM_PLACES_H_
#define PTAGE_TEST_MODEL_VM_PLACES_H_

#include <algorithm>
#include <cstdint>
#include <random>

#include "ptage/types.h"
#include "test/model/vm_state.h"

namespace ptage::test {

class Chance {
 public:
  explicit Chance(std::uint64_t seed) : random_(seed) {}

  std::uint64_t Below(std::uint64_t count) { return random_() % count; }
  unsigned Below(unsigned count) {
    return static_cast<unsigned>(random_() % count);
  }
  bool OnceIn(std::uint64_t times) { return random_() % times == 0; }
  template <class T, std::size_t kCount>
  T OneOf(const T (&values)[kCount]) {
    return values[random_() % kCount];
  }

 private:
  std::mt19937_64 random_;
};

// Four blocks of the size of the largest leaf at least, and in each four pages
// of level 2, of which six frames are used.
class Places {
 public:
  explicit Places(const FormatFacts& facts)
      : facts_(facts),
        large_(facts.FramesAt(Level{2})),
        block_(facts.largest > Level{2} ? facts.FramesAt(facts.largest)
                                        : 4 * large_) {}

  static constexpr unsigned kBlocks = 4;
  [[nodiscard]] std::uint64_t block() const { return block_; }
  // Of L1's frames those alone that its entries can name.
  [[nodiscard]] std::uint64_t BlockAt(unsigned i, bool nested) const {
    const std::uint64_t frames =
        nested ? facts_.frames
               : std::min(facts_.frames, std::uint64_t{1} << 36);
    const std::uint64_t blocks = frames / block_;
    const std::uint64_t at[kBlocks] = {0, 1, blocks / 2, blocks - 1};
    return at[i] * block_;
  }
  // The number of the block that a frame is in.
  [[nodiscard]] unsigned BlockOf(std::uint64_t frame, bool nested) const {
    unsigned i = 0;
    while (i + 1 < kBlocks && frame >= BlockAt(i + 1, nested)) ++i;
    return i;
  }
  // Host frames for a block, aligned as it is.
  [[nodiscard]] std::uint64_t HostBlock(unsigned i) const {
    return (2 + i) * block_;
  }
  std::uint64_t Frame(Chance& chance, bool nested) const {
    return BlockAt(chance.Below(kBlocks), nested) + Inside(chance);
  }
  // A frame in a block.
  std::uint64_t Inside(Chance& chance) const {
    const std::uint64_t small[] = {0, 1, 2, large_ / 2, large_ - 2, large_ - 1};
    return Large(chance) + chance.OneOf(small);
  }
  // The first frame of a page of level 2 in a block.
  std::uint64_t Large(Chance& chance) const {
    const std::uint64_t pages[] = {0, 1, 2, block_ / large_ - 1};
    return chance.OneOf(pages) * large_;
  }

 private:
  const FormatFacts facts_;
  const std::uint64_t large_;
  const std::uint64_t block_;
};

}  // namespace ptage::test

#endif  // PTAGE_TEST_MODEL_VM_PLACES_H_
