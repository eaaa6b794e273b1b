// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Replays page references through page tables, and counts how often each
// replacement policy misses: the group `policy` of the metrics.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/clock.h"
#include "bench/machine_info.h"
#include "bench/metrics.h"
#include "bench/output_file.h"
#include "bench/policy/nested_suite.h"
#include "bench/policy/suite.h"
#include "bench/policy/workloads.h"
#include "bench/progress.h"
#include "bench/report.h"
#include "bench/stages.h"
#include "bench/trace.h"
#include "bench/trace_folder.h"

namespace ptage::bench {
namespace {

constexpr const char* kPolicyUsage = R"(usage: policy [flags]

Replays page references of real programs, and generated ones, through page
tables whose accessed bits they set, with memory for a part of the pages, and
counts how often each replacement policy misses.

  --json FILE     write results in Google Benchmark's JSON schema
  --check         exit with 1 if a goal is missed
  --variants      besides, at other intervals of sampling, and with look-around
                  and Bloom filters
  --only NAME     this workload alone
  --traces DIR    folder of the page traces; in held_out below it, those that
                  chose no constant
  --quick         a quarter of the generated references, and two traces of
                  each kind
  --help          print this
)";

// Each is replayed under every policy at every size; on an AMD EPYC.
constexpr double kReferencesPerSecond = 4e5;

constexpr int kMissed = 1;
constexpr int kBadFlag = 2;

int FailWith(const absl::Status& status) {
  absl::FPrintF(stderr, "policy: %s\n", status.message());
  return kBadFlag;
}

struct PolicyOptions {
  std::string json;
  std::string only;
  std::string traces;
  bool check = false;
  bool variants = false;
  bool quick = false;
  bool help = false;
};

absl::StatusOr<PolicyOptions> ParsePolicyOptions(
    const std::vector<std::string>& arguments) {
  PolicyOptions options;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    const std::size_t equals = argument.find('=');
    const std::string flag = argument.substr(0, equals);
    std::string* const value = flag == "--json"     ? &options.json
                               : flag == "--only"   ? &options.only
                               : flag == "--traces" ? &options.traces
                                                    : nullptr;
    bool* const on = argument == "--check"      ? &options.check
                     : argument == "--variants" ? &options.variants
                     : argument == "--quick"    ? &options.quick
                     : argument == "--help"     ? &options.help
                                                : nullptr;
    if (on != nullptr) {
      *on = true;
    } else if (value == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat(argument, ": no such flag"));
    } else if (equals != argument.npos) {
      *value = argument.substr(equals + 1);
    } else if (++i < arguments.size()) {
      *value = arguments[i];
    } else {
      return absl::InvalidArgumentError(absl::StrCat(flag, ": lacks a value"));
    }
    if (value != nullptr && value->empty()) {
      return absl::InvalidArgumentError(absl::StrCat(flag, ": empty value"));
    }
  }
  return options;
}

// The traces of a folder, the smallest file first; `most` at most.
absl::Status AddTraces(const std::filesystem::path& folder, bool tuned,
                       std::size_t most, std::vector<Workload>& workloads,
                       Context& context) {
  namespace fs = std::filesystem;
  std::vector<std::pair<std::uintmax_t, fs::path>> files;
  std::error_code error;
  for (const fs::directory_entry& file :
       fs::directory_iterator(folder, error)) {
    if (file.path().extension() != ".trace") continue;
    files.emplace_back(file.file_size(error), file.path());
  }
  std::sort(files.begin(), files.end());
  if (files.size() > most) files.resize(most);
  for (const auto& [size, path] : files) {
    const absl::StatusOr<Trace> trace = ReadTrace(path.string());
    if (!trace.ok()) return trace.status();
    const std::string name = path.stem().string();
    workloads.push_back(FromTrace(name, *trace));
    workloads.back().tuned = tuned;
    context.texts.emplace_back(absl::StrCat("trace_", name, "_crc32"),
                               absl::StrFormat("%08x", trace->crc));
  }
  return absl::OkStatus();
}

// The traces, those that chose constants first, and what is generated.
absl::StatusOr<std::vector<Workload>> LoadWorkloads(
    const PolicyOptions& options, const std::string& program,
    Context& context) {
  const absl::StatusOr<std::string> folder =
      FindTraceFolder(options.traces, program);
  if (!folder.ok()) return folder.status();
  const std::filesystem::path path = *folder;
  const std::size_t most = options.quick ? 2 : SIZE_MAX;
  std::vector<Workload> workloads;
  absl::Status read = AddTraces(path, true, most, workloads, context);
  // Absent beside traces of the user's own.
  read.Update(AddTraces(path / "held_out", false, most, workloads, context));
  if (!read.ok()) return read;
  const std::size_t length = std::size_t{1} << (options.quick ? 18 : 20);
  for (Workload& workload : GeneratedWorkloads(length)) {
    workloads.push_back(std::move(workload));
  }
  if (options.only.empty()) return workloads;
  std::erase_if(workloads, [&](const Workload& workload) {
    return workload.name != options.only;
  });
  if (workloads.empty()) {
    return absl::NotFoundError(
        absl::StrCat("--only: no such workload: ", options.only));
  }
  return workloads;
}

int PolicyMain(const std::vector<std::string>& arguments,
               const std::string& program) {
  const absl::StatusOr<PolicyOptions> options = ParsePolicyOptions(arguments);
  if (!options.ok()) return FailWith(options.status());
  if (options->help) {
    absl::PrintF("%s", kPolicyUsage);
    return 0;
  }
  std::optional<OutputFile> json;
  if (!options->json.empty()) {
    absl::StatusOr<OutputFile> file = OutputFile::Open(options->json);
    if (!file.ok()) return FailWith(file.status());
    json.emplace(*std::move(file));
  }
  Context context = MachineContext();
  const absl::StatusOr<std::vector<Workload>> workloads =
      LoadWorkloads(*options, program, context);
  if (!workloads.ok()) return FailWith(workloads.status());

  const TickRate rate;
  PolicySuite suite(rate);
  NestedSuite nested;
  std::vector<Progress::Stage> stages;
  for (const Workload& workload : *workloads) {
    stages.push_back(
        {workload.name, static_cast<double>(workload.references.size()) /
                            kReferencesPerSecond});
  }
  Progress progress = OnScreen(std::move(stages), rate);
  for (std::size_t i = 0; i < workloads->size(); ++i) {
    const Workload& workload = (*workloads)[i];
    progress.Begin(i);
    std::size_t cells = 0;
    const auto go_on = [&](const std::string& what) {
      constexpr std::size_t kCells =
          std::size(kPolicySizes) + std::size(kNestedSizes);
      progress.Doing(what);
      progress.Done(static_cast<double>(cells++) / double{kCells});
      return true;
    };
    suite.Run(workload, options->variants, go_on);
    nested.Run(workload, go_on);
  }
  progress.End();
  absl::PrintF("%s\n%s\n", suite.Table(), nested.Table());

  Figures figures;
  suite.AddFigures(figures);
  nested.AddFigures(figures);
  std::vector<Metric> metrics = AllMetrics();
  for (Metric& metric : metrics) metric.built = true;
  const auto is_ours = [&](const std::string& id) {
    return id.rfind("policy/", 0) == 0 && id.find('<') == id.npos;
  };
  const std::vector<Judged> judged = JudgeAll(metrics, figures, is_ours);
  absl::PrintF("%s", MetricsTable(judged));
  if (json.has_value()) {
    std::vector<Judged> all = judged;
    for (const auto& [id, figure] : figures) {
      const bool listed = std::any_of(
          judged.begin(), judged.end(),
          [&, &name = id](const Judged& one) { return one.metric.id == name; });
      if (listed) continue;
      all.push_back(Judged{
          .metric = Metric{.id = id, .higher_is_better = false, .built = true},
          .figure = figure,
          .verdict = Verdict::kReported});
    }
    const absl::Status written = json->Commit(ToJson(context, all));
    if (!written.ok()) return FailWith(written);
  }
  return options->check && AnyMissed(judged) ? kMissed : 0;
}

}  // namespace
}  // namespace ptage::bench

int main(int argc, char** argv) {
  return ptage::bench::PolicyMain(
      std::vector<std::string>(argv + 1, argv + argc), argv[0]);
}
