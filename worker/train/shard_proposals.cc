#include "worker/train/shard_proposals.h"

#include <algorithm>

#include "kernels/base/buffer.h"
#include "kernels/candidates/candidates.h"
#include "worker/mask/wedge.h"

namespace filigree::train {
namespace {

using kernels::PatternView;

bool IsCandidate(const PatternView& pattern, uint32_t position) {
  const uint32_t r = position / pattern.cols, c = position % pattern.cols;
  return std::binary_search(pattern.col_indices + pattern.row_offsets[r],
                            pattern.col_indices + pattern.row_offsets[r + 1], c);
}

std::vector<uint32_t> VotedPositions(const ShardFactors& shard, kernels::ThreadPool& pool) {
  mask::WedgeVotes votes(shard.candidates.rows, shard.candidates.cols);
  mask::WedgeBatch batch;
  batch.x = shard.x;
  batch.dy = shard.dy;
  batch.samples = shard.samples;
  batch.seed = shard.seed;
  batch.stream = shard.stream;
  batch.step = shard.step;
  votes.Add(batch, pool);
  std::vector<uint32_t> positions;
  for (const mask::WedgeVotes::Sum& sum : votes.Sums()) {
    if (!IsCandidate(shard.candidates, sum.position)) positions.push_back(sum.position);  // NOLINT: few are left out
  }
  return positions;
}

kernels::Pattern PatternOf(int rows, int cols, const std::vector<uint32_t>& positions) {
  kernels::Pattern pattern(rows, cols, std::ssize(positions));
  uint32_t* offsets = pattern.row_offsets();
  for (size_t i = 0; i < positions.size(); ++i) {
    ++offsets[positions[i] / cols + 1];
    pattern.col_indices()[i] = static_cast<uint16_t>(positions[i] % cols);
  }
  for (int r = 0; r < rows; ++r) offsets[r + 1] += offsets[r];
  return pattern;
}

// Runs of tiles side by side, as many whatever the threads, each from its first tile to its last.
std::vector<float> GradientAt(const ShardFactors& shard, const std::vector<uint32_t>& positions,
                              kernels::ThreadPool& pool) {
  constexpr int64_t kRuns = 8;
  std::vector<float> gradient(positions.size());
  if (positions.empty()) return gradient;
  const kernels::Pattern pattern = PatternOf(shard.candidates.rows, shard.candidates.cols, positions);
  kernels::CandidateMatrix matrix;
  matrix.SetPattern(pattern.view(), pool);
  const int64_t tiles = std::ssize(shard.dy), runs = std::min(kRuns, tiles);
  std::vector<kernels::Buffer<float>> partials(runs);
  std::vector<const float*> sums(runs);
  pool.Run(runs, [&](int64_t run, int) {
    partials[run] = kernels::Buffer<float>(positions.size());
    sums[run] = partials[run].data();
    for (int64_t i = tiles * run / runs; i < tiles * (run + 1) / runs; ++i) {
      matrix.BackwardWithGradient(shard.dy[i], shard.x[i], {}, partials[run].data());
    }
  });
  matrix.SumPartials(sums, /*add=*/false, gradient.data(), pool);
  return gradient;
}

}  // namespace

ShardProposals ProposeNewcomers(const ShardFactors& shard, kernels::ThreadPool& pool) {
  ShardProposals proposals;
  proposals.positions = VotedPositions(shard, pool);
  proposals.scores = GradientAt(shard, proposals.positions, pool);
  return proposals;
}

}  // namespace filigree::train
