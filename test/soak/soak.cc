// SPDX-License-Identifier: MIT OR Apache-2.0
//
// tools/soak: runs the soak for as long as is asked, shows how far it is, and
// prints what came of it.

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "test/soak/driver.h"
#include "test/soak/faults.h"
#include "test/soak/options.h"
#include "test/soak/report.h"
#include "test/soak/setups.h"

// The error that is planted in the headers that this is built from.
#ifndef PTAGE_SOAK_CONTROL
#define PTAGE_SOAK_CONTROL ""
#endif

namespace ptage::soak {
namespace {

constexpr int kFailed = 1;
constexpr int kBadUse = 2;

int Fail(const absl::Status& status) {
  absl::FPrintF(stderr, "soak: %s\n", status.message());
  return kBadUse;
}

// At most one line a second on a terminal, which is written over; one every ten
// seconds elsewhere.
class ProgressLine {
 public:
  explicit ProgressLine(const Options& options) : options_(options) {}
  ~ProgressLine() {
    if (shown_) absl::FPrintF(stderr, "\n");
  }

  void Show(const Progress& progress) {
    if (progress.seconds < next_) return;
    const bool terminal = isatty(STDERR_FILENO) != 0;
    next_ = progress.seconds + (terminal ? 1 : 10);
    const double rate =
        progress.seconds > 0
            ? static_cast<double>(progress.visits) / progress.seconds
            : 0;
    double left = 1e18;
    if (options_.seconds != 0) {
      left = static_cast<double>(options_.seconds) - progress.seconds;
    }
    if (options_.visits != 0 && rate > 0) {
      left = std::min(left, (static_cast<double>(options_.visits) -
                             static_cast<double>(progress.visits)) /
                                rate);
    }
    absl::FPrintF(
        stderr, "%s%d visits, %.1f M/s, %d faults, %d failures, %s%s",
        terminal ? "\r" : "", progress.visits, rate * 1e-6, progress.faults,
        progress.failures,
        left < 1e9 ? absl::StrFormat("about %.0f s left", std::max(0.0, left))
                   : "begins",
        terminal ? "   " : "\n");
    shown_ = terminal;
  }

 private:
  const Options& options_;
  double next_ = 0;
  bool shown_ = false;
};

template <class S>
int Soak(const Options& options) {
  Plan plan;
  plan.seed = options.seed;
  plan.seconds = static_cast<double>(options.seconds);
  plan.visits = options.visits;
  plan.until_failure = !options.control.empty();
  Outcome outcome;
  {
    ProgressLine line(options);
    plan.progress = [&](const Progress& progress) { line.Show(progress); };
    outcome = Driver<S>(plan).Run();
  }
  const std::vector<Fault> starved = Starved<S>(outcome.total.faults);
  const Verdict verdict =
      Judge(outcome, starved, options.visits, options.control);
  if (!options.json) absl::PrintF("%s\n", ToTable(outcome));
  if (options.control.empty()) {
    for (const Fault fault : starved) {
      absl::FPrintF(stderr, "soak: %s never happened\n", NameOf(fault));
    }
  }
  absl::PrintF("%s\n", ToJson(outcome, starved, options.seed,
                              options.discipline, options.control, verdict));
  return verdict.passed ? 0 : kFailed;
}

int Main(const std::vector<std::string>& arguments) {
  const absl::StatusOr<Options> options = ParseOptions(arguments);
  if (!options.ok()) return Fail(options.status());
  if (options->help) {
    std::fwrite(kUsage.data(), 1, kUsage.size(), stdout);
    return 0;
  }
  if (options->control != PTAGE_SOAK_CONTROL) {
    return Fail(absl::InvalidArgumentError(absl::StrCat(
        "--control: not built into this binary: \"", options->control, "\"")));
  }
  if (options->discipline == "single") return Soak<SingleEntrySetup>(*options);
  if (options->discipline == "bit") return Soak<BitLockedSetup>(*options);
  return Soak<LocklessSetup>(*options);
}

}  // namespace
}  // namespace ptage::soak

int main(int argc, char** argv) {
  return ptage::soak::Main(std::vector<std::string>(argv + 1, argv + argc));
}
