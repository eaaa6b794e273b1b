// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The contended benchmark: what it costs a guest, in translations and faults,
// that its pages are aged, by the library and by the designs that it rejects.

#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <optional>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "bench/clock.h"
#include "bench/contender.h"
#include "bench/figures.h"
#include "bench/guest.h"
#include "bench/inner_suite.h"
#include "bench/machine_info.h"
#include "bench/measurements.h"
#include "bench/memory_suite.h"
#include "bench/metrics.h"
#include "bench/mmu_suite.h"
#include "bench/options.h"
#include "bench/output_file.h"
#include "bench/progress.h"
#include "bench/reclaim_suite.h"
#include "bench/report.h"
#include "bench/rmap_contended.h"
#include "bench/rmap_suite.h"
#include "bench/run.h"
#include "bench/setter.h"
#include "bench/sizes.h"
#include "bench/stages.h"
#include "bench/table.h"
#include "bench/team.h"
#include "bench/trace_folder.h"
#include "bench/walk_suite.h"

namespace ptage::bench {
namespace {

constexpr int kGoalMissed = 1;
constexpr int kBadUse = 2;
constexpr int kInterrupted = 128 + SIGINT;

volatile std::sig_atomic_t interrupted = 0;

void Interrupt(int) { interrupted = 1; }

int Fail(const absl::Status& status) {
  absl::FPrintF(stderr, "contention: %s\n", status.message());
  return kBadUse;
}

// How long the parts of a run may take, and what they are made of.
struct Scale {
  double window_ms;
  // Time from one request to flush, and one start of a pass, to the next, for
  // each page of the guest.
  double period_ns_per_page;
  // Of the rounds.
  double seconds;
  std::size_t traces;
  std::size_t rmap_entries;
  std::uint64_t rmap_rounds;
};

// A pass of the full guest takes 8 ms at least, and sees about 1,000 zaps.
// Short windows hold three starts of shorter ones.
constexpr double kZapsPerMs = 120;
constexpr Scale kFull = {.window_ms = 30,
                         .period_ns_per_page = 30,
                         .seconds = 500,
                         .traces = 64,
                         .rmap_entries = std::size_t{1} << 24,
                         .rmap_rounds = 15};
constexpr Scale kQuick = {.window_ms = 3.5,
                          .period_ns_per_page = 20,
                          .seconds = 30,
                          .traces = 2,
                          .rmap_entries = std::size_t{1} << 21,
                          .rmap_rounds = 7};

constexpr std::uint64_t kRounds = 100;
// Over sizes: more of them, as windows are shorter.
constexpr std::uint64_t kSizedRounds = 150;
constexpr std::size_t kSetterTables = 1;

// Of a guest of this size, in milliseconds: a whole pass begins in it, and ends
// unless the guest is so large that the window is as long as without sizes. The
// shorter, the fewer windows in which a thread loses its CPU.
double SizedWindowMs(const Scale& scale, std::uint64_t pages) {
  const double period =
      scale.period_ns_per_page * static_cast<double>(pages) / 1e6;
  return std::min(scale.window_ms, std::max(8.0, 1.25 * period));
}

// Of the reclamation schemes: about 12 seconds; of a quick run, 2.
ReclaimPlan PlanOfReclaim(bool quick) {
  return ReclaimPlan{.rounds = quick ? 25u : 100u,
                     .read_ns = quick ? 0.5e6 : 1e6,
                     .grace_ns = quick ? 0.5e6 : 1e6,
                     .retire_ns = quick ? 2e6 : 4e6};
}

// Whether any id of a guest's configuration is wanted.
bool IsWanted(const std::optional<std::regex>& filter, GuestKind kind,
              const Config& config) {
  if (!filter.has_value()) return true;
  const std::string guest = NameOf(kind);
  for (const Contender contender : kContenders) {
    std::vector<Metric> metrics;
    internal::AddContender(guest, TraitsOf(contender).name, config.name,
                           metrics);
    for (const Metric& metric : metrics) {
      if (std::regex_search(metric.id, *filter)) return true;
    }
  }
  return false;
}

// The same of a run over sizes, whose figures are named by size too.
bool IsWantedSized(const std::optional<std::regex>& filter, GuestKind kind,
                   const Config& config) {
  if (!IsSized(config)) return false;
  if (!filter.has_value()) return true;
  return std::regex_search(
      absl::StrCat("contention/", NameOf(kind), config.name), *filter);
}

// What a run says of how its machine and its traces are.
Context ContextOf(const Options& options,
                  const std::vector<LoadedTrace>& traces) {
  Context context = MachineContext();
  context.numbers.emplace_back("seed", static_cast<double>(options.seed));
  context.numbers.emplace_back("zaps_per_ms", kZapsPerMs);
  context.numbers.emplace_back("splits_per_ms",
                               static_cast<double>(options.splits));
  for (const LoadedTrace& trace : traces) {
    context.texts.emplace_back(
        absl::StrCat("trace_", trace.replay.name(), "_crc32"),
        absl::StrFormat("%08x", trace.checksum));
  }
  return context;
}

std::vector<Replay> ReplaysOf(std::vector<LoadedTrace> traces) {
  std::vector<Replay> replays;
  for (LoadedTrace& trace : traces) replays.push_back(std::move(trace.replay));
  return replays;
}

// But for the sizes of guests and what they are run for.
RunPlan PlanOf(const Options& options, const Scale& scale,
               std::uint64_t pages) {
  RunPlan plan;
  plan.pages = pages;
  plan.seed = options.seed;
  plan.rounds = kRounds;
  plan.window_ns = scale.window_ms * 1e6;
  plan.period_ns = scale.period_ns_per_page * static_cast<double>(pages);
  plan.zaps_per_ms = kZapsPerMs;
  plan.splits_per_ms = static_cast<double>(options.splits);
  plan.seconds = scale.seconds;
  return plan;
}

void PrintHits(const ConfigResult& config, const std::vector<Replay>& replays) {
  const SlotResult* const ours = config.Find(Contender::kFastOnly);
  absl::PrintF("TLB hits of fast_only%s, by trace:", config.config.name);
  for (std::size_t i = 0; i < replays.size(); ++i) {
    const auto all = static_cast<double>(ours->translations_by_trace[i]);
    const auto walks = static_cast<double>(ours->walks_by_trace[i]);
    if (all > 0) {
      absl::PrintF(" %s %.3f", replays[i].name(), 1 - walks / all);
    }
  }
  if (config.config.evict && ours->passes != 0) {
    absl::PrintF("; zaps per pass %.0f", static_cast<double>(ours->zaps) /
                                             static_cast<double>(ours->passes));
  }
  absl::PrintF("\n");
}

void PrintTables(const RunResult& result, const std::vector<Replay>& replays) {
  for (const GuestResult& guest : result.guests) {
    absl::PrintF("\nGuest %s\n%s", NameOf(guest.kind), GuestTable(guest));
    for (const ConfigResult& config : guest.configs) {
      const std::string loads = LoadTable(config);
      if (loads.empty()) continue;
      absl::PrintF("%s%s", config.config.evict ? "with eviction: " : "", loads);
    }
    if (guest.in_lists != 0) {
      absl::PrintF("%d of %d entries share their rmap: %.5f\n", guest.in_lists,
                   guest.mapped,
                   static_cast<double>(guest.in_lists) /
                       static_cast<double>(guest.mapped));
    }
    for (const ConfigResult& config : guest.configs) {
      PrintHits(config, replays);
    }
  }
}

// The guests of every size, one after another.
int RunSizes(const Options& options, const Scale& scale,
             const std::vector<std::uint64_t>& sizes, const std::string& folder,
             const std::optional<std::regex>& filter, const TickRate& rate,
             Team& team, Context context, std::optional<OutputFile>& json) {
  std::vector<SizedRun> runs;
  std::vector<Progress::Stage> stages;
  double windows_ms = 0;
  for (const std::uint64_t pages : sizes) {
    windows_ms += SizedWindowMs(scale, pages);
  }
  // Each size gets time for as many windows as the others.
  const auto seconds = [&](std::uint64_t pages) {
    return scale.seconds * SizedWindowMs(scale, pages) / windows_ms;
  };
  for (const std::uint64_t pages : sizes) {
    stages.push_back(
        {absl::StrCat("guests of ", pages, " pages"), seconds(pages)});
  }
  Progress progress = OnScreen(std::move(stages), rate);
  for (const std::uint64_t pages : sizes) {
    absl::StatusOr<std::vector<LoadedTrace>> traces =
        LoadTraces(folder, pages, scale.traces);
    if (!traces.ok()) return Fail(traces.status());
    const std::vector<Replay> replays = ReplaysOf(*std::move(traces));
    RunPlan plan = PlanOf(options, scale, pages);
    plan.vcpus = team.size();
    plan.rounds = kSizedRounds;
    plan.window_ns = SizedWindowMs(scale, pages) * 1e6;
    plan.seconds = seconds(pages);
    plan.contenders.assign(std::begin(kSizedContenders),
                           std::end(kSizedContenders));
    plan.wanted = [&](GuestKind kind, const Config& config) {
      return IsWantedSized(filter, kind, config);
    };
    progress.Begin(runs.size());
    plan.progress = [&](std::uint64_t rounds, std::uint64_t dropped) {
      progress.Rounds(rounds, kSizedRounds, dropped, plan.seconds);
      return interrupted == 0;
    };
    Runner runner(plan, replays, rate, team);
    const absl::Status ready = runner.SetUp();
    if (!ready.ok()) return Fail(ready);
    runs.push_back(SizedRun{.pages = pages, .result = runner.Run()});
    progress.End();
    if (interrupted != 0) return kInterrupted;
    const RunResult& result = runs.back().result;
    absl::PrintF("%d pages: %d rounds, %d windows, %d of them dropped\n", pages,
                 result.rounds, result.windows, result.dropped);
  }
  absl::PrintF("\n%s", SizesTable(runs));
  if (json.has_value()) {
    Figures figures;
    AddSizedFigures(runs, figures);
    const auto all = [](const std::string&) { return true; };
    const absl::Status written = json->Commit(
        ToJson(context, {}, {{"contention_sizes", FiguresJson(figures, all)}}));
    if (!written.ok()) return Fail(written);
  }
  return 0;
}

int Main(const std::vector<std::string>& arguments,
         const std::string& program) {
  const absl::StatusOr<Options> options = ParseOptions(arguments);
  if (!options.ok()) return Fail(options.status());
  if (options->help) {
    std::fwrite(kUsage.data(), 1, kUsage.size(), stdout);
    return 0;
  }
  const std::vector<int> cpus = UsableCpus();
  if (cpus.size() < 2) {
    return Fail(absl::FailedPreconditionError(
        "needs two CPUs, one for a guest and one to age it; this process may "
        "use one"));
  }
  std::optional<std::regex> filter;
  if (!options->filter.empty()) filter = *ParseFilter(options->filter);
  const Scale& scale = options->quick ? kQuick : kFull;
  std::vector<std::uint64_t> sizes = options->sizes;
  if (sizes.empty()) sizes.push_back(options->Pages());
  for (std::uint64_t& size : sizes) size = size / kBlockFrames * kBlockFrames;
  const std::uint64_t pages = sizes[0];

  std::optional<OutputFile> json;
  if (!options->json.empty()) {
    absl::StatusOr<OutputFile> file = OutputFile::Open(options->json);
    if (!file.ok()) return Fail(file.status());
    json.emplace(*std::move(file));
  }
  const absl::StatusOr<std::string> folder =
      FindTraceFolder(options->traces, program);
  if (!folder.ok()) return Fail(folder.status());
  absl::StatusOr<std::vector<LoadedTrace>> traces = LoadTraces(
      *folder, *std::min_element(sizes.begin(), sizes.end()), scale.traces);
  if (!traces.ok()) return Fail(traces.status());

  std::signal(SIGINT, Interrupt);
  std::signal(SIGTERM, Interrupt);

  Context context = ContextOf(*options, *traces);
  for (const auto& [name, value] : context.texts) {
    absl::PrintF("%s: %s\n", name, value);
  }
  const bool sized = !options->sizes.empty();
  const std::string windows_ms =
      sized ? absl::StrJoin(sizes, ", ",
                            [&](std::string* out, std::uint64_t size) {
                              absl::StrAppend(out, SizedWindowMs(scale, size));
                            })
            : absl::StrCat(scale.window_ms);
  if (sized) {
    context.texts.emplace_back("window_ms", windows_ms);
  } else {
    context.numbers.emplace_back("window_ms", scale.window_ms);
  }
  absl::PrintF(
      "guest: %s pages; seed %d; %d rounds of %s ms windows; eviction of "
      "%.0f pages a ms; splits and promotions of %d a ms; a request to flush "
      "every %g ns a page\n",
      absl::StrJoin(sizes, ", "), options->seed, sized ? kSizedRounds : kRounds,
      windows_ms, kZapsPerMs, options->splits, scale.period_ns_per_page);
  std::fflush(stdout);

  // Whoever runs beside this costs windows. The threads made below inherit it.
  const bool raised = setpriority(PRIO_PROCESS, 0, -20) == 0;
  context.texts.emplace_back("priority", raised ? "raised" : "normal");
  absl::PrintF("priority: %s\n", raised ? "raised" : "normal");

  // One CPU for this thread, which ages; a vCPU on each of the others.
  const TickRate rate;
  Team team(std::vector<int>(cpus.begin() + 1, cpus.end()));
  PinTo(cpus[0]);

  if (sized) {
    return RunSizes(*options, scale, sizes, *folder, filter, rate, team,
                    std::move(context), json);
  }
  context.numbers.emplace_back("pages", static_cast<double>(pages));
  const std::vector<Replay> replays = ReplaysOf(*std::move(traces));
  RunPlan plan = PlanOf(*options, scale, pages);
  plan.vcpus = team.size();
  plan.wanted = [&](GuestKind kind, const Config& config) {
    return IsWanted(filter, kind, config);
  };
  const auto wanted = [&](const std::string& id) {
    return !filter.has_value() || std::regex_search(id, *filter);
  };
  Progress progress = OnScreen(
      StagesOf(wanted, options->quick ? Length::kQuick : Length::kFull), rate);
  plan.progress = [&](std::uint64_t rounds, std::uint64_t dropped) {
    progress.Rounds(rounds, kRounds, dropped, plan.seconds);
    return interrupted == 0;
  };
  const auto go_on = [&] {
    progress.Show();
    return interrupted == 0;
  };
  const auto doing = [&](const std::string& what) { progress.Doing(what); };
  Runner runner(plan, replays, rate, team);
  const absl::Status ready = runner.SetUp();
  if (!ready.ok()) return Fail(ready);
  const RunResult result = runner.Run();

  Figures figures;
  AddFigures(result, figures);
  std::vector<Measurement> measured;
  AddRates(result, measured);
  progress.Begin(kSetterPart);
  if (interrupted == 0 && (wanted("contention/setter/vs_ticket") ||
                           wanted("contention/setter/vs_spin"))) {
    SetterModel(kSetterTables, team)
        .Run(kRounds, scale.window_ms * 1e6 / 4, options->seed, rate, go_on,
             figures);
  }
  RmapPlan rmap_plan;
  rmap_plan.entries = scale.rmap_entries;
  rmap_plan.rounds = scale.rmap_rounds;
  rmap_plan.seed = options->seed;
  rmap_plan.wanted = wanted;
  rmap_plan.go_on = go_on;
  rmap_plan.doing = doing;
  progress.Begin(kRmapPart);
  RmapSuite rmap_suite(rmap_plan, rate);
  rmap_suite.Run(figures);
  WalkPlan walk_plan;
  walk_plan.tables = scale.rmap_entries / kEntriesPerTable<Ept>;
  walk_plan.rounds = scale.rmap_rounds;
  walk_plan.seed = options->seed;
  walk_plan.wanted = wanted;
  walk_plan.go_on = go_on;
  walk_plan.doing = doing;
  progress.Begin(kWalkPart);
  WalkSuite walk_suite(walk_plan, rate, team);
  walk_suite.Run(figures);
  progress.Begin(kInnerPart);
  InnerSuite inner_suite(walk_plan, rate, team);
  inner_suite.Run(figures);
  progress.Begin(kMmuPart);
  MmuSuite mmu_suite(walk_plan, rate, team);
  mmu_suite.Run(figures);
  ContendedPlan contended_plan;
  contended_plan.rounds = options->quick ? 10 : 100;
  contended_plan.window_ns = 8e6;
  contended_plan.seed = options->seed;
  contended_plan.wanted = wanted;
  contended_plan.go_on = go_on;
  progress.Begin(kContendedPart);
  ContendedRmaps contended_rmaps(contended_plan, rate, team);
  contended_rmaps.Run(figures);
  progress.Begin(kReclaimPart);
  ReclaimSuite reclaim(team, rate);
  if (interrupted == 0) {
    ReclaimPlan reclaim_plan = PlanOfReclaim(options->quick);
    reclaim_plan.seed = options->seed;
    reclaim_plan.wanted = wanted;
    reclaim_plan.progress = [&](std::uint64_t rounds, std::uint64_t dropped) {
      progress.Rounds(rounds, reclaim_plan.rounds, dropped,
                      2 * reclaim.Seconds(reclaim_plan));
      return interrupted == 0;
    };
    reclaim.Run(reclaim_plan, figures);
  }
  progress.End();
  if (interrupted != 0) return kInterrupted;
  AddMemoryFigures(figures);

  PrintTables(result, replays);
  const std::string rmaps = rmap_suite.Table();
  if (!rmaps.empty()) absl::PrintF("\n%s", rmaps);
  const std::string walks = walk_suite.Table();
  if (!walks.empty()) absl::PrintF("\n%s", walks);
  const std::string inner = inner_suite.Table();
  if (!inner.empty()) absl::PrintF("\n%s", inner);
  const std::string mmus = mmu_suite.Table();
  if (!mmus.empty()) absl::PrintF("\n%s", mmus);
  const std::string contended = contended_rmaps.Table();
  if (!contended.empty()) absl::PrintF("\n%s", contended);
  absl::PrintF(
      "\n%d rounds, %d windows, %d of them dropped: a thread lost its "
      "CPU\n",
      result.rounds, result.windows, result.dropped);
  const std::string reclaim_table = reclaim.TableText();
  if (!reclaim_table.empty()) absl::PrintF("\n%s", reclaim_table);
  for (const std::vector<Measurement>& more :
       {rmap_suite.measurements(), walk_suite.measurements(),
        inner_suite.measurements(), mmu_suite.measurements(),
        reclaim.Measurements()}) {
    measured.insert(measured.end(), more.begin(), more.end());
  }
  const std::vector<Judged> judged = JudgeAll(AllMetrics(), figures, wanted);
  if (options->metrics) absl::PrintF("\n%s", MetricsTable(judged));
  if (json.has_value()) {
    context.numbers.emplace_back("rounds", static_cast<double>(result.rounds));
    context.numbers.emplace_back("windows_dropped",
                                 static_cast<double>(result.dropped));
    const absl::Status written = json->Commit(ToJson(
        context, judged,
        {{"measured", MeasurementsJson(measured)},
         {"contention_faults", FaultsJson(result)},
         {"rmap_scan_latencies", contended_rmaps.LatencyJson()},
         {"contention_splits", FiguresJson(figures, [&](const std::string& id) {
            return id.find("/splits") != id.npos && wanted(id);
          })}}));
    if (!written.ok()) return Fail(written);
  }
  return options->check && AnyMissed(judged) ? kGoalMissed : 0;
}

}  // namespace
}  // namespace ptage::bench

int main(int argc, char** argv) {
  return ptage::bench::Main(std::vector<std::string>(argv + 1, argv + argc),
                            argv[0]);
}
