// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Runs sequences of operations on a VM and on its model, compares both after
// every step, and makes what diverges small.

#ifndef PTAGE_TEST_MODEL_COMPARE_H_
#define PTAGE_TEST_MODEL_COMPARE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "test/model/coverage.h"
#include "test/model/shrink.h"
#include "test/model/vm_generator.h"
#include "test/model/vm_model.h"
#include "test/model/vm_operations.h"
#include "test/model/vm_state.h"

namespace ptage::test {

// A VM and its model, that do the same. `Real` is a VmUnderTest.
template <class Real>
class Pair {
 public:
  explicit Pair(const ModelOptions& options) : model_(options) {}

  // Nothing, or how they differ.
  std::optional<std::string> Step(const Operation& operation) {
    const Outcome real = real_.Apply(operation);
    const Outcome model = model_.Apply(operation, real);
    std::optional<unsigned> l1_of;
    if (IsNested(operation.op)) l1_of = operation.guest;
    const VmState real_state = real_.State(l1_of);
    const VmState model_state = model_.State(l1_of);
    model_.maps().Learn(real_.marked(), real_.Flushes());
    if (real == model && real_state == model_state) return std::nullopt;
    return absl::StrCat(ToText(operation), "\n  VM:    ", ToText(real),
                        "\n  model: ", ToText(model), "\n",
                        Difference(real_state, model_state));
  }
  // The same of what is looked at last, since it costs more.
  std::optional<std::string> End() {
    if (!real_.RmapsAreExact()) {
      return "there are entries in rmaps that are mapped nowhere";
    }
    const std::size_t roots = Real::kRoots * (1 + real_.guests());
    const std::size_t tables = model_.State(std::nullopt).tables.size() + roots;
    const std::size_t in_use = real_.TablesInUse();
    if (in_use == tables) return std::nullopt;
    return absl::StrCat(in_use, " tables are in use, not ", tables);
  }
  VmModel& model() { return model_; }

 private:
  Real real_;
  VmModel model_;
};

struct Divergence {
  Sequence sequence;  // the last operation diverges
  std::string text;
};

// Runs a sequence; nothing if both agree.
template <class Real>
std::optional<Divergence> Replay(const Sequence& sequence,
                                 const ModelOptions& options) {
  auto pair = std::make_unique<Pair<Real>>(options);
  for (std::size_t i = 0; i < sequence.size(); ++i) {
    if (auto text = pair->Step(sequence[i])) {
      return Divergence{
          Sequence(sequence.begin(),
                   sequence.begin() + static_cast<std::ptrdiff_t>(i + 1)),
          *std::move(text)};
    }
  }
  if (auto text = pair->End()) return Divergence{sequence, *std::move(text)};
  return std::nullopt;
}

// Makes it as small as it still diverges, and says what it is.
template <class Real>
Divergence Shrunk(const Divergence& found, const ModelOptions& options) {
  Divergence least = found;
  (void)Shrink(found.sequence, [&](Sequence& sequence) {
    std::optional<Divergence> again = Replay<Real>(sequence, options);
    if (!again.has_value()) return false;
    sequence = again->sequence;
    least = *std::move(again);
    return true;
  });
  return least;
}

// One guest: `operations` random ones, that go on where those before have been
// least. What they met is added to `coverage`, that of the guests before.
template <class Real>
std::optional<Divergence> RunGuest(std::uint64_t seed, std::size_t operations,
                                   const ModelOptions& options,
                                   VmCoverage& coverage) {
  auto pair = std::make_unique<Pair<Real>>(options);
  VmCoverage met(options.facts);
  VmGenerator generator(seed, pair->model(), options.facts,
                        /*crowded=*/seed % 8 == 0);
  Divergence found;
  std::optional<std::string> text;
  for (std::size_t i = 0; i < operations && !text.has_value(); ++i) {
    const Operation operation = generator.Next(met, coverage);
    found.sequence.push_back(operation);
    met.Count(operation, pair->model());
    text = pair->Step(operation);
  }
  if (!text.has_value()) text = pair->End();
  coverage.Add(met);
  if (!text.has_value()) return std::nullopt;
  found.text = *std::move(text);
  return found;
}

[[nodiscard]] inline std::string ToText(const Divergence& divergence) {
  return absl::StrCat(divergence.sequence.size(), " operations:\n",
                      ToText(divergence.sequence), divergence.text);
}

template <class Real>
ModelOptions OptionsOf() {
  return ModelOptions{.facts = Real::Facts(),
                      .lists_are_fast = Real::D::kFastAging,
                      .cap = Real::kCap,
                      .most_guests = Real::kMostGuests};
}

// The next guest of a run, which its seed determines. What diverges is printed,
// as small as it can be.
template <class Real>
testing::AssertionResult RunAGuest(std::uint64_t seed, VmCoverage& coverage,
                                   const ModelOptions& options) {
  constexpr std::size_t kOperations = 400;
  const std::uint64_t guest = coverage.operations() / kOperations;
  const std::optional<Divergence> found =
      RunGuest<Real>(seed + guest, kOperations, options, coverage);
  if (!found.has_value()) return testing::AssertionSuccess();
  return testing::AssertionFailure()
         << "seed " << seed << ", guest " << guest << ", "
         << found->sequence.size() << " operations, of which it takes "
         << ToText(Shrunk<Real>(*found, options));
}

}  // namespace ptage::test

#endif  // PTAGE_TEST_MODEL_COMPARE_H_
