// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Samples of a guest at an interval: passes over its tables, and in between
// looks at its CPUs for address spaces.

#ifndef PTAGE_EXAMPLES_LIVE_GUEST_SAMPLER_H_
#define PTAGE_EXAMPLES_LIVE_GUEST_SAMPLER_H_

#include <sys/resource.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "examples/live_guest/frame_table.h"
#include "examples/live_guest/guest.h"
#include "examples/live_guest/pass.h"
#include "examples/live_guest/registers.h"
#include "examples/live_guest/windows.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"

namespace ptage::live_guest {

// Milliseconds that touched pages are counted over.
inline constexpr std::array<std::uint64_t, 3> kWindows = {1'000, 10'000,
                                                          60'000};
inline constexpr std::size_t kStripCells = 64;

enum class PassPause { kRunning, kPaused };

struct SamplerOptions {
  absl::Duration interval = absl::Seconds(1);
  // Between two looks at the CPUs.
  absl::Duration look = absl::Milliseconds(50);
  AgeAction action = AgeAction::kTest;
  PassPause pause = PassPause::kRunning;
};

// Pages are of 4 KiB. What has no value was not measured.
struct Sample {
  std::uint64_t milliseconds = 0;            // since the tool began
  std::optional<std::uint64_t> interval_ms;  // since the sample before
  std::uint64_t pass_us = 0;
  std::uint64_t cpu_us = 0;      // of the tool, since the sample before
  std::uint64_t stopped_us = 0;  // the guest, for this pass
  Paging paging = Paging::kOff;  // with kOff nothing below was measured
  PassReport pass;
  std::uint64_t stale_roots = 0;
  std::uint64_t resident = 0;
  std::uint64_t accessed = 0;
  struct Touched {
    std::uint64_t pages;
    std::uint64_t took_ms;
  };
  std::array<std::optional<Touched>, kWindows.size()> touched;
  // Hot: touched in the last second, or accessed where nothing is cleared.
  std::array<FrameTable::Cell, kStripCells> strip;
};

// One thread at a time.
class Sampler {
 public:
  // `guest` outlives this.
  Sampler(Guest& guest, const SamplerOptions& options)
      : guest_(guest),
        options_(options),
        frames_(guest.ram().Frames()),
        four_(guest.ram(), guest.physical_bits()),
        five_(guest.ram(), guest.physical_bits()) {}

  // Waits until it is time, and takes a sample; `wanted()` is asked all the
  // while. Cancelled: not wanted any more. Other errors: the guest's monitor.
  template <class Wanted>
  absl::StatusOr<Sample> Next(Wanted&& wanted);

 private:
  [[nodiscard]] Stamp StampOf(absl::Time time) const {
    // 0 means never.
    return static_cast<Stamp>(absl::ToInt64Milliseconds(time - began_)) + 1;
  }
  static std::uint64_t CpuMicroseconds() {
    rusage usage = {};
    getrusage(RUSAGE_SELF, &usage);
    const auto of = [](const timeval& time) {
      return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000 +
             static_cast<std::uint64_t>(time.tv_usec);
    };
    return of(usage.ru_utime) + of(usage.ru_stime);
  }
  absl::Status TakePass(Sample& sample);
  void Summarize(Sample& sample, Stamp now);

  Guest& guest_;
  const SamplerOptions options_;
  FrameTable frames_;
  Passes<X86_64> four_;
  Passes<X86_64La57> five_;
  Windows windows_;
  const absl::Time began_ = absl::Now();
  absl::Time next_ = began_;
  std::optional<absl::Time> before_;
  std::uint64_t cpu_before_ = CpuMicroseconds();
};

// ---------------------------------------------------------------------------

template <class Wanted>
absl::StatusOr<Sample> Sampler::Next(Wanted&& wanted) {
  for (;;) {
    if (!wanted()) return absl::CancelledError("");
    const absl::Status looked = guest_.LookAtCpus();
    if (!looked.ok()) return looked;
    const absl::Duration left = next_ - absl::Now();
    if (left <= absl::ZeroDuration()) break;
    absl::SleepFor(left < options_.look ? left : options_.look);
  }
  Sample sample;
  const absl::Status passed = TakePass(sample);
  if (!passed.ok()) return passed;
  const std::uint64_t cpu = CpuMicroseconds();
  sample.cpu_us = cpu - cpu_before_;
  cpu_before_ = cpu;
  // Passes that were missed are not made up for.
  next_ = next_ + options_.interval;
  if (next_ < absl::Now()) next_ = absl::Now();
  return sample;
}

inline absl::Status Sampler::TakePass(Sample& sample) {
  std::optional<Paused> paused;
  const absl::Time stopping = absl::Now();
  if (options_.pause == PassPause::kPaused) {
    paused.emplace(guest_.qmp());
    if (!paused->status().ok()) return paused->status();
    // What they have loaded now is what is walked.
    const absl::Status looked = guest_.LookAtCpus();
    if (!looked.ok()) return looked;
  }
  const absl::Time start = absl::Now();
  sample.paging = guest_.paging();
  if (sample.paging != Paging::kOff) {
    sample.stale_roots = guest_.roots().DropStale(guest_.ram().memory());
    const auto& roots = guest_.roots().all();
    const Stamp now = StampOf(start);
    sample.pass = sample.paging == Paging::kFiveLevels
                      ? five_.Run(roots, options_.action, frames_, now)
                      : four_.Run(roots, options_.action, frames_, now);
    sample.pass_us = static_cast<std::uint64_t>(
        absl::ToInt64Microseconds(absl::Now() - start));
  }
  if (paused.has_value()) {
    const absl::Status resumed = paused->Resume();
    if (!resumed.ok()) return resumed;
    sample.stopped_us = static_cast<std::uint64_t>(
        absl::ToInt64Microseconds(absl::Now() - stopping));
  }
  sample.milliseconds = StampOf(start);
  if (before_.has_value()) {
    sample.interval_ms =
        static_cast<std::uint64_t>(absl::ToInt64Milliseconds(start - *before_));
  }
  before_ = start;
  Summarize(sample, StampOf(start));
  return absl::OkStatus();
}

inline void Sampler::Summarize(Sample& sample, Stamp now) {
  if (sample.paging == Paging::kOff) {
    windows_.Reset();
    return;
  }
  sample.resident = frames_.resident();
  sample.accessed = frames_.accessed();
  Stamp hot_since = 0;
  if (options_.action == AgeAction::kTestAndClear) {
    windows_.Add(now);
    hot_since = now;
    for (std::size_t i = 0; i < kWindows.size(); ++i) {
      const std::optional<Windows::Window> window = windows_.Find(kWindows[i]);
      if (!window.has_value()) continue;
      sample.touched[i] =
          Sample::Touched{frames_.TouchedSince(window->since), window->took};
      if (i == 0) hot_since = window->since;
    }
  }
  frames_.FillStrip(absl::MakeSpan(sample.strip), hot_since);
}

}  // namespace ptage::live_guest

#endif  // PTAGE_EXAMPLES_LIVE_GUEST_SAMPLER_H_
