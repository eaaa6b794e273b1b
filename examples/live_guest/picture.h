// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A picture of all samples: sizes over time, and which frames are hot.

#ifndef PTAGE_EXAMPLES_LIVE_GUEST_PICTURE_H_
#define PTAGE_EXAMPLES_LIVE_GUEST_PICTURE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "examples/live_guest/frame_table.h"
#include "examples/live_guest/registers.h"
#include "examples/live_guest/sampler.h"

namespace ptage::live_guest {

// Keeps no more than kMost samples: of a long run, every second, fourth … one.
class Picture {
 public:
  static constexpr std::size_t kMost = 1024;

  void Add(const Sample& sample) {
    if (seen_++ % every_ != 0) return;
    samples_.push_back(sample);
    if (samples_.size() < kMost) return;
    for (std::size_t i = 0; i < kMost / 2; ++i) samples_[i] = samples_[2 * i];
    samples_.resize(kMost / 2);
    every_ *= 2;
  }
  // As SVG.
  [[nodiscard]] std::string Draw() const;

 private:
  static constexpr double kWidth = 800, kHeight = 240, kLeft = 90, kTop = 30;

  [[nodiscard]] double XOf(const Sample& sample) const {
    const auto last =
        static_cast<double>(samples_.back().milliseconds - First());
    return kLeft +
           (last == 0
                ? 0
                : kWidth * static_cast<double>(sample.milliseconds - First()) /
                      last);
  }
  [[nodiscard]] std::uint64_t First() const {
    return samples_.front().milliseconds;
  }
  template <class ValueOf>
  void DrawLine(std::string& svg, std::uint64_t most, std::size_t which,
                const char* name, const char* color, ValueOf value_of) const;
  void DrawStrips(std::string& svg) const;

  std::vector<Sample> samples_;
  std::uint64_t seen_ = 0;
  std::uint64_t every_ = 1;
};

// ---------------------------------------------------------------------------

template <class ValueOf>
void Picture::DrawLine(std::string& svg, std::uint64_t most, std::size_t which,
                       const char* name, const char* color,
                       ValueOf value_of) const {
  // What was not measured is a gap.
  std::string points;
  bool inside = false;
  for (const Sample& sample : samples_) {
    const std::optional<std::uint64_t> value = value_of(sample);
    if (value.has_value()) {
      absl::StrAppendFormat(&points, "%s%.1f %.1f", inside ? "L" : "M",
                            XOf(sample),
                            kTop + kHeight -
                                kHeight * static_cast<double>(*value) /
                                    static_cast<double>(most));
    }
    inside = value.has_value();
  }
  absl::StrAppendFormat(
      &svg,
      "<path d=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\"/>\n"
      "<text x=\"%.0f\" y=\"%.0f\" fill=\"%s\">%s%s</text>\n",
      points, color, kLeft + 140.0 * static_cast<double>(which), kTop - 10,
      color, name, points.empty() ? " (not measured)" : "");
}

inline void Picture::DrawStrips(std::string& svg) const {
  const double top = kTop + kHeight + 30;
  const double high = 4;
  for (std::size_t i = 0; i < samples_.size(); ++i) {
    const double x = XOf(samples_[i]);
    const double end = i + 1 < samples_.size() ? XOf(samples_[i + 1]) : x + 2;
    for (std::size_t cell = 0; cell < kStripCells; ++cell) {
      const FrameTable::Cell& at = samples_[i].strip[cell];
      if (at.resident == 0) continue;
      const double part =
          static_cast<double>(at.hot) / static_cast<double>(at.frames);
      const int light = at.hot == 0 ? 235 : 200 - static_cast<int>(200 * part);
      absl::StrAppendFormat(
          &svg,
          "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
          "fill=\"rgb(%d,%d,%d)\"/>\n",
          x, top + high * static_cast<double>(cell), std::max(end - x, 0.5),
          high, at.hot == 0 ? 235 : 255, light, at.hot == 0 ? 235 : light / 2);
    }
  }
  absl::StrAppendFormat(&svg,
                        "<text x=\"4\" y=\"%.0f\">frame 0</text>\n"
                        "<text x=\"4\" y=\"%.0f\">last frame</text>\n",
                        top + 10, top + high * kStripCells);
}

inline std::string Picture::Draw() const {
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" "
      "height=\"%.0f\" font-family=\"sans-serif\" font-size=\"12\">\n"
      "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
      kLeft + kWidth + 20, kTop + kHeight + 30 + 4.0 * kStripCells + 30);
  if (samples_.empty()) {
    return absl::StrCat(svg,
                        "<text x=\"20\" y=\"40\">no sample</text>\n</svg>\n");
  }
  std::uint64_t most = 1;
  for (const Sample& sample : samples_) most = std::max(most, sample.resident);
  const auto measured =
      [](const Sample& sample,
         std::uint64_t value) -> std::optional<std::uint64_t> {
    if (sample.paging == Paging::kOff) return std::nullopt;
    return value;
  };
  DrawLine(svg, most, 0, "resident", "#555555", [&](const Sample& sample) {
    return measured(sample, sample.resident);
  });
  DrawLine(svg, most, 1, "accessed", "#1f77b4", [&](const Sample& sample) {
    return measured(sample, sample.accessed);
  });
  constexpr const char* kNames[] = {"in 1 s", "in 10 s", "in 60 s"};
  constexpr const char* kColors[] = {"#d62728", "#ff7f0e", "#2ca02c"};
  for (std::size_t i = 0; i < kWindows.size(); ++i) {
    DrawLine(svg, most, 2 + i, kNames[i], kColors[i],
             [&](const Sample& sample) -> std::optional<std::uint64_t> {
               if (!sample.touched[i].has_value()) return std::nullopt;
               return sample.touched[i]->pages;
             });
  }
  absl::StrAppendFormat(
      &svg,
      "<text x=\"4\" y=\"%.0f\">%.1f MiB</text>\n"
      "<text x=\"4\" y=\"%.0f\">0</text>\n"
      "<text x=\"%.0f\" y=\"%.0f\">%.1f s</text>\n",
      kTop + 10, static_cast<double>(most) / 256.0, kTop + kHeight,
      kLeft + kWidth - 60, kTop + kHeight + 16,
      static_cast<double>(samples_.back().milliseconds - First()) / 1000.0);
  DrawStrips(svg);
  return svg + "</svg>\n";
}

}  // namespace ptage::live_guest

#endif  // PTAGE_EXAMPLES_LIVE_GUEST_PICTURE_H_
