#include "kernels/gradcodec/feedback_topk.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "kernels/adam/adam.h"
#include "kernels/base/check.h"
#include "kernels/gradcodec/bf16.h"

namespace filigree::kernels {
namespace {

// What a task takes: whole words of the bitmap, and little enough to stay in L2 between two steps.
constexpr int64_t kWordsPerTask = 1024;

int64_t TasksOf(int64_t n) { return (n + 64 * kWordsPerTask - 1) / (64 * kWordsPerTask); }

void AddGradient(int64_t n, const float* gradient, ThreadPool& pool, float* residual) {
  if (gradient == nullptr) return;
  pool.Run(TasksOf(n), [&](int64_t task, int) {
    const int64_t first = task * kWordsPerTask * 64, count = std::min(n - first, kWordsPerTask * 64);
    AddInPlace(gradient + first, count, residual + first);
  });
}

// Takes one entry out of the residual.
void Take(float* residual, float& value) {
  value = *residual;
  *residual = 0;
}
void Take(float* residual, uint16_t& value) {
  constexpr float kNone = 0;
  ref::EncodeBf16WithFeedback(1, &kNone, residual, &value);
}

template <typename Value>
void TopWithFeedbackOf(int64_t n, const float* gradient, int64_t k, float* residual, WeightThreshold* threshold,
                       ThreadPool& pool, uint64_t* kept, uint32_t* indices, Value* values) {
  CHECK(0 <= k && k <= n && n < UINT32_MAX, "{} entries of {}", k, n);
  AddGradient(n, gradient, pool, residual);
  if (n == 0) return;
  SelectWeights(residual, {.rows = 1, .cols = n, .k = k}, threshold, pool, kept);
  const int64_t words = (n + 63) / 64, tasks = TasksOf(n);
  std::vector<int64_t> first(tasks + 1);  // of each task's entries
  pool.Run(tasks, [&](int64_t task, int) {
    const int64_t begin = task * kWordsPerTask, end = std::min(words, begin + kWordsPerTask);
    for (int64_t word = begin; word < end; ++word) first[task + 1] += std::popcount(kept[word]);
  });
  for (int64_t task = 0; task < tasks; ++task) first[task + 1] += first[task];
  CHECK(first[tasks] == k);
  pool.Run(tasks, [&](int64_t task, int) {
    const int64_t begin = task * kWordsPerTask, end = std::min(words, begin + kWordsPerTask);
    int64_t to = first[task];
    for (int64_t word = begin; word < end; ++word) {
      for (uint64_t bits = kept[word]; bits != 0; bits &= bits - 1, ++to) {
        const int64_t i = word * 64 + std::countr_zero(bits);
        indices[to] = static_cast<uint32_t>(i);
        Take(residual + i, values[to]);
      }
    }
  });
}

}  // namespace

void TopWithFeedback(int64_t n, const float* gradient, int64_t k, float* residual, WeightThreshold* threshold,
                     ThreadPool& pool, uint64_t* kept, uint32_t* indices, float* values) {
  TopWithFeedbackOf(n, gradient, k, residual, threshold, pool, kept, indices, values);
}

void TopWithFeedback(int64_t n, const float* gradient, int64_t k, float* residual, WeightThreshold* threshold,
                     ThreadPool& pool, uint64_t* kept, uint32_t* indices, uint16_t* values) {
  TopWithFeedbackOf(n, gradient, k, residual, threshold, pool, kept, indices, values);
}

}  // namespace filigree::kernels
