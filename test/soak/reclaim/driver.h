// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Runs the reclaim soak in rounds, all threads at once, and checks after each.

#ifndef PTAGE_TEST_SOAK_RECLAIM_DRIVER_H_
#define PTAGE_TEST_SOAK_RECLAIM_DRIVER_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "ptage/lru/aging.h"
#include "test/soak/reclaim/checks.h"
#include "test/soak/reclaim/cpu.h"
#include "test/soak/reclaim/pages.h"
#include "test/soak/reclaim/roles.h"
#include "test/soak/reclaim/tallies.h"
#include "test/soak/reclaim/world.h"
#include "test/stress.h"

namespace ptage::reclaim_soak {

struct Plan {
  std::uint64_t seed = 1;
  double seconds = 60;
  std::chrono::milliseconds round{500};
  // Stops after the round in which something was found wrong.
  bool until_failure = false;
  // Goes on, but not without end, until everything has happened once.
  bool until_everything = false;
  // After each round.
  std::function<void(double seconds, const Tallies&)> progress;
};

struct Outcome {
  double seconds = 0;
  std::uint64_t rounds = 0;
  Tallies total;
};

class Driver {
 public:
  explicit Driver(const Plan& plan) : plan_(plan) {
    for (std::size_t i = 0; i < kCpus; ++i) {
      cpus_.push_back(std::make_unique<Cpu>(world_, i, plan.seed));
    }
  }

  [[nodiscard]] Outcome Run() {
    Outcome outcome;
    if (!world_.ok) {
      ++outcome.total.corrupt;
      return outcome;
    }
    const auto begun = std::chrono::steady_clock::now();
    do {
      RunRound();
      checked_ += checks_.Run([&](std::size_t cpu, std::size_t page) {
        return cpus_[cpu]->WrittenTo(page);
      });
      ++outcome.rounds;
      outcome.total = Total();
      outcome.seconds = std::chrono::duration<double>(
                            std::chrono::steady_clock::now() - begun)
                            .count();
      if (plan_.progress) plan_.progress(outcome.seconds, outcome.total);
    } while (GoesOn(outcome));
    return outcome;
  }

 private:
  static constexpr std::uint64_t kLowWatermark = 40;
  // Pages of a step of aging.
  static constexpr std::uint64_t kBudget = 64;

  static constexpr double kPatience = 40;  // seconds

  [[nodiscard]] bool GoesOn(const Outcome& outcome) const {
    if (plan_.until_failure && outcome.total.Lost() != 0) return false;
    if (outcome.seconds < plan_.seconds) return true;
    return plan_.until_everything && outcome.seconds < kPatience &&
           !Starved(outcome.total).empty();
  }

  template <class R>
  static void Repeat(R& role, const test::StopSign& stop) {
    while (!stop.Raised()) role.Turn();
  }
  static void RepeatEvictions(Evictor& evictor, const test::StopSign& stop) {
    while (!stop.Raised()) {
      evictor.Turn();
      if (evictor.MayRest()) {
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      } else {
        std::this_thread::yield();
      }
    }
  }
  void RunCpu(std::size_t i, const test::StopSign& stop) {
    if (i == kProcessCpu) {
      cpus_[i]->Run(world_.process.flusher, world_.process.arena,
                    *world_.process.mmu.own().tree().root(), stop);
      return;
    }
    auto& root = i == kNestedCpu ? *world_.vm.shadow().tree().root()
                                 : *world_.vm.tdp().tree().root();
    cpus_[i]->Run(world_.machine.flusher, world_.machine.arena, root, stop);
  }
  void RunRound() {
    // The CPUs end first: a fault may wait for a frame that is evicted.
    test::StopSign stop_cpus;
    test::StopSign stop_others;
    std::vector<std::thread> cpus;
    std::vector<std::thread> others;
    {
      AgingThread aging([this] { return client_.Run(kBudget); }, kLowWatermark);
      for (Evictor* evictor : {&first_, &second_}) {
        others.emplace_back([&stop_others, evictor] {
          RepeatEvictions(*evictor, stop_others);
        });
      }
      others.emplace_back([&] { Repeat(looks_around_, stop_others); });
      others.emplace_back([&] { Repeat(changer_, stop_others); });
      for (std::size_t i = 0; i < kCpus; ++i) {
        cpus.emplace_back([&, i] { RunCpu(i, stop_cpus); });
      }
      const auto end = std::chrono::steady_clock::now() + plan_.round;
      while (std::chrono::steady_clock::now() < end) {
        aging.FreeFrames(world_.pages.free_frames());
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      stop_cpus.Raise();
      for (std::thread& thread : cpus) thread.join();
      stop_others.Raise();
      for (std::thread& thread : others) thread.join();
    }
  }
  [[nodiscard]] Tallies Total() {
    Tallies total = checked_;
    for (const auto& cpu : cpus_) total += cpu->tallies();
    for (Evictor* evictor : {&first_, &second_}) total += evictor->tallies();
    total += looks_around_.tallies();
    total += changer_.tallies();
    total += asked_.tallies();
    return total;
  }

  const Plan plan_;
  World world_;
  Checks checks_{world_};
  std::vector<std::unique_ptr<Cpu>> cpus_;
  Evictor first_{world_, plan_.seed + 100};
  Evictor second_{world_, plan_.seed + 200};
  LooksAround looks_around_{world_, plan_.seed + 300};
  Changer changer_{world_, plan_.seed + 400};
  Asked asked_{world_};
  AgingClient<Asked> client_{asked_, world_.lru, kAll,
                             AgingConfig{.table_frames = 64}};
  Tallies checked_;
};

}  // namespace ptage::reclaim_soak

#endif  // PTAGE_TEST_SOAK_RECLAIM_DRIVER_H_
