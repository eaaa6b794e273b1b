// SPDX-License-Identifier: MIT OR Apache-2.0
//
// tools/soak --reclaim: runs the soak of reclaim, and prints what came of it.

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "test/soak/reclaim/driver.h"
#include "test/soak/reclaim/options.h"
#include "test/soak/reclaim/tallies.h"

// The error that is planted in the headers that this is built from.
#ifndef PTAGE_SOAK_CONTROL
#define PTAGE_SOAK_CONTROL ""
#endif

namespace ptage::reclaim_soak {
namespace {

constexpr int kFailed = 1;
constexpr int kBadUse = 2;

int Fail(absl::string_view message) {
  absl::FPrintF(stderr, "soak: %s\n", message);
  return kBadUse;
}

int Soak(const Options& options) {
  Plan plan;
  plan.seed = options.seed;
  plan.seconds = static_cast<double>(options.seconds);
  plan.until_failure = !options.control.empty();
  double next = 0;
  plan.progress = [&](double seconds, const Tallies& total) {
    if (seconds < next) return;
    next = seconds + 10;
    absl::FPrintF(stderr,
                  "%.0f s: %d accesses, %d faults, %d aged, %d evicted, %d "
                  "aborted, %d unmapped, %d lost\n",
                  seconds, total.accesses, total.faults, total.aged,
                  total.evicted, total.aborted, total.unmapped, total.Lost());
  };
  const Outcome outcome = Driver(plan).Run();
  const bool lost = outcome.total.Lost() != 0;
  bool passed = !lost;
  absl::string_view verdict = lost ? "failed" : "passed";
  if (!options.control.empty()) {
    passed = lost;
    verdict = lost ? "caught" : "not caught";
  } else if (!lost) {
    for (const absl::string_view name : Starved(outcome.total)) {
      absl::FPrintF(stderr, "soak: %s is 0\n", name);
      passed = false;
      verdict = "starved";
    }
  }
  absl::PrintF("{\"seed\":%d,", options.seed);
  if (!options.control.empty()) {
    absl::PrintF("\"control\":\"%s\",", options.control);
  }
  absl::PrintF("\"seconds\":%.1f,\"rounds\":%d,%s,\"verdict\":\"%s\"}\n",
               outcome.seconds, outcome.rounds, ToJsonFields(outcome.total),
               verdict);
  return passed ? 0 : kFailed;
}

int Main(const std::vector<std::string>& arguments) {
  const absl::StatusOr<Options> options = ParseOptions(arguments);
  if (!options.ok()) return Fail(options.status().message());
  if (options->help) {
    std::fwrite(kUsage.data(), 1, kUsage.size(), stdout);
    return 0;
  }
  if (options->control != PTAGE_SOAK_CONTROL) {
    return Fail(absl::StrCat("--control: not built into this binary: \"",
                             options->control, "\""));
  }
  return Soak(*options);
}

}  // namespace
}  // namespace ptage::reclaim_soak

int main(int argc, char** argv) {
  // As test/hosted_main.cc does, and for its reason.
  absl::Notification never;
  never.WaitForNotificationWithTimeout(absl::Microseconds(1));
  return ptage::reclaim_soak::Main(
      std::vector<std::string>(argv + 1, argv + argc));
}
