#include "kernels/sddmm/sddmm.h"

#include <algorithm>

#include "kernels/base/check.h"

namespace filigree::kernels {
namespace {

int Parts(int n, int size) { return (n + size - 1) / size; }

// Enough parts that the last ones leave no thread idle for long.
constexpr int kPartsPerThread = 4;

}  // namespace

float* SddmmScratch::Floats(size_t n) {
  if (floats_.size() < n) floats_ = Buffer<float>(n);
  return floats_.data();
}

std::vector<SddmmPart> SddmmParts(int out, int in, int threads) {
  const int wanted = threads == 1 ? 1 : kPartsPerThread * threads;
  int rows = kSddmmRows;
  while (rows > kSddmmRowBlock && Parts(out, rows) * Parts(in, kSddmmColumns) < wanted) rows /= 2;
  std::vector<SddmmPart> parts;
  for (int o = 0; o < out; o += rows) {
    for (int i = 0; i < in; i += kSddmmColumns) {
      parts.push_back({o, std::min(o + rows, out), i, std::min(i + kSddmmColumns, in)});
    }
  }
  return parts;
}

void DenseWeightGradient(const SddmmInput& input, SddmmWrite mode, float* dw, ThreadPool& pool,
                         std::span<SddmmScratch> scratch) {
  CHECK(static_cast<int>(scratch.size()) >= pool.threads(), "{} scratches for {} threads", scratch.size(),
        pool.threads());
  const std::vector<SddmmPart> parts = SddmmParts(input.out, input.in, pool.threads());
  pool.Run(static_cast<int64_t>(parts.size()),
           [&](int64_t task, int worker) { DenseWeightGradient(input, parts[task], mode, dw, scratch[worker]); });
}

void DenseWeightGradient(const SddmmInput& input, int row_begin, int row_end, SddmmWrite mode, float* dw,
                         SddmmScratch& scratch) {
  DenseWeightGradient(input, {row_begin, row_end, 0, input.in}, mode, dw, scratch);
}

}  // namespace filigree::kernels
