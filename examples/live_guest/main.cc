// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The working set of a running guest: see docs/live_guest.md and --help.

#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/output_file.h"
#include "examples/live_guest/guest.h"
#include "examples/live_guest/json_lines.h"
#include "examples/live_guest/options.h"
#include "examples/live_guest/picture.h"
#include "examples/live_guest/sampler.h"
#include "examples/live_guest/view.h"
#include "ptage/types.h"

namespace {

using namespace ptage::live_guest;

volatile std::sig_atomic_t stopped = 0;

int Fail(int status, const absl::Status& error) {
  std::fprintf(stderr, "wss: %s\n", std::string(error.message()).c_str());
  return status;
}

// False: nobody reads any more.
bool Print(const std::string& text) {
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
         std::fflush(stdout) == 0;
}

// Until it is stopped, there were enough, or something failed.
absl::Status Watch(Guest& guest, const Options& options, Picture& picture) {
  const bool refresh = !options.json && isatty(STDOUT_FILENO) == 1;
  const std::string title = GuestToText(guest, options);
  if (!Print(options.json ? GuestToJson(guest, options) + "\n"
             : refresh    ? ""
                          : title)) {
    return absl::OkStatus();
  }
  Sampler sampler(
      guest,
      SamplerOptions{
          .interval = absl::Milliseconds(options.interval_ms),
          .look = absl::Milliseconds(options.look_ms),
          .action = options.clear ? ptage::AgeAction::kTestAndClear
                                  : ptage::AgeAction::kTest,
          .pause = options.pause ? PassPause::kPaused : PassPause::kRunning});
  for (std::uint64_t i = 0; options.samples == 0 || i < options.samples; ++i) {
    const absl::StatusOr<Sample> sample =
        sampler.Next([] { return stopped == 0; });
    if (absl::IsCancelled(sample.status())) break;
    if (!sample.ok()) return sample.status();
    if (!options.svg.empty()) picture.Add(*sample);
    const std::string text =
        options.json ? SampleToJson(*sample) + "\n"
        : refresh    ? "\033[H\033[J" + title + SampleToText(*sample, options)
                     : "\n" + SampleToText(*sample, options);
    if (!Print(text)) break;
  }
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  const absl::StatusOr<Options> options =
      ParseOptions(std::vector<std::string>(argv + 1, argv + argc));
  if (!options.ok()) return Fail(2, options.status());
  if (options->help) {
    std::fwrite(kUsage.data(), 1, kUsage.size(), stdout);
    return 0;
  }
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    std::signal(signal, [](int) { stopped = 1; });
  }
  std::signal(SIGPIPE, SIG_IGN);
  // Before the long run, so that a path that cannot be written is known at
  // once.
  std::optional<ptage::bench::OutputFile> svg;
  if (!options->svg.empty()) {
    auto file = ptage::bench::OutputFile::Open(options->svg);
    if (!file.ok()) return Fail(1, file.status());
    svg.emplace(*std::move(file));
  }
  const absl::StatusOr<std::unique_ptr<Guest>> guest =
      Guest::Open(options->qmp, options->clear ? RamAccess::kReadWrite
                                               : RamAccess::kReadOnly);
  if (!guest.ok()) return Fail(2, guest.status());
  Picture picture;
  const absl::Status watched = Watch(**guest, *options, picture);
  if (svg.has_value()) {
    const absl::Status written = svg->Commit(picture.Draw());
    if (!written.ok()) return Fail(1, written);
  }
  if (absl::IsFailedPrecondition(watched)) return Fail(2, watched);
  if (!watched.ok()) return Fail(1, watched);
  return 0;
}
