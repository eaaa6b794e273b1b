// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A pager of far memory: see docs/far_memory.md. Exit status: 0, the workload
// ran and its data was checked; 1, something failed, and one line says what; 2,
// bad flags.

#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/output_file.h"
#include "examples/far_memory/options.h"
#include "examples/far_memory/report.h"
#include "examples/far_memory/run.h"

namespace {

using namespace ptage::far_memory;

void PrintError(const absl::Status& status) {
  std::fprintf(stderr, "far_memory: %s\n",
               std::string(status.message()).c_str());
}

}  // namespace

int main(int argc, char** argv) {
  const absl::StatusOr<Options> options =
      ParseOptions(std::vector<std::string>(argv + 1, argv + argc));
  if (!options.ok()) {
    PrintError(options.status());
    return 2;
  }
  if (options->help) {
    std::fwrite(kUsage.data(), 1, kUsage.size(), stdout);
    return 0;
  }
  // Before the long run, so that a path that cannot be written is known at
  // once.
  std::optional<ptage::bench::OutputFile> json;
  if (!options->json.empty()) {
    absl::StatusOr<ptage::bench::OutputFile> file =
        ptage::bench::OutputFile::Open(options->json);
    if (!file.ok()) {
      PrintError(file.status());
      return 1;
    }
    json.emplace(*std::move(file));
  }
  const absl::StatusOr<Summary> summary = Run(*options);
  if (!summary.ok()) {
    PrintError(summary.status());
    return 1;
  }
  std::fputs(ToText(*summary).c_str(), stdout);
  if (json.has_value()) {
    const absl::Status written = json->Commit(ToJson(*summary));
    if (!written.ok()) {
      PrintError(written);
      return 1;
    }
  }
  return 0;
}
