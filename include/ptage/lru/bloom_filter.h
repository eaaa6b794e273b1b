// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Which page tables are worth scanning: a Bloom filter (B. H. Bloom, "Space/
// Time Trade-offs in Hash Coding with Allowable Errors", CACM 13(7), 1970) that
// one pass reads while the next one's is filled. 2^15 bits and two hashes, as
// Linux's multi-generational LRU has them: with 10,000 tables in it, one of
// five that is not is scanned for nothing.
//
// Contract
//   Any threads may insert and ask at any time; one at a time turns.
//
//   * What was inserted before a Turn is found until the next one.
//   * Before the first Turn everything is found.
//   * An insertion that goes on during a Turn may be found in neither pass. A
//     table that is not found is not scanned, and its accessed bits wait there:
//     nothing is lost by it.
//
//   Progress: Insert is lock-free, it repeats only after another thread changed
//   the same 64 bits; Contains is wait-free.

#ifndef PTAGE_LRU_BLOOM_FILTER_H_
#define PTAGE_LRU_BLOOM_FILTER_H_

#include <cstdint>

#include "ptage/once.h"

namespace ptage {

// Two filters of 2^kBitsLog bits: one is asked, one is filled. See the
// contract.
template <unsigned kBitsLog = 15>
class BloomFilters {
 public:
  // Bits of one filter.
  static constexpr std::uint32_t kBits = std::uint32_t{1} << kBitsLog;
  static_assert(kBitsLog >= 6 && kBitsLog <= 32);

  BloomFilters() : turn_(0u) {
    for (auto& filter : words_) {
      for (auto& word : filter) WriteOnce(word, std::uint64_t{0}, kRelaxed);
    }
  }
  BloomFilters(const BloomFilters&) = delete;
  BloomFilters& operator=(const BloomFilters&) = delete;

  // For the next pass.
  void Insert(std::uint64_t key) {
    const std::uint32_t turn = ReadOnce(turn_, kRelaxed);
    const std::uint32_t bits[] = {First(key), Second(key)};
    for (const std::uint32_t bit : bits) {
      SetBit(words_[(turn + 1) % 2][bit / 64], std::uint64_t{1} << bit % 64);
    }
  }
  // In this pass.
  [[nodiscard]] bool Contains(std::uint64_t key) const {
    const std::uint32_t turn = ReadOnce(turn_, kRelaxed);
    if (turn == 0) return true;
    const std::uint32_t bits[] = {First(key), Second(key)};
    for (const std::uint32_t bit : bits) {
      const std::uint64_t word = ReadOnce(words_[turn % 2][bit / 64], kRelaxed);
      if ((word >> bit % 64 & 1) == 0) return false;
    }
    return true;
  }
  // The next pass begins.
  void Turn() {
    const std::uint32_t turn = ReadOnce(turn_, kRelaxed);
    for (auto& word : words_[turn % 2]) {
      WriteOnce(word, std::uint64_t{0}, kRelaxed);
    }
    // Never 0 again by itself, and its parity changes.
    WriteOnce(turn_, turn + 1 == 0 ? 2 : turn + 1, kRelaxed);
  }

 private:
  static constexpr std::uint32_t kWords = kBits / 64;

  // SplitMix64's finalizer (G. Steele et al., OOPSLA 2014); its halves are two
  // hashes.
  static constexpr std::uint64_t Mix(std::uint64_t key) {
    key += 0x9E37'79B9'7F4A'7C15;
    key = (key ^ key >> 30) * 0xBF58'476D'1CE4'E5B9;
    key = (key ^ key >> 27) * 0x94D0'49BB'1331'11EB;
    return key ^ key >> 31;
  }
  static constexpr std::uint32_t First(std::uint64_t key) {
    return static_cast<std::uint32_t>(Mix(key)) % kBits;
  }
  static constexpr std::uint32_t Second(std::uint64_t key) {
    return static_cast<std::uint32_t>(Mix(key) >> 32) % kBits;
  }
  static void SetBit(Cell<std::uint64_t>& word, std::uint64_t bit) {
    for (;;) {
      const std::uint64_t seen = ReadOnce(word, kRelaxed);
      if ((seen & bit) != 0 || TryCmpxchg(word, seen, seen | bit, kRelaxed)) {
        return;
      }
    }
  }

  // Filter turn % 2 is asked, the other is filled.
  Cell<std::uint32_t> turn_;
  Cell<std::uint64_t> words_[2][kWords];
};

}  // namespace ptage

#endif  // PTAGE_LRU_BLOOM_FILTER_H_
