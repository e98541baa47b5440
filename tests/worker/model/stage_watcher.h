#ifndef FILIGREE_TESTS_WORKER_MODEL_STAGE_WATCHER_H_
#define FILIGREE_TESTS_WORKER_MODEL_STAGE_WATCHER_H_

#include <cstring>
#include <vector>

#include "gtest/gtest.h"
#include "worker/model/arena.h"
#include "worker/model/gradient_stages.h"
#include "worker/model/registry.h"

namespace filigree::testing_support {

// Remembers a pass's gradients as they are when their stage is over.
class StageWatcher {
 public:
  // Borrows both.
  StageWatcher(const model::Registry& registry, const model::Arena& gradient)
      : registry_(registry), gradient_(gradient), stages_(model::GradientStages(registry)) {}

  model::StageDone Listener() {
    return [this](int stage) {
      ASSERT_EQ(stage, std::ssize(seen_)) << "stages come in order";
      ASSERT_LT(stage, std::ssize(stages_));
      std::vector<std::vector<float>>& values = seen_.emplace_back();
      for (const int tensor : stages_[stage]) values.push_back(Values(tensor));
    };
  }

  // After the pass: every tensor was whole when its stage was said to be over, and each was in one.
  void ExpectNothingCameLater() const {
    ASSERT_EQ(seen_.size(), stages_.size());
    std::vector<int> times(registry_.size());
    for (size_t stage = 0; stage < stages_.size(); ++stage) {
      for (size_t i = 0; i < stages_[stage].size(); ++i) {
        const int tensor = stages_[stage][i];
        const std::vector<float> now = Values(tensor), &then = seen_[stage][i];
        const bool same = now.empty() || std::memcmp(now.data(), then.data(), now.size() * sizeof(float)) == 0;
        EXPECT_TRUE(same) << registry_[tensor].name << " changed after stage " << stage;
        ++times[tensor];
      }
    }
    EXPECT_EQ(times, std::vector<int>(registry_.size(), 1));
  }

 private:
  std::vector<float> Values(int tensor) const {
    const float* begin = gradient_.tensor(registry_[tensor]);
    return {begin, begin + gradient_.layout().stored(tensor)};
  }

  const model::Registry& registry_;
  const model::Arena& gradient_;
  const std::vector<std::vector<int>> stages_;
  std::vector<std::vector<std::vector<float>>> seen_;
};

}  // namespace filigree::testing_support

#endif  // FILIGREE_TESTS_WORKER_MODEL_STAGE_WATCHER_H_
