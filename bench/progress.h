// SPDX-License-Identifier: MIT OR Apache-2.0
//
// How far a run is: what it is doing, for how long, and how much longer.

#ifndef PTAGE_BENCH_PROGRESS_H_
#define PTAGE_BENCH_PROGRESS_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "ptage/config.h"

namespace ptage::bench {

// 95 → "1 min 35 s".
[[nodiscard]] inline std::string MinutesText(double seconds) {
  const auto whole = static_cast<long>(std::lround(std::max(0.0, seconds)));
  if (whole < 60) return absl::StrCat(whole, " s");
  return absl::StrFormat("%d min %02d s", whole / 60, whole % 60);
}

// Writes a line now and then while a run goes through its stages. Not for
// concurrent use.
class Progress {
 public:
  // A part of the run, and the seconds that it took where it was last tried:
  // how far a run is there corrects the rest.
  struct Stage {
    std::string name;
    double seconds;
  };
  enum class Screen {
    kTerminal,  // a line that is written over, once a second
    kFile,      // a line of its own, every ten
  };

  // `now` in seconds; `write` is given whole pieces of text. Precondition:
  // there are stages.
  Progress(std::vector<Stage> stages, Screen screen,
           std::function<double()> now,
           std::function<void(const std::string&)> write)
      : stages_(std::move(stages)),
        screen_(screen),
        now_(std::move(now)),
        write_(std::move(write)),
        begin_(now_()),
        stage_begin_(begin_) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // The first stage begins with the run, the next ones in their order; those
  // between are over. Precondition: it is not before the current one.
  void Begin(std::size_t stage) {
    PTAGE_ASSERT(stage >= stage_ && stage < stages_.size());
    const double time = now_();
    taken_ += time - stage_begin_;
    for (; stage_ < stage; ++stage_) expected_ += stages_[stage_].seconds;
    stage_begin_ = time;
    part_ = 0;
    doing_.clear();
  }
  // What the stage does from now on, as "tables in order".
  void Doing(std::string what) {
    doing_ = std::move(what);
    Show();
  }
  // The share of the stage that is done, where that is known.
  void Done(double part) {
    part_ = part;
    Show();
  }
  // The same for what ends after so many rounds, or seconds.
  void Rounds(std::uint64_t done, std::uint64_t rounds, std::uint64_t dropped,
              double most_seconds) {
    doing_ = absl::StrFormat("round %d of %d, %d windows dropped", done, rounds,
                             dropped);
    // Rounds go on for those whose windows were dropped.
    constexpr double kNearlyAll = 0.95;
    Done(std::min(
        1.0,
        std::max((now_() - stage_begin_) / most_seconds,
                 kNearlyAll * std::min(1.0, static_cast<double>(done) /
                                                static_cast<double>(rounds)))));
  }
  // Writes, if it is time to. Call it often.
  void Show() {
    const double time = now_();
    if (time - begin_ < next_) return;
    const bool terminal = screen_ == Screen::kTerminal;
    next_ = time - begin_ + (terminal ? 1 : 10);
    // The terminal's line is cleared to its end, whatever it held.
    write_(terminal ? absl::StrCat("\r", Text(), "\x1b[K")
                    : absl::StrCat(Text(), "\n"));
    open_ = terminal;
  }
  // Leaves the line. Call it before anything else is written.
  void End() {
    if (open_) write_("\r\x1b[K");
    open_ = false;
  }

  // Seconds, if the rest is to what it took elsewhere as what was done is.
  [[nodiscard]] double Left() const {
    const double in_stage = now_() - stage_begin_;
    // One that takes long already tells as much as one that is over.
    const double expected = expected_ + stages_[stage_].seconds;
    const double pace =
        std::max(expected_ > 0 ? taken_ / expected_ : 1.0,
                 expected > 0 ? (taken_ + in_stage) / expected : 0.0);
    double left = std::max(0.0, stages_[stage_].seconds * pace - in_stage);
    // A twentieth of it says little.
    if (part_ > 0.05) left = in_stage * (1 - part_) / part_;
    for (std::size_t i = stage_ + 1; i < stages_.size(); ++i) {
      left += stages_[i].seconds * pace;
    }
    return left;
  }

 private:
  [[nodiscard]] std::string Text() const {
    std::string text = absl::StrFormat("[%d/%d] %s", stage_ + 1, stages_.size(),
                                       stages_[stage_].name);
    if (!doing_.empty()) absl::StrAppend(&text, ": ", doing_);
    return absl::StrCat(text, " (", MinutesText(now_() - begin_), ", about ",
                        MinutesText(Left()), " left)");
  }

  const std::vector<Stage> stages_;
  const Screen screen_;
  const std::function<double()> now_;
  const std::function<void(const std::string&)> write_;
  const double begin_;
  std::size_t stage_ = 0;
  double stage_begin_;
  double taken_ = 0;     // by the stages that are over,
  double expected_ = 0;  // and what they took elsewhere
  double part_ = 0;
  std::string doing_;
  double next_ = 0;
  bool open_ = false;
};

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_PROGRESS_H_
