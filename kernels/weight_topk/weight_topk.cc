#include "kernels/weight_topk/weight_topk.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "kernels/base/check.h"
#include "kernels/base/trace.h"
#include "kernels/weight_topk/scan.h"
#include "kernels/weight_topk/select.h"

namespace filigree::kernels {
namespace {

constexpr float kFirstSpread = 1.0f / 64, kLeastSpread = 1.0f / 1024, kMostSpread = 0.25f;
constexpr int32_t kLeastMargin = 1 << 17, kMostMargin = 1 << 23;

bool IsUsable(const WeightThreshold& t, const Task& task) {
  if (static_cast<int64_t>(t.unit_bounds.size()) != task.units) return false;
  if (task.by_rank == 0) return true;
  return t.expected > 0 && t.expected <= FLT_MAX / 2 && t.spread > 0 && t.spread < 1;
}

// What the next step should look for: the threshold where it goes if it moves as it did, within three times the error
// of this step's guess.
void Update(Selected selected, WeightThreshold& t) {
  const float last = t.value, value = selected.value;
  const bool known = t.expected > 0 && value > 0;
  const float error = known ? std::abs(value / t.expected - 1) : 0;
  t.spread = known ? std::clamp(std::max(3 * error, 0.6f * t.spread), kLeastSpread, kMostSpread) : kFirstSpread;
  t.expected = last > 0 ? value * std::clamp(value / last, 0.8f, 1.25f) : value;
  t.value = value;
  t.unit_bounds = std::move(selected.unit_bounds);
  // A wide margin costs candidates, a narrow one units that are read again.
  const bool many_lost = selected.lost_units > static_cast<int64_t>(t.unit_bounds.size()) / 64;
  t.unit_margin = std::clamp(many_lost ? t.unit_margin * 2 : t.unit_margin / 4 * 3, kLeastMargin, kMostMargin);
}

// k = 0 and k = numel.
void KeepNothingOrAll(const Task& task, WeightThreshold* threshold, uint64_t* kept) {
  std::fill_n(kept, task.words, task.k == 0 ? 0 : ~uint64_t{0});
  if (task.k > 0 && task.numel % 64 != 0) kept[task.words - 1] = (uint64_t{1} << (task.numel % 64)) - 1;
  if (threshold != nullptr) *threshold = WeightThreshold();
}

}  // namespace

void SelectWeights(const float* w, const WeightSelection& selection, WeightThreshold* threshold, ThreadPool& pool,
                   uint64_t* kept) {
  const Task task(selection);
  CHECK(task.rows >= 0 && task.cols >= 0 && task.numel < 0xffffffff, "{} x {} entries", task.rows, task.cols);
  CHECK(0 <= task.k && task.k <= task.numel, "k = {} of {} x {} entries", task.k, task.rows, task.cols);
  CHECK(task.by_rank >= 0, "{} units that keep {} entries each ask for more than k = {}", task.units, task.alive,
        task.k);
  if (task.k == 0 || task.k == task.numel) return KeepNothingOrAll(task, threshold, kept);

  const TraceSpan span("weight_topk", [&] {
    const auto numel = static_cast<double>(task.numel);
    return TraceWork{.bytes = 4.125 * numel, .level = TraceLevel::kMemory, .threads = pool.threads()};
  });
  WeightThreshold none;
  WeightThreshold& guess = threshold != nullptr ? *threshold : none;
  guess.unit_margin = std::clamp(guess.unit_margin, kLeastMargin, kMostMargin);
  Selected selected;
  if (!IsUsable(guess, task) || !SelectNear(w, task, guess, pool, kept, selected)) {
    selected = SelectFromScratch(w, task, guess.unit_margin, pool, kept);
  }
  Update(std::move(selected), guess);
}

void ApplySelection(const uint64_t* kept, int64_t numel, float factor, ThreadPool& pool, float* w) {
  const TraceSpan span("weight_topk.apply", [&] {
    return TraceWork{
        .bytes = 8.125 * static_cast<double>(numel), .level = TraceLevel::kMemory, .threads = pool.threads()};
  });
  const int64_t words = (numel + 63) / 64;
  pool.Run((words + kWordsPerTask - 1) / kWordsPerTask, [&](int64_t i, int) {
    ApplyWords(kept, numel, factor, {i * kWordsPerTask, std::min(words, (i + 1) * kWordsPerTask)}, w);
  });
}

}  // namespace filigree::kernels
