// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Rounds: threads are set on a world, stopped, and what they counted is added
// up and checked while nothing moves.
//
// Contract
//   One Driver runs at a time in a process: it takes the handler of
//   kWalkSignal, and forks. Results of runs with the same seed differ in all
//   that the scheduler decides.

#ifndef PTAGE_TEST_SOAK_DRIVER_H_
#define PTAGE_TEST_SOAK_DRIVER_H_

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "test/soak/actor.h"
#include "test/soak/faults.h"
#include "test/soak/roles.h"
#include "test/soak/token.h"
#include "test/soak/world.h"
#include "test/stress.h"

namespace ptage::soak {

struct Progress {
  std::uint64_t visits;
  double seconds;
  std::uint64_t faults;
  std::uint64_t failures;
};

struct Plan {
  std::uint64_t seed = 1;
  // The run ends, after a round, at whichever comes first; 0: no limit.
  double seconds = 0;
  std::uint64_t visits = 0;
  // It ends earlier at a failure; or when each kind of fault has happened that
  // can.
  bool until_failure = false;
  bool until_every_fault = false;
  // Of a round, without what a stalled walk adds.
  std::uint64_t round_us = 300'000;
  // Rounds from one stalled walk to the next.
  std::uint64_t stall_every = 24;
  // Words that a walk reads between two faults, at most.
  std::uint32_t walk_fault_every = 4000;
  // Called every tenth of a second or so.
  std::function<void(const Progress&)> progress = [](const Progress&) {};
};

struct Outcome {
  Tallies total;
  double seconds = 0;
  std::uint64_t rounds = 0;
  // What became of walks whose threads died: they held memory back until
  // somebody ended them, or the end of the thread ended them.
  std::uint64_t deaths_held_back = 0;
  std::uint64_t deaths_ended_by_exit = 0;
};

template <class S>
class Driver {
 public:
  explicit Driver(const Plan& plan) : plan_(plan), random_(plan.seed) {}
  Outcome Run();

 private:
  static constexpr unsigned kReaders = 2;
  static constexpr unsigned kWriters = 2;

  double Seconds() const {
    return static_cast<double>(Actor::Nanoseconds() - begun_) * 1e-9;
  }
  bool Ends(std::uint64_t visits) const {
    return (plan_.seconds > 0 && Seconds() >= plan_.seconds) ||
           (plan_.visits > 0 && visits >= plan_.visits) ||
           (plan_.until_failure && outcome_.total.failures.Total() > 0) ||
           (plan_.until_every_fault &&
            Starved<S>(outcome_.total.faults).empty());
  }
  Actor& NewActor(WalkFaults in_walks) {
    actors_.push_back(std::make_unique<Actor>(random_(), in_walks));
    return *actors_.back();
  }
  void Round(std::uint64_t index);
  // Waits for `microseconds`, or until the run ends.
  void Wait(std::uint64_t microseconds);
  void Pin(std::vector<std::thread>& threads);
  // The round's threads have ended.
  void Collect();
  // What a thread left that died inside a walk.
  void Bury(Domain::Section section);
  void Fork();

  const Plan plan_;
  std::mt19937_64 random_;
  std::uint64_t begun_ = 0;
  Outcome outcome_;
  World<S> world_;
  std::vector<std::unique_ptr<Actor>> actors_;
};

// ---------------------------------------------------------------------------

template <class S>
Outcome Driver<S>::Run() {
  begun_ = Actor::Nanoseconds();
  handlers_world<S> = &world_;
  struct sigaction action{};
  struct sigaction before{};
  action.sa_handler = WalkInHandler<S>;
  sigaction(kWalkSignal, &action, &before);
  do {
    Round(outcome_.rounds++);
  } while (!Ends(outcome_.total.visits));
  handlers_world<S> = nullptr;
  sigaction(kWalkSignal, &before, nullptr);
  Actor last(0, WalkFaults{.every = 0});
  outcome_.total.failures.corrupt += world_.Drain(last);
  outcome_.total += last.tallies;
  world_.Check(outcome_.total);
  outcome_.seconds = Seconds();
  return outcome_;
}

template <class S>
void Driver<S>::Round(std::uint64_t index) {
  const bool stalls = index % plan_.stall_every == 1;
  const bool dies = index % 4 == 2 && S::CanHappen(Fault::kDeathInWalk);
  const bool starves = index % 4 == 0;
  const WalkFaults usual{.every = plan_.walk_fault_every};

  test::StopSign stop;
  std::vector<std::thread> threads;
  std::vector<pthread_t> victims;
  for (unsigned i = 0; i < kWriters; ++i) {
    Actor& actor = NewActor(usual);
    threads.emplace_back([this, &actor, &stop] { Write(world_, actor, stop); });
    victims.push_back(threads.back().native_handle());
  }
  for (unsigned i = 0; i < kReaders; ++i) {
    WalkFaults faults = usual;
    faults.stalls = stalls && i == 0;
    Actor& actor = NewActor(faults);
    threads.emplace_back([this, &actor, &stop] { Read(world_, actor, stop); });
  }
  Actor& toucher = NewActor(usual);
  threads.emplace_back(
      [this, &toucher, &stop] { Touch(world_, toucher, stop); });
  victims.push_back(threads.back().native_handle());
  if (index % 2 == 1) Pin(threads);

  Actor& relay = NewActor(usual);
  threads.emplace_back(
      [this, &relay, &stop] { ReadInTurns(world_, relay, stop); });
  Domain::Section left_behind;
  if (dies) {
    WalkFaults faults = usual;
    faults.dies = true;
    Actor& mortal = NewActor(faults);
    threads.emplace_back([this, &mortal, &stop, &left_behind] {
      Die(world_, mortal, stop, left_behind);
    });
  }
  if (starves) world_.domain().Starve();

  // Stopped before its victims are joined.
  test::StopSign stop_disturbing;
  Actor& disturber = NewActor(usual);
  std::thread disturbing(
      [&] { Disturb(world_, disturber, stop_disturbing, victims); });
  Wait(plan_.round_us / 2);
  if (starves && world_.domain().Feed() > 0) {
    outcome_.total.faults.Add(Fault::kStarvedReclaimer);
  }
  Wait(plan_.round_us / 2 + (stalls ? 1'000'000 : 0));
  stop_disturbing.Raise();
  disturbing.join();
  stop.Raise();
  for (std::thread& thread : threads) thread.join();

  Collect();
  if (static_cast<bool>(left_behind)) Bury(left_behind);
  world_.Check(outcome_.total);
  if (index % 4 == 3) Fork();
}

template <class S>
void Driver<S>::Wait(std::uint64_t microseconds) {
  const std::uint64_t end = Actor::Nanoseconds() + microseconds * 1000;
  for (;;) {
    std::uint64_t visits = outcome_.total.visits;
    for (const auto& actor : actors_) {
      visits += ReadOnce(actor->shown_visits, kRelaxed);
    }
    std::uint64_t faults = 0;
    for (unsigned i = 0; i < kFaults; ++i) {
      faults += outcome_.total.faults.Of(static_cast<Fault>(i));
    }
    plan_.progress(Progress{.visits = visits,
                            .seconds = Seconds(),
                            .faults = faults,
                            .failures = outcome_.total.failures.Total()});
    const std::uint64_t now = Actor::Nanoseconds();
    if (now >= end) return;
    const std::uint64_t left = (end - now) / 1000;
    Actor::Sleep(left < 100'000 ? left + 1 : 100'000);
  }
}

// One reader and one writer have to share a CPU; the others run where they may.
template <class S>
void Driver<S>::Pin(std::vector<std::thread>& threads) {
  cpu_set_t usable;
  if (sched_getaffinity(0, sizeof(usable), &usable) != 0) return;
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &usable)) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    for (const unsigned i : {0u, kWriters}) {
      pthread_setaffinity_np(threads[i].native_handle(), sizeof(one), &one);
    }
    return;
  }
}

template <class S>
void Driver<S>::Collect() {
  for (const auto& actor : actors_) {
    outcome_.total += actor->tallies;
    outcome_.total += actor->handler_tallies;
  }
  actors_.clear();
}

template <class S>
void Driver<S>::Bury(Domain::Section section) {
  struct Probe {
    Retired retired;
    bool freed = false;
  } probe;
  probe.retired.free = [](Retired& self, void*) {
    reinterpret_cast<Probe&>(self).freed = true;
  };
  world_.domain().Retire(probe.retired);
  for (int i = 0; i < 8; ++i) world_.domain().Poll();
  if (probe.freed) {
    ++outcome_.deaths_ended_by_exit;
    return;
  }
  ++outcome_.deaths_held_back;
  world_.domain().End(section);
  world_.domain().Synchronize();
  if (!probe.freed) ++outcome_.total.failures.corrupt;
}

template <class S>
void Driver<S>::Fork() {
  const pid_t child = fork();
  if (child < 0) return;
  if (child == 0) {
    // A child that waits for a thread it does not have must not wait for ever.
    alarm(60);
    Actor actor(random_(), WalkFaults{.every = plan_.walk_fault_every});
    {
      const Acting acting(actor);
      for (int i = 0; i < 200; ++i) {
        ReadOnceThrough(world_, actor);
        world_.Update(actor, world_.GroupToUpdate(actor));
        world_.Touch(actor, 0);
        if (i % 32 == 0) world_.Replace(actor, 1);
      }
      world_.domain().Synchronize();
    }
    Tallies total = outcome_.total;
    total.failures = Failures();
    total += actor.tallies;
    total += actor.handler_tallies;
    world_.Check(total);
    _exit(total.failures.Total() == 0 ? 0 : 1);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
  }
  outcome_.total.faults.Add(Fault::kFork);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    ++outcome_.total.failures.corrupt;
  }
}

}  // namespace ptage::soak

#endif  // PTAGE_TEST_SOAK_DRIVER_H_
