// One step as a whole: the same bits for any number of threads, nothing changed by a step that is not finite.

#include "worker/train/step.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "tests/support/small_run.h"
#include "worker/train/state.h"

namespace filigree::train {
namespace {

using testing_support::kRunPositions;
using testing_support::kRunSequences;
using testing_support::RunTokens;

struct Trained {
  explicit Trained(int threads) : pool(threads), state(testing_support::RunSpec(), settings) {
    model::InitialiseWeights(state.registry, 11, pool, state.weights);
  }
  config::Settings settings = testing_support::ExactRun();
  kernels::ThreadPool pool;
  TrainState state;
};

bool SameBits(const model::Arena& a, const model::Arena& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(Stepper, ThreadsChangeNoBit) {
  Trained one(1), three(3);
  Stepper a(one.settings, one.state, one.pool), b(three.settings, three.state, three.pool);
  for (int s = 0; s < 10; ++s) {
    const std::vector<int32_t> tokens = RunTokens(40 + s);
    const StepResult first = a.Step(tokens.data(), kRunSequences, kRunPositions).value();
    const StepResult second = b.Step(tokens.data(), kRunSequences, kRunPositions).value();
    ASSERT_EQ(first.loss, second.loss) << "step " << s;
    ASSERT_EQ(first.gradient_norm, second.gradient_norm) << "step " << s;
    ASSERT_TRUE(SameBits(one.state.weights, three.state.weights)) << "step " << s;
  }
  EXPECT_TRUE(SameBits(one.state.optimizer.m(), three.state.optimizer.m()));
  EXPECT_TRUE(SameBits(one.state.optimizer.v(), three.state.optimizer.v()));
  EXPECT_EQ(one.state.step, 10);
  EXPECT_EQ(one.state.position, 10 * kRunSequences);
}

TEST(Stepper, MasksHaveExactlyTheDensityOfTheStep) {
  Trained run(2);
  Stepper stepper(run.settings, run.state, run.pool);
  for (int s = 0; s < 10; ++s) {
    const StepResult result = stepper.Step(RunTokens(s).data(), kRunSequences, kRunPositions).value();
    for (int i = 0; i < run.state.registry.size(); ++i) {
      if (!run.state.masks.sparsified(i)) continue;
      const model::TensorInfo& info = run.state.registry[i];
      const double f = info.density == model::Density::kEmbedding ? result.embedding_density : result.density;
      const auto k = static_cast<int64_t>(std::floor(f * static_cast<double>(info.numel())));
      int64_t nonzero = 0;
      const float* w = run.state.weights.tensor(info);
      for (int64_t e = 0; e < info.numel(); ++e) nonzero += w[e] != 0 ? 1 : 0;
      EXPECT_EQ(nonzero, k) << info.name << " at step " << s;
    }
  }
}

TEST(Stepper, AStepThatIsNotFiniteChangesNothing) {
  Trained run(2);
  Stepper stepper(run.settings, run.state, run.pool);
  ASSERT_TRUE(stepper.Step(RunTokens(1).data(), kRunSequences, kRunPositions).ok());
  // One infinite weight of the head makes every loss infinite or NaN.
  float& poisoned = run.state.weights.tensor(run.state.registry[run.state.registry.lm_head()])[5];
  const float before = poisoned;
  poisoned = std::numeric_limits<float>::infinity();
  model::Arena weights(run.state.registry);
  std::memcpy(weights.data(), run.state.weights.data(), weights.size() * sizeof(float));
  const StepResult result = stepper.Step(RunTokens(2).data(), kRunSequences, kRunPositions).value();
  EXPECT_FALSE(std::isfinite(result.loss) && std::isfinite(result.gradient_norm));
  EXPECT_TRUE(SameBits(weights, run.state.weights));
  EXPECT_EQ(run.state.step, 1);
  EXPECT_EQ(run.state.position, kRunSequences);

  poisoned = before;  // the fault is gone: the same step works
  EXPECT_TRUE(std::isfinite(stepper.Step(RunTokens(2).data(), kRunSequences, kRunPositions)->loss));
  EXPECT_EQ(run.state.step, 2);
}

TEST(Stepper, AStepWhoseLossIsAboveTheMostChangesNothing) {
  Trained run(2);
  Stepper stepper(run.settings, run.state, run.pool);
  const double loss = stepper.Step(RunTokens(1).data(), kRunSequences, kRunPositions).value().loss;
  model::Arena weights(run.state.registry);
  std::memcpy(weights.data(), run.state.weights.data(), weights.size() * sizeof(float));
  const auto again = [&](double most) {
    return stepper.Step(RunTokens(2).data(), kRunSequences, kRunPositions, most).value();
  };
  const StepResult refused = again(loss / 2);
  EXPECT_GT(refused.loss, loss / 2);
  EXPECT_TRUE(SameBits(weights, run.state.weights));
  EXPECT_EQ(run.state.step, 1);
  EXPECT_EQ(again(refused.loss).loss, refused.loss);  // the most is not above itself
  EXPECT_EQ(run.state.step, 2);
}

TEST(Stepper, TheFirstStepOfAWarmupMovesNoWeight) {
  Trained run(1);
  model::Arena weights(run.state.registry);
  std::memcpy(weights.data(), run.state.weights.data(), weights.size() * sizeof(float));
  Stepper stepper(run.settings, run.state, run.pool);
  EXPECT_EQ(stepper.Step(RunTokens(1).data(), kRunSequences, kRunPositions)->lr, 0);
  EXPECT_TRUE(SameBits(weights, run.state.weights));
}

}  // namespace
}  // namespace filigree::train
