// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the passes of a window reported, held against what the vCPUs touched.
//
// A pass starts when every vCPU has flushed its TLB and published its position
// in the trace, so that a page that is touched after the start is walked to,
// and becomes young, after the start. Pages are named by the frame that the
// rmap is keyed by.
//
//   recall of pass k     of the frames touched between the starts of passes
//                        k − 1 and k, those that pass k − 1 or k reported, or a
//                        zap handed over. Left out: what pass k did not answer.
//                        (That pass k − 1 did not answer is no excuse: what was
//                        young then is still young in pass k.)
//   precision of pass k  of the frames that it reported, those touched between
//                        the starts of passes k − 1 and k + 1
//
// A block that a large leaf may map counts as one frame: of which of its 512
// pages an accessed bit tells changes while one asks.
//
// Not synchronized: the thread that ages fills it, and asks it afterwards.

#ifndef PTAGE_BENCH_TRUTH_H_
#define PTAGE_BENCH_TRUTH_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bench/guest.h"
#include "bench/replay.h"
#include "ptage/config.h"
#include "ptage/types.h"

namespace ptage::bench {

// Frames, summed over passes.
struct TruthCounts {
  std::uint64_t touched = 0;  // and answered
  std::uint64_t found = 0;    // of these: reported, or handed over
  std::uint64_t reported = 0;
  std::uint64_t confirmed = 0;  // of these: touched

  TruthCounts& operator+=(const TruthCounts& other) {
    touched += other.touched;
    found += other.found;
    reported += other.reported;
    confirmed += other.confirmed;
    return *this;
  }
  friend bool operator==(const TruthCounts&, const TruthCounts&) = default;
};

class Truth {
 public:
  using Words = std::vector<std::uint64_t>;

  explicit Truth(std::uint64_t frames) : frames_(frames) {}

  // Forgets all passes.
  void Reset() { passes_ = 0; }

  // Starts a pass; each vCPU has made `positions[v]` references so far.
  void StartPass(std::vector<std::uint64_t> positions);
  [[nodiscard]] std::size_t passes() const { return passes_; }

  // Where the pass under way reports. Precondition of all three: there is one.
  [[nodiscard]] AgeOutput Output(AgeCounts& counts);
  // A zap handed over an access to `frame`.
  void HandOver(Gfn frame) {
    Bitmap(Current().handed.data(), frames_).Set(frame.value);
  }

  // Holds the passes that have both neighbours against the replay. vCPU v of n
  // began with burst first_burst + v, and goes on n bursts later.
  [[nodiscard]] TruthCounts Check(const Replay& replay,
                                  std::uint64_t first_burst,
                                  const FrameMap& map);

 private:
  struct Pass {
    std::vector<std::uint64_t> positions;
    Words young;
    Words unknown;
    Words handed;
    Words touched;  // from the start of this pass to that of the next
  };

  Pass& Current() {
    PTAGE_ASSERT(passes_ != 0);
    return pool_[passes_ - 1];
  }
  // Makes one bit of those of each large block.
  static void Fold(Words& bits, const FrameMap& map);
  void MarkTouched(const Replay& replay, std::uint64_t first_burst,
                   const FrameMap& map, Pass& pass, const Pass& next) const;

  const std::uint64_t frames_;
  // The first `passes_` are in use; the rest keep their memory for later.
  std::vector<Pass> pool_;
  std::size_t passes_ = 0;
};

// ---------------------------------------------------------------------------

inline void Truth::StartPass(std::vector<std::uint64_t> positions) {
  if (passes_ == pool_.size()) pool_.emplace_back();
  Pass& pass = pool_[passes_++];
  pass.positions = std::move(positions);
  const auto words = static_cast<std::size_t>((frames_ + 63) / 64);
  for (Words* bits : {&pass.young, &pass.unknown, &pass.handed}) {
    bits->assign(words, 0);
  }
}

inline AgeOutput Truth::Output(AgeCounts& counts) {
  Pass& pass = Current();
  return AgeOutput{.begin = Gfn{0},
                   .young = Bitmap(pass.young.data(), frames_),
                   .unknown = Bitmap(pass.unknown.data(), frames_),
                   .counts = &counts};
}

inline void Truth::MarkTouched(const Replay& replay, std::uint64_t first_burst,
                               const FrameMap& map, Pass& pass,
                               const Pass& next) const {
  pass.touched.assign(pass.young.size(), 0);
  const std::size_t vcpus = pass.positions.size();
  for (std::size_t v = 0; v < vcpus; ++v) {
    replay.ForEachPage(first_burst + v, vcpus, pass.positions[v],
                       next.positions[v], [&](std::uint64_t page) {
                         const std::uint64_t frame = map.FrameOf(page).value;
                         pass.touched[frame / 64] |= std::uint64_t{1}
                                                     << frame % 64;
                       });
  }
}

inline void Truth::Fold(Words& bits, const FrameMap& map) {
  constexpr std::uint64_t kWords = kBlockFrames / 64;
  for (const std::uint64_t page : map.LargePages()) {
    const auto first = bits.begin() + static_cast<std::ptrdiff_t>(
                                          map.FrameOf(page).value / 64);
    const bool any = std::any_of(first, first + kWords,
                                 [](std::uint64_t word) { return word != 0; });
    std::fill(first, first + kWords, std::uint64_t{0});
    *first = any ? 1 : 0;
  }
}

inline TruthCounts Truth::Check(const Replay& replay, std::uint64_t first_burst,
                                const FrameMap& map) {
  TruthCounts counts;
  for (std::size_t k = 0; k + 1 < passes_; ++k) {
    Pass& pass = pool_[k];
    MarkTouched(replay, first_burst, map, pass, pool_[k + 1]);
    for (Words* bits :
         {&pass.young, &pass.unknown, &pass.handed, &pass.touched}) {
      Fold(*bits, map);
    }
  }
  for (std::size_t k = 1; k + 1 < passes_; ++k) {
    const Pass& before = pool_[k - 1];
    const Pass& pass = pool_[k];
    for (std::size_t i = 0; i < pass.young.size(); ++i) {
      const auto count = [](std::uint64_t word) {
        return static_cast<std::uint64_t>(std::popcount(word));
      };
      const std::uint64_t touched = before.touched[i] & ~pass.unknown[i];
      const std::uint64_t known =
          before.young[i] | pass.young[i] | before.handed[i] | pass.handed[i];
      counts.touched += count(touched);
      counts.found += count(touched & known);
      counts.reported += count(pass.young[i]);
      counts.confirmed +=
          count(pass.young[i] & (before.touched[i] | pass.touched[i]));
    }
  }
  return counts;
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_TRUTH_H_
