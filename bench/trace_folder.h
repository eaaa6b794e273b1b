// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Where the page traces are, and all of them read.

#ifndef PTAGE_BENCH_TRACE_FOLDER_H_
#define PTAGE_BENCH_TRACE_FOLDER_H_

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/replay.h"
#include "bench/trace.h"

namespace ptage::bench {

// A trace, ready to be replayed.
struct LoadedTrace {
  Replay replay;
  std::uint32_t checksum;
};

// The folder: `given`, if it is not empty; else bench/traces in the program's
// runfiles, in a folder above the program (which is then inside a workspace),
// or above the current one. NotFound.
[[nodiscard]] inline absl::StatusOr<std::string> FindTraceFolder(
    const std::string& given, const std::string& program);

// Every *.trace in `folder`, the smallest file first; at most `most` of them.
// NotFound: there are none. InvalidArgument: a trace does not fit into `pages`,
// or is shorter than a burst. Else as ReadTrace says.
[[nodiscard]] inline absl::StatusOr<std::vector<LoadedTrace>> LoadTraces(
    const std::string& folder, std::uint64_t pages, std::size_t most);

// ---------------------------------------------------------------------------

inline absl::StatusOr<std::string> FindTraceFolder(const std::string& given,
                                                   const std::string& program) {
  namespace fs = std::filesystem;
  std::error_code error;
  const auto is_folder = [&](const fs::path& path) {
    return fs::is_directory(path, error);
  };
  if (!given.empty()) {
    if (is_folder(given)) return given;
    return absl::NotFoundError(absl::StrCat("--traces: no folder: ", given));
  }
  const fs::path traces = fs::path("bench") / "traces";
  std::vector<fs::path> places = {fs::path(program + ".runfiles") / "ptage"};
  for (fs::path place :
       {fs::canonical(program, error).parent_path(), fs::current_path(error)}) {
    for (; place.has_relative_path(); place = place.parent_path()) {
      places.push_back(place);
    }
  }
  for (const fs::path& place : places) {
    if (is_folder(place / traces)) return (place / traces).string();
  }
  return absl::NotFoundError(
      "no folder bench/traces beside the program or above it: give --traces");
}

inline absl::StatusOr<std::vector<LoadedTrace>> LoadTraces(
    const std::string& folder, std::uint64_t pages, std::size_t most) {
  namespace fs = std::filesystem;
  std::vector<std::pair<std::uintmax_t, fs::path>> files;
  std::error_code error;
  for (const fs::directory_entry& file :
       fs::directory_iterator(folder, error)) {
    if (file.path().extension() != ".trace") continue;
    files.emplace_back(file.file_size(error), file.path());
  }
  if (files.empty()) {
    return absl::NotFoundError(absl::StrCat("no traces in ", folder));
  }
  std::sort(files.begin(), files.end());
  if (files.size() > most) files.resize(most);
  std::vector<LoadedTrace> loaded;
  for (const auto& [size, path] : files) {
    const absl::StatusOr<Trace> trace = ReadTrace(path.string());
    if (!trace.ok()) return trace.status();
    if (trace->pages > pages) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s: %d pages do not fit into a guest of %d",
                          path.string(), trace->pages, pages));
    }
    if (trace->records.size() < kBurst) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s: %d records, want at least %d", path.string(),
                          trace->records.size(), kBurst));
    }
    loaded.push_back(
        LoadedTrace{.replay = Replay(path.stem().string(), *trace, pages),
                    .checksum = trace->crc});
  }
  return loaded;
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_TRACE_FOLDER_H_
