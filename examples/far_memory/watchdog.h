// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The watchdog: starts the workload and the fault handler as its children, and
// sees to it that neither goes on without the other.
//
// Contract
//   It keeps the userfaultfd open, so that a fault that nobody answers waits,
//   and is never answered with zeros. If the handler dies, gives up or stands
//   still for longer than it may, the workload is killed, in whatever fault it
//   is. If the watchdog itself dies, the kernel kills both; the workload holds
//   its own userfaultfd open for the moment in between.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_WATCHDOG_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_WATCHDOG_H_

#include <signal.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "examples/far_memory/channel.h"
#include "examples/far_memory/shared_state.h"
#include "examples/far_memory/uffd.h"
#include "ptage/once.h"

namespace ptage::far_memory {

struct WatchedProcesses {
  // In the workload's process: maps its data, opens and registers a
  // userfaultfd, and hands it over, by `ready`; then does its work, when
  // `ready` returns. What it says becomes the workload's last words.
  std::function<absl::Status(
      const std::function<absl::Status(const Handover&)>& ready)>
      workload;
  // In the handler's process.
  std::function<absl::Status(const Uffd& uffd, std::uintptr_t at)> handler;
  // In the watchdog, ten times a second.
  std::function<void()> look;
};

// Runs both until the workload is done. An error says which of them failed, and
// how. The caller has one thread.
[[nodiscard]] absl::Status RunWatched(const WatchedProcesses& processes,
                                      std::uint64_t patience_seconds,
                                      SharedState& shared);

// ---------------------------------------------------------------------------

namespace internal {

// A child that does not outlive its parent, nor this object.
class Child {
 public:
  Child() = default;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() { Kill(); }

  // `run` is the child's whole life; what it says goes to `words`.
  template <class Run>
  absl::Status Start(LastWords& words, Run&& run) {
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ < 0) return absl::ErrnoToStatus(errno, "fork");
    if (pid_ != 0) return absl::OkStatus();
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, nullptr);
    const absl::Status status = run();
    if (!status.ok()) words.Set(status);
    // The parent's buffers and destructors are not the child's business.
    _exit(status.ok() ? 0 : 1);
  }
  // Whether it has ended.
  [[nodiscard]] bool Ended() {
    if (pid_ > 0 && waitpid(pid_, &status_, WNOHANG) == pid_) pid_ = 0;
    return pid_ == 0;
  }
  void Kill() {
    if (pid_ <= 0) return;
    (void)kill(pid_, SIGKILL);
    while (waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
  }
  // Precondition: it has ended.
  [[nodiscard]] bool Well() const {
    return WIFEXITED(status_) && WEXITSTATUS(status_) == 0;
  }
  [[nodiscard]] std::string HowItEnded(const LastWords& words) const {
    if (WIFSIGNALED(status_)) {
      return absl::StrFormat("was ended by signal %d (%s)", WTERMSIG(status_),
                             strsignal(WTERMSIG(status_)));
    }
    return absl::StrCat("gave up: ", words.Get());
  }

 private:
  pid_t pid_ = 0;
  int status_ = 0;
};

// Tells whether the handler still moves.
class Heartbeat {
 public:
  Heartbeat(const SharedState& shared, std::uint64_t patience_seconds)
      : shared_(shared),
        patience_(static_cast<time_t>(patience_seconds)),
        since_(Now()) {}

  bool StandsStill() {
    const std::uint64_t beats = ReadOnce(shared_.heartbeat, kRelaxed);
    if (beats != beats_) {
      beats_ = beats;
      since_ = Now();
    }
    return Now() - since_ > patience_;
  }

 private:
  static time_t Now() {
    timespec now = {};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
  }

  const SharedState& shared_;
  const time_t patience_;
  std::uint64_t beats_ = 0;
  time_t since_;
};

// Returns when the workload is done.
inline absl::Status Watch(Child& workload, Child& handler,
                          const std::function<void()>& look,
                          std::uint64_t patience, SharedState& shared,
                          const sigset_t& child_ended) {
  constexpr char kEnd[] = "; the workload was ended, as its data is not whole";
  Heartbeat heartbeat(shared, patience);
  for (;;) {
    // The handler first: the workload may end because of it.
    if (handler.Ended()) {
      workload.Kill();
      return absl::AbortedError(absl::StrCat(
          "the fault handler ", handler.HowItEnded(shared.handler), kEnd));
    }
    if (heartbeat.StandsStill()) {
      handler.Kill();
      workload.Kill();
      return absl::DeadlineExceededError(absl::StrFormat(
          "the fault handler did nothing for %d s%s", patience, kEnd));
    }
    if (workload.Ended()) break;
    look();
    const timespec tenth = {.tv_sec = 0, .tv_nsec = 100'000'000};
    (void)sigtimedwait(&child_ended, nullptr, &tenth);
  }
  if (!workload.Well()) {
    return absl::AbortedError(
        absl::StrCat("the workload ", workload.HowItEnded(shared.workload)));
  }
  WriteOnce(shared.stop, std::uint64_t{1}, kRelaxed);
  while (!handler.Ended()) {
    if (heartbeat.StandsStill()) handler.Kill();
    const timespec tenth = {.tv_sec = 0, .tv_nsec = 100'000'000};
    (void)sigtimedwait(&child_ended, nullptr, &tenth);
  }
  if (handler.Well()) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("the fault handler ",
                                         handler.HowItEnded(shared.handler),
                                         ", after the workload was done"));
}

}  // namespace internal

inline absl::Status RunWatched(const WatchedProcesses& processes,
                               std::uint64_t patience_seconds,
                               SharedState& shared) {
  // Blocked, so that none goes by between a look and the wait.
  sigset_t child_ended, before;
  sigemptyset(&child_ended);
  sigaddset(&child_ended, SIGCHLD);
  (void)sigprocmask(SIG_BLOCK, &child_ended, &before);

  absl::StatusOr<std::pair<Channel, Channel>> pair = Channel::MakePair();
  if (!pair.ok()) return pair.status();
  auto& [mine, workloads] = *pair;
  internal::Child workload, handler;
  absl::Status status = workload.Start(shared.workload, [&] {
    return processes.workload([&](const Handover& handover) {
      mine.Close();
      const absl::Status sent = workloads.Send(handover);
      return sent.ok() ? workloads.Receive().status() : sent;
    });
  });
  if (!status.ok()) return status;
  workloads.Close();
  const absl::StatusOr<Handover> handover = mine.Receive();
  if (!handover.ok()) {
    while (!workload.Ended()) (void)usleep(1000);
    return absl::AbortedError(
        absl::StrCat("the workload ", workload.HowItEnded(shared.workload)));
  }
  const Uffd uffd(handover->file);
  status = handler.Start(shared.handler, [&] {
    mine.Close();
    return processes.handler(uffd, handover->at);
  });
  if (status.ok()) status = mine.Send({});
  if (status.ok()) {
    status = internal::Watch(workload, handler, processes.look,
                             patience_seconds, shared, child_ended);
  }
  (void)sigprocmask(SIG_SETMASK, &before, nullptr);
  return status;
}

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_WATCHDOG_H_
