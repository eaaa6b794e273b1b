// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The answers of an aging question for single frames, as ranges.

#ifndef PTAGE_TEST_MODEL_RANGE_ANSWER_H_
#define PTAGE_TEST_MODEL_RANGE_ANSWER_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "ptage/types.h"
#include "test/model/vm_state.h"

namespace ptage::test {

class RangeAnswer {
 public:
  // More than this is answered as a whole alone.
  static constexpr std::uint64_t kMostFrames = 1u << 20;

  explicit RangeAnswer(GfnRange range)
      : range_(range),
        words_(range.Frames() > kMostFrames ? 0 : (range.Frames() + 63) / 64),
        young_(words_),
        unknown_(words_) {}
  AgeOutput output() {
    AgeOutput output{.begin = range_.begin, .counts = &counts_};
    if (words_ != 0) {
      output.young = Bitmap(young_.data(), range_.Frames());
      output.unknown = Bitmap(unknown_.data(), range_.Frames());
    }
    return output;
  }
  void MoveTo(Outcome& outcome) const {
    outcome.counts = counts_;
    outcome.young = RangesOf(young_);
    outcome.unknown = RangesOf(unknown_);
  }

 private:
  [[nodiscard]] std::vector<GfnRange> RangesOf(
      const std::vector<std::uint64_t>& words) const {
    std::vector<GfnRange> ranges;
    for (std::size_t i = 0; i < words.size(); ++i) {
      std::uint64_t left = words[i];
      while (left != 0) {
        const Gfn first = range_.begin + i * 64 +
                          static_cast<unsigned>(__builtin_ctzll(left));
        ranges.push_back(GfnRange{first, first + 1});
        left &= left - 1;
        if (words[i] == ~std::uint64_t{0}) {
          ranges.back().end = first + 64;
          break;
        }
      }
    }
    return Together(std::move(ranges));
  }

  const GfnRange range_;
  const std::size_t words_;
  AgeCounts counts_;
  std::vector<std::uint64_t> young_;
  std::vector<std::uint64_t> unknown_;
};

}  // namespace ptage::test

#endif  // PTAGE_TEST_MODEL_RANGE_ANSWER_H_
