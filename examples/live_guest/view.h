// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What a terminal shows of a sample.

#ifndef PTAGE_EXAMPLES_LIVE_GUEST_VIEW_H_
#define PTAGE_EXAMPLES_LIVE_GUEST_VIEW_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "examples/live_guest/frame_table.h"
#include "examples/live_guest/guest.h"
#include "examples/live_guest/json_lines.h"
#include "examples/live_guest/options.h"
#include "examples/live_guest/pass.h"
#include "examples/live_guest/registers.h"
#include "examples/live_guest/sampler.h"
#include "ptage/foreign.h"

namespace ptage::live_guest {

// The guest, in a line or two.
[[nodiscard]] inline std::string GuestToText(Guest& guest,
                                             const Options& options);
// A sample, with as many lines each time, the end of the last one included.
[[nodiscard]] inline std::string SampleToText(const Sample& sample,
                                              const Options& options);

// ---------------------------------------------------------------------------

namespace internal {

inline std::string MibOf(std::uint64_t pages) {
  return absl::StrFormat("%10.1f MiB  %9d pages",
                         static_cast<double>(pages) / 256.0, pages);
}

// A cell: nothing resident, nothing hot, and up to all of it hot.
inline char ShadeOf(const FrameTable::Cell& cell) {
  if (cell.resident == 0) return ' ';
  if (cell.hot == 0) return '.';
  constexpr absl::string_view kShades = ":-=+*#%@";
  return kShades[(cell.hot * (kShades.size() - 1) + cell.frames - 1) /
                 cell.frames];
}

inline std::string MixToText(absl::string_view name, const LeafMix& mix) {
  return absl::StrFormat("%-9s 4K %d (%d accessed)  2M %d (%d)  1G %d (%d)\n",
                         name, mix.present[0], mix.accessed[0], mix.present[1],
                         mix.accessed[1], mix.present[2], mix.accessed[2]);
}

}  // namespace internal

inline std::string GuestToText(Guest& guest, const Options& options) {
  std::string text = absl::StrFormat(
      "QEMU %s, %d CPUs, %.1f MiB in %d pieces; %s every %d ms\n",
      guest.qmp().version(), guest.cpus(),
      static_cast<double>(guest.ram().Frames()) / 256.0, guest.layout().size(),
      !options.clear  ? "looks"
      : options.pause ? "clears, with the guest stopped,"
                      : "clears",
      options.interval_ms);
  return text;
}

inline std::string SampleToText(const Sample& sample, const Options& options) {
  std::string text = absl::StrFormat(
      "at %.1f s", static_cast<double>(sample.milliseconds) / 1000.0);
  if (sample.interval_ms.has_value()) {
    absl::StrAppendFormat(&text, ", %d ms after the sample before",
                          *sample.interval_ms);
    if (*sample.interval_ms != 0) {
      absl::StrAppendFormat(&text, "; own CPU %.1f %%",
                            static_cast<double>(sample.cpu_us) / 10.0 /
                                static_cast<double>(*sample.interval_ms));
    }
  }
  text += '\n';
  if (sample.paging == Paging::kOff) {
    return text + "not measured: no CPU of the guest has paging on yet\n";
  }
  absl::StrAppendFormat(&text, "resident  %s\n",
                        internal::MibOf(sample.resident));
  absl::StrAppendFormat(
      &text, "accessed  %s  %s\n", internal::MibOf(sample.accessed),
      options.clear ? "since the pass before"
                    : "since the guest last cleared the bits");
  for (std::size_t i = 0; i < kWindows.size(); ++i) {
    absl::StrAppendFormat(&text, "in %3d s  ", kWindows[i] / 1000);
    if (sample.touched[i].has_value()) {
      absl::StrAppendFormat(
          &text, "%s  (%.2f s)\n", internal::MibOf(sample.touched[i]->pages),
          static_cast<double>(sample.touched[i]->took_ms) / 1000.0);
    } else {
      absl::StrAppend(&text, "not measured",
                      options.clear ? "\n" : ": needs --clear\n");
    }
  }
  text += "frames   |";
  for (const FrameTable::Cell& cell : sample.strip) {
    text += internal::ShadeOf(cell);
  }
  absl::StrAppend(&text, "|\n",
                  internal::MixToText("processes", sample.pass.user),
                  internal::MixToText("kernel", sample.pass.kernel));
  const PassReport& pass = sample.pass;
  absl::StrAppendFormat(
      &text, "scanned   %d address spaces, %d tables of %d levels, in %d us",
      pass.roots, pass.tables, internal::LevelsOf(sample.paging),
      sample.pass_us);
  if (sample.stopped_us != 0) {
    absl::StrAppendFormat(&text, "; guest stopped for %d us",
                          sample.stopped_us);
  }
  absl::StrAppendFormat(
      &text,
      "\nskipped   %d shared, %d stale spaces; entries: %d outside, %d "
      "reserved, %d cycle, %d too many; pages: %d no RAM, %d too many\n",
      pass.shared, sample.stale_roots, pass.Of(ForeignError::kOutside),
      pass.Of(ForeignError::kReserved), pass.Of(ForeignError::kCycle),
      pass.Of(ForeignError::kTooMany), pass.no_ram, pass.left_out);
  if (options.clear) {
    absl::StrAppendFormat(&text,
                          "unknown   %d accessed pages, seen for the first "
                          "time; %d races lost\n",
                          pass.first_look, pass.lost_races);
  }
  return text;
}

}  // namespace ptage::live_guest

#endif  // PTAGE_EXAMPLES_LIVE_GUEST_VIEW_H_
