// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What --json prints: a line for the guest, and then one for each sample.
// docs/live_guest.md says what each member means.

#ifndef PTAGE_EXAMPLES_LIVE_GUEST_JSON_LINES_H_
#define PTAGE_EXAMPLES_LIVE_GUEST_JSON_LINES_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "examples/live_guest/backends.h"
#include "examples/live_guest/guest.h"
#include "examples/live_guest/json.h"
#include "examples/live_guest/options.h"
#include "examples/live_guest/pass.h"
#include "examples/live_guest/registers.h"
#include "examples/live_guest/sampler.h"
#include "ptage/foreign.h"

namespace ptage::live_guest {

// Raised when a member goes or changes its meaning; new ones do not raise it.
inline constexpr int kJsonVersion = 1;

// Both without the end of the line.
[[nodiscard]] inline std::string GuestToJson(Guest& guest,
                                             const Options& options);
[[nodiscard]] inline std::string SampleToJson(const Sample& sample);

// ---------------------------------------------------------------------------

namespace internal {

inline int LevelsOf(Paging paging) {
  return paging == Paging::kFiveLevels   ? 5
         : paging == Paging::kFourLevels ? 4
                                         : 0;
}

inline std::string MixToJson(const LeafMix& mix) {
  std::string text = "{";
  constexpr const char* kSizes[kLeafSizes] = {"4k", "2m", "1g"};
  for (int i = 0; i < kLeafSizes; ++i) {
    absl::StrAppendFormat(&text, "%s\"%s\":{\"present\":%d,\"accessed\":%d}",
                          i == 0 ? "" : ",", kSizes[i], mix.present[i],
                          mix.accessed[i]);
  }
  return text + "}";
}

inline std::string OrNull(std::optional<std::uint64_t> value) {
  return value.has_value() ? absl::StrCat(*value) : "null";
}

}  // namespace internal

inline std::string GuestToJson(Guest& guest, const Options& options) {
  std::string layout;
  for (const FilePiece& piece : guest.layout()) {
    absl::StrAppendFormat(
        &layout, "%s{\"address\":%d,\"bytes\":%d,\"file\":%s,\"offset\":%d}",
        layout.empty() ? "" : ",", piece.ram.address, piece.ram.bytes,
        QuoteJson(piece.path), piece.ram.offset);
  }
  return absl::StrFormat(
      "{\"version\":%d,\"type\":\"guest\",\"qemu\":%s,\"cpus\":%d,"
      "\"physical_bits\":%d,\"frames\":%d,\"mode\":\"%s\",\"paused\":%s,"
      "\"interval_ms\":%d,\"layout\":[%s]}",
      kJsonVersion, QuoteJson(guest.qmp().version()), guest.cpus(),
      guest.physical_bits(), guest.ram().Frames(),
      options.clear ? "clear" : "look", options.pause ? "true" : "false",
      options.interval_ms, layout);
}

inline std::string SampleToJson(const Sample& sample) {
  const PassReport& pass = sample.pass;
  std::string text = absl::StrFormat(
      "{\"version\":%d,\"type\":\"sample\",\"ms\":%d,\"interval_ms\":%s,"
      "\"cpu_us\":%d,\"levels\":%d",
      kJsonVersion, sample.milliseconds, internal::OrNull(sample.interval_ms),
      sample.cpu_us, internal::LevelsOf(sample.paging));
  if (sample.paging == Paging::kOff) {
    return text + ",\"measured\":false}";
  }
  absl::StrAppendFormat(&text,
                        ",\"measured\":true,\"pass_us\":%d,\"stopped_us\":%d,"
                        "\"resident\":%d,\"accessed\":%d,\"touched\":{",
                        sample.pass_us, sample.stopped_us, sample.resident,
                        sample.accessed);
  for (std::size_t i = 0; i < kWindows.size(); ++i) {
    absl::StrAppendFormat(&text, "%s\"%ds\":", i == 0 ? "" : ",",
                          kWindows[i] / 1000);
    if (sample.touched[i].has_value()) {
      absl::StrAppendFormat(&text, "{\"pages\":%d,\"took_ms\":%d}",
                            sample.touched[i]->pages,
                            sample.touched[i]->took_ms);
    } else {
      absl::StrAppend(&text, "null");
    }
  }
  absl::StrAppendFormat(
      &text,
      "},\"user\":%s,\"kernel\":%s,\"scanned\":{\"roots\":%d,\"subtrees\":%d,"
      "\"tables\":%d},\"skipped\":{\"shared\":%d,\"stale_roots\":%d,"
      "\"outside\":%d,\"reserved\":%d,\"cycle\":%d,\"too_many\":%d,"
      "\"first_look\":%d,\"no_ram\":%d,\"left_out\":%d},\"lost_races\":%d,"
      "\"strip\":[",
      internal::MixToJson(pass.user), internal::MixToJson(pass.kernel),
      pass.roots, pass.subtrees, pass.tables, pass.shared, sample.stale_roots,
      pass.Of(ForeignError::kOutside), pass.Of(ForeignError::kReserved),
      pass.Of(ForeignError::kCycle), pass.Of(ForeignError::kTooMany),
      pass.first_look, pass.no_ram, pass.left_out, pass.lost_races);
  for (std::size_t i = 0; i < kStripCells; ++i) {
    absl::StrAppendFormat(&text, "%s[%d,%d,%d]", i == 0 ? "" : ",",
                          sample.strip[i].frames, sample.strip[i].resident,
                          sample.strip[i].hot);
  }
  return text + "]}";
}

}  // namespace ptage::live_guest

#endif  // PTAGE_EXAMPLES_LIVE_GUEST_JSON_LINES_H_
