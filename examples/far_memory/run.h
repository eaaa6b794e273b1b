// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A run: the workload over the pager, as the options say.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_RUN_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_RUN_H_

#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "examples/far_memory/clock.h"
#include "examples/far_memory/compressed_store.h"
#include "examples/far_memory/direct_memory.h"
#include "examples/far_memory/failure.h"
#include "examples/far_memory/fifo.h"
#include "examples/far_memory/file_store.h"
#include "examples/far_memory/frames.h"
#include "examples/far_memory/generations.h"
#include "examples/far_memory/handler.h"
#include "examples/far_memory/moves_workload.h"
#include "examples/far_memory/options.h"
#include "examples/far_memory/pager.h"
#include "examples/far_memory/policy.h"
#include "examples/far_memory/report.h"
#include "examples/far_memory/shared_state.h"
#include "examples/far_memory/software.h"
#include "examples/far_memory/store.h"
#include "examples/far_memory/uffd.h"
#include "examples/far_memory/watchdog.h"
#include "examples/far_memory/workload.h"
#include "ptage/once.h"

namespace ptage::far_memory {

// The data was checked, or an error says why not. The caller has one thread.
[[nodiscard]] absl::StatusOr<Summary> Run(const Options& options);

// ---------------------------------------------------------------------------

namespace internal {

// Calls `run` with the policy's type, in a std::type_identity. A new policy
// gets its flag in options.h, and its line here.
template <class Visit>
auto WithPolicy(PolicyName name, Visit&& run) {
  switch (name) {
    case PolicyName::kFifo:
      return run(std::type_identity<Fifo>());
    case PolicyName::kGenerations:
      return run(std::type_identity<Generations>());
    case PolicyName::kClock:
      break;
  }
  return run(std::type_identity<Clock>());
}

inline absl::StatusOr<std::unique_ptr<PageStore>> MakeStore(
    const Options& options) {
  std::unique_ptr<PageStore> store;
  if (options.store == StoreName::kFile) {
    absl::StatusOr<std::unique_ptr<FileStore>> made =
        FileStore::Create(options.file, options.Pages());
    if (!made.ok()) return made.status();
    store = *std::move(made);
  } else {
    absl::StatusOr<std::unique_ptr<CompressedStore>> made =
        CompressedStore::Create(options.Pages(),
                                options.store_mib.has_value()
                                    ? *options.store_mib << 20
                                    : CompressedStore::kNoLimit);
    if (!made.ok()) return made.status();
    store = *std::move(made);
  }
  return std::make_unique<FailingStore>(std::move(store), options.failure);
}

template <WorkloadMemory M>
absl::Status RunWorkloads(const Options& options, M& memory,
                          Progress& progress) {
  if (options.workload != WorkloadName::kTable) {
    const absl::Status sorted = RunSort(memory, progress);
    if (!sorted.ok() || options.workload == WorkloadName::kSort) return sorted;
    const absl::Status discarded = memory.DiscardAll();
    if (!discarded.ok()) return discarded;
  }
  return RunTable(memory, options.Operations(), options.seed, progress);
}

// The line on standard error: a terminal's last line ten times a second, or
// else a line every five seconds.
class LiveOutput {
 public:
  LiveOutput(const SharedState& shared, bool quiet)
      : shared_(shared), quiet_(quiet), terminal_(isatty(STDERR_FILENO) != 0) {}
  ~LiveOutput() {
    if (terminal_ && shown_) std::fputc('\n', stderr);
  }
  LiveOutput(const LiveOutput&) = delete;
  LiveOutput& operator=(const LiveOutput&) = delete;

  void Show(const PagerStats& stats) {
    if (quiet_) return;
    const double now = Now();
    const std::uint64_t phase = ReadOnce(shared_.phase, kRelaxed);
    const std::uint64_t done = ReadOnce(shared_.done, kRelaxed);
    if (phase != phase_ || done < done_) {
      phase_ = phase;
      done_ = 0;
      phase_began_ = now;
    }
    if (now - shown_at_ < (terminal_ ? 0.1 : 5.0)) return;
    done_ = done;
    const double rate = now > phase_began_
                            ? static_cast<double>(done) / (now - phase_began_)
                            : 0;
    std::fprintf(stderr, terminal_ ? "\r\033[K%s" : "%s\n",
                 LiveLine(shared_, stats, rate).c_str());
    std::fflush(stderr);
    shown_at_ = now;
    shown_ = true;
  }

 private:
  static double Now() {
    timespec now = {};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<double>(now.tv_sec) +
           static_cast<double>(now.tv_nsec) * 1e-9;
  }

  const SharedState& shared_;
  const bool quiet_;
  const bool terminal_;
  bool shown_ = false;
  double shown_at_ = Now();
  double phase_began_ = shown_at_;
  std::uint64_t phase_ = 0;
  std::uint64_t done_ = 0;
};

// One process, the pager called by the accessor.
template <ReplacementPolicy P>
absl::StatusOr<PagerStats> RunSoftware(const Options& options,
                                       const Frames& frames, PageStore& store,
                                       SharedState& shared) {
  SoftwareBacking backing(frames);
  using PagerType = Pager<P, SoftwareBacking>;
  PagerType pager(options.Pages(), options.Limit(), store, backing);
  auto memory = SoftwareMemory<PagerType>::Create(frames, pager);
  if (!memory.ok()) return memory.status();
  Progress progress(shared);
  LiveOutput live(shared, options.quiet);
  progress.OnAdd([&] { live.Show(pager.stats()); });
  const absl::Status done = RunWorkloads(options, **memory, progress);
  if (!done.ok()) return done;
  return pager.stats();
}

// Three processes.
template <ReplacementPolicy P>
absl::StatusOr<PagerStats> RunUserfaultfd(const Options& options,
                                          const Frames& frames,
                                          PageStore& store,
                                          SharedState& shared) {
  LiveOutput live(shared, options.quiet);
  WatchedProcesses processes;
  processes.workload =
      [&](const std::function<absl::Status(const Handover&)>& ready) {
        absl::StatusOr<DirectMemory> memory = DirectMemory::Map(frames);
        if (!memory.ok()) return memory.status();
        const absl::StatusOr<Uffd> uffd = Uffd::Open();
        if (!uffd.ok()) return uffd.status();
        const auto at = reinterpret_cast<std::uintptr_t>(memory->base());
        absl::Status status = uffd->Register(at, memory->bytes());
        if (status.ok()) status = ready({.file = uffd->file(), .at = at});
        if (!status.ok()) return status;
        Progress progress(shared);
        if (options.workload == WorkloadName::kMoves) {
          return RunMoves(*memory, progress);
        }
        return RunWorkloads(options, *memory, progress);
      };
  processes.handler = [&](const Uffd& uffd, std::uintptr_t at) {
    Handler<P> handler(uffd, frames, at, options.Limit(), store,
                       options.failure, shared);
    return handler.Run();
  };
  processes.look = [&] { live.Show(shared.stats.Read()); };
  const absl::Status done = RunWatched(processes, options.patience, shared);
  if (!done.ok()) return done;
  return shared.stats.Read();
}

}  // namespace internal

inline absl::StatusOr<Summary> Run(const Options& options) {
  bool software = options.access == Access::kSoftware;
  if (!software) {
    const absl::Status can = Uffd::Open().status();
    if (!can.ok() && (options.access == Access::kUserfaultfd ||
                      options.workload == WorkloadName::kMoves)) {
      return can;
    }
    software = !can.ok();
    if (software) {
      std::fprintf(stderr, "far_memory: by software, since %s\n",
                   std::string(can.message()).c_str());
    }
  }
  const absl::StatusOr<SharedStatePtr> shared = MakeSharedState();
  if (!shared.ok()) return shared.status();
  const absl::StatusOr<Frames> frames = Frames::Create(options.Pages());
  if (!frames.ok()) return frames.status();
  const absl::StatusOr<std::unique_ptr<PageStore>> store =
      internal::MakeStore(options);
  if (!store.ok()) return store.status();
  Summary summary;
  summary.access = software ? "software" : "userfaultfd";
  summary.pages = options.Pages();
  summary.limit = options.Limit();
  const absl::StatusOr<PagerStats> stats =
      internal::WithPolicy(options.policy, [&]<class P>(std::type_identity<P>) {
        summary.policy = P::kName;
        return software ? internal::RunSoftware<P>(options, *frames, **store,
                                                   **shared)
                        : internal::RunUserfaultfd<P>(options, *frames, **store,
                                                      **shared);
      });
  if (!stats.ok()) return stats.status();
  summary.stats = *stats;
  AddPhases(**shared, summary);
  return summary;
}

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_RUN_H_
