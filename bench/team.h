// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Threads that wait, each on its own CPU, for something to do together.
//
// Contract
//   Start, Join and the destructor are called by one thread, Start and Join in
//   turn. What the caller wrote before Start is visible to the job, and what
//   the job wrote to the caller after Join. Waiting spins, and gives the CPU
//   away when it takes long.
//
// Sites (order · partner)
//   [team.1] release store in Start      · [team.2]
//   [team.2] acquire load in Work        · [team.1]
//   [team.3] release addition in Work    · [team.4]
//   [team.4] acquire load in Join        · [team.3]

#ifndef PTAGE_BENCH_TEAM_H_
#define PTAGE_BENCH_TEAM_H_

#include <pthread.h>
#include <sched.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "ptage/once.h"

namespace ptage::bench {

// The CPUs that this process may use, in order.
[[nodiscard]] inline std::vector<int> UsableCpus() {
  std::vector<int> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return cpus;
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(static_cast<int>(cpu));
  }
  return cpus;
}

// Keeps the calling thread on `cpu`. A wish: false if the OS refuses it.
inline bool PinTo(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(cpu), &set);
  return pthread_setaffinity_np(pthread_self(), sizeof(set), &set) == 0;
}

class Team {
 public:
  using Job = std::function<void(std::size_t member)>;

  // A member for each CPU, pinned to it.
  explicit Team(const std::vector<int>& cpus) : turn_(0), done_(0) {
    for (std::size_t i = 0; i < cpus.size(); ++i) {
      threads_.emplace_back([this, i, cpu = cpus[i]] {
        PinTo(cpu);
        Work(i);
      });
    }
  }
  ~Team() {
    stop_ = true;
    Release();
    for (std::thread& thread : threads_) thread.join();
  }
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  [[nodiscard]] std::size_t size() const { return threads_.size(); }

  // Each member runs `job` with its number.
  void Start(Job job) {
    job_ = std::move(job);
    Release();
  }
  void Join() {
    // [team.4] acquire, pairs with [team.3].
    Wait([this] { return ReadOnce(done_, kAcquire) == turn_now_ * size(); });
  }

 private:
  template <class Ready>
  static void Wait(Ready ready) {
    constexpr unsigned kPatience = 1 << 14;
    for (unsigned turns = 0; !ready(); ++turns) {
      SpinPause();
      if (turns > kPatience) std::this_thread::yield();
    }
  }
  void Release() {
    // [team.1] release, pairs with [team.2].
    WriteOnce(turn_, ++turn_now_, kRelease);
  }
  void Work(std::size_t member) {
    for (std::uint64_t turn = 1;; ++turn) {
      // [team.2] acquire, pairs with [team.1].
      Wait([&] { return ReadOnce(turn_, kAcquire) >= turn; });
      if (stop_) return;
      job_(member);
      // [team.3] release, pairs with [team.4].
      FetchAdd(done_, std::uint64_t{1}, kRelease);
    }
  }

  Job job_;
  bool stop_ = false;
  std::uint64_t turn_now_ = 0;
  Cell<std::uint64_t> turn_;
  Cell<std::uint64_t> done_;
  std::vector<std::thread> threads_;
};

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_TEAM_H_
