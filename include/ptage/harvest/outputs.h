// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Where the answers of a harvest may go besides bitmaps: to a function that is
// called for each run of young frames, or into a count for each region.
//
// Contract
//   One thread at a time uses an output. They rely on harvest.h's order:
//   frames are reported in ascending order, each once a harvest; one that is
//   resumed (HarvestSome) goes on where it stopped.

#ifndef PTAGE_HARVEST_OUTPUTS_H_
#define PTAGE_HARVEST_OUTPUTS_H_

#include <bit>
#include <cstdint>

#include "ptage/config.h"
#include "ptage/once/vector.h"
#include "ptage/types.h"

namespace ptage {

// Calls `visit(run, kind)` for each longest run of frames that are young, and
// of frames that are unknown, as soon as it is known where it ends: runs of one
// kind come in ascending order. What is still open is reported by Finish, or by
// the destructor.
enum class RunKind { kYoung, kUnknown };

// An output that tells of runs. For one thread at a time; `visit` must not
// wait for a fault.
template <class Visit>
class RunsOutput {
 public:
  explicit RunsOutput(Visit visit) : visit_(visit) {}
  ~RunsOutput() { Finish(); }
  RunsOutput(const RunsOutput&) = delete;
  RunsOutput& operator=(const RunsOutput&) = delete;

  void SetYoung(GfnRange range) { Extend(young_, RunKind::kYoung, range); }
  void SetYoung(Gfn first, std::uint64_t lanes) {
    ExtendLanes(young_, RunKind::kYoung, first, lanes);
  }
  void SetUnknown(GfnRange range) {
    Extend(unknown_, RunKind::kUnknown, range);
  }
  void SetUnknown(Gfn first, std::uint64_t lanes) {
    ExtendLanes(unknown_, RunKind::kUnknown, first, lanes);
  }
  void Count(const AgeCounts& more) { counts_ += more; }

  // Reports the runs that are open. A frame that is told of later begins a new
  // one.
  void Finish() {
    Close(young_, RunKind::kYoung);
    Close(unknown_, RunKind::kUnknown);
  }
  // What the harvests that wrote to it did, in entries.
  [[nodiscard]] const AgeCounts& counts() const { return counts_; }

 private:
  void Close(GfnRange& open, RunKind kind) {
    if (!open.Empty()) visit_(open, kind);
    open = GfnRange{open.end, open.end};
  }
  void Extend(GfnRange& open, RunKind kind, GfnRange more) {
    if (open.Empty() || open.end != more.begin) {
      Close(open, kind);
      open = more;
    }
    open.end = more.end;
  }
  void ExtendLanes(GfnRange& open, RunKind kind, Gfn first,
                   std::uint64_t lanes) {
    while (lanes != 0) {
      const auto from = static_cast<unsigned>(std::countr_zero(lanes));
      const auto length = static_cast<unsigned>(std::countr_one(lanes >> from));
      Extend(open, kind, GfnRange{first + from, first + from + length});
      lanes &= ~(FirstLanes(length) << from);
    }
  }

  Visit visit_;
  GfnRange young_;
  GfnRange unknown_;
  AgeCounts counts_;
};

// Young and unknown frames of a region.
struct RegionCount {
  std::uint64_t young = 0;    // in frames
  std::uint64_t unknown = 0;  // in frames

  friend constexpr bool operator==(RegionCount, RegionCount) = default;
};

// Adds frames up by region of `frames` frames each: regions[i] is for those
// from begin + i * frames on. In the caller's memory, which is added to.
// Preconditions: `frames` is a power of two; what is harvested lies within the
// `count` regions.
class RegionsOutput {
 public:
  RegionsOutput(Gfn begin, std::uint64_t frames, RegionCount* regions,
                std::uint64_t count)
      : begin_(begin),
        shift_(static_cast<unsigned>(std::countr_zero(frames))),
        regions_(regions),
        count_(count) {
    PTAGE_ASSERT(frames != 0 && (frames & (frames - 1)) == 0);
  }

  void SetYoung(GfnRange range) { Add(range, &RegionCount::young); }
  void SetYoung(Gfn first, std::uint64_t lanes) {
    AddLanes(first, lanes, &RegionCount::young);
  }
  void SetUnknown(GfnRange range) { Add(range, &RegionCount::unknown); }
  void SetUnknown(Gfn first, std::uint64_t lanes) {
    AddLanes(first, lanes, &RegionCount::unknown);
  }
  void Count(const AgeCounts& more) { counts_ += more; }
  // What the harvests that wrote to it did, in entries.
  [[nodiscard]] const AgeCounts& counts() const { return counts_; }

 private:
  using Which = std::uint64_t RegionCount::*;

  std::uint64_t RegionOf(Gfn gfn) const { return (gfn - begin_) >> shift_; }
  RegionCount& At(std::uint64_t region) const {
    PTAGE_ASSERT(region < count_);
    return regions_[region];
  }
  void Add(GfnRange range, Which which) const {
    for (Gfn from = range.begin; from < range.end;) {
      const std::uint64_t region = RegionOf(from);
      const Gfn next = begin_ + ((region + 1) << shift_);
      const Gfn to = next < range.end ? next : range.end;
      At(region).*which += to - from;
      from = to;
    }
  }
  void AddLanes(Gfn first, std::uint64_t lanes, Which which) const {
    for (Gfn from = first; lanes != 0;) {
      const std::uint64_t region = RegionOf(from);
      const std::uint64_t left = begin_ + ((region + 1) << shift_) - from;
      const auto width = static_cast<unsigned>(left < kBlock ? left : kBlock);
      const unsigned here = CountLanes(lanes & FirstLanes(width));
      if (here != 0) At(region).*which += here;
      lanes = width == kBlock ? 0 : lanes >> width;
      from = from + width;
    }
  }

  const Gfn begin_;
  const unsigned shift_;
  RegionCount* const regions_;
  const std::uint64_t count_;
  AgeCounts counts_;
};

}  // namespace ptage

#endif  // PTAGE_HARVEST_OUTPUTS_H_
