// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What is known of each of a guest's frames: mapped by a process, and last seen
// accessed when.

#ifndef PTAGE_EXAMPLES_LIVE_GUEST_FRAME_TABLE_H_
#define PTAGE_EXAMPLES_LIVE_GUEST_FRAME_TABLE_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace ptage::live_guest {

// Milliseconds since the tool began; 0: never.
using Stamp = std::uint32_t;

// One thread at a time. Frames are GuestRam's numbers. A frame that several
// pages map counts once.
class FrameTable {
 public:
  explicit FrameTable(std::uint64_t frames) : frames_(frames) {}

  // Forgets which frames are resident and accessed, not when they were touched.
  void BeginPass() {
    ++pass_;
    resident_ = 0;
    accessed_ = 0;
  }
  // A page maps the frame.
  void SetResident(std::uint64_t frame) {
    Frame& at = frames_[frame];
    resident_ += at.resident != pass_ ? 1 : 0;
    at.resident = pass_;
  }
  // A page that maps it has its accessed bit.
  void SetAccessed(std::uint64_t frame) {
    Frame& at = frames_[frame];
    accessed_ += at.accessed != pass_ ? 1 : 0;
    at.accessed = pass_;
  }
  // It was accessed since the pass before.
  void SetTouched(std::uint64_t frame, Stamp now) {
    frames_[frame].touched = now;
  }

  [[nodiscard]] std::uint64_t size() const { return frames_.size(); }
  // Of this pass.
  [[nodiscard]] std::uint64_t resident() const { return resident_; }
  [[nodiscard]] std::uint64_t accessed() const { return accessed_; }
  // Frames that were touched at `since` or later. Precondition: since != 0.
  [[nodiscard]] std::uint64_t TouchedSince(Stamp since) const {
    return static_cast<std::uint64_t>(std::count_if(
        frames_.begin(), frames_.end(),
        [&](const Frame& frame) { return frame.touched >= since; }));
  }

  // A strip: cell i is for the frames i * size() / cells and on.
  struct Cell {
    std::uint64_t frames = 0;
    std::uint64_t resident = 0;
    std::uint64_t hot = 0;
  };
  // Hot are frames that were touched since then; with 0, those accessed.
  void FillStrip(absl::Span<Cell> strip, Stamp since) const {
    for (std::uint64_t i = 0; i < frames_.size(); ++i) {
      const Frame& frame = frames_[i];
      Cell& cell = strip[i * strip.size() / frames_.size()];
      ++cell.frames;
      cell.resident += frame.resident == pass_ ? 1 : 0;
      cell.hot += (since == 0 ? frame.accessed == pass_ && pass_ != 0
                              : frame.touched >= since)
                      ? 1
                      : 0;
    }
  }

 private:
  // Numbers of passes, and a time; 0: never.
  struct Frame {
    std::uint32_t resident = 0;
    std::uint32_t accessed = 0;
    Stamp touched = 0;
  };

  std::vector<Frame> frames_;
  std::uint32_t pass_ = 0;
  std::uint64_t resident_ = 0;
  std::uint64_t accessed_ = 0;
};

}  // namespace ptage::live_guest

#endif  // PTAGE_EXAMPLES_LIVE_GUEST_FRAME_TABLE_H_
