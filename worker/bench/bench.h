#ifndef FILIGREE_WORKER_BENCH_BENCH_H_
#define FILIGREE_WORKER_BENCH_BENCH_H_

#include <cstdio>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/bench/measure.h"

// The benchmarks of `filigree bench`: each takes its sizes, checks them, makes seeded random inputs of the kind that
// training sees, and measures our code and a baseline beside it, interleaved.
//
// Errors         InvalidArgument: a size out of range, or more memory than the machine has; the message names the flag.
// Threads        0 means one for each core the process may use.

namespace filigree::bench {

struct Common {
  int threads = 0;
  int repeats = 7;
};

// A linear layer [out][in] at a weight density: forward, input gradient, exact weight gradient. Baseline: the same
// products, dense, by oneDNN.
struct LinearSizes {
  int out = 2048, in = 2048, tokens = 4096;
  double density = 1.0 / 64, afrac = 0.25;
};
absl::StatusOr<Report> RunLinear(const LinearSizes& sizes, const Common& common);

// A linear layer that exists on candidates: forward, input gradient, gradient of the candidates, both gradients in one,
// and what it costs that weights, masks and membership change. Baseline: the same products, dense, by oneDNN; our own
// dense products beside them.
struct CandidatesSizes {
  int out = 3072, in = 1024, tokens = 4096;
  double density = 1.0 / 64, candidates = 4, afrac = 0.25;  // candidates: per weight that is kept
};
absl::StatusOr<Report> RunCandidates(const CandidatesSizes& sizes, const Common& common);

// Causal attention after AbsTopK of q, k and v, forward and backward. Baselines: our own kernel where every entry is
// kept, and plain loops.
struct AttentionSizes {
  int heads = 64, d_head = 16, context = 256, sequences = 16;
  double afrac = 0.25;
};
absl::StatusOr<Report> RunAttention(const AttentionSizes& sizes, const Common& common);

// AbsTopK on tiles that lie in L2. Baselines: copying the tile, and std::nth_element on each token.
struct AbsTopKSizes {
  int channels = 1024;
  double afrac = 0.25;
  double zeros = 0;  // share of entries that are exactly 0
  int tiles = 2;     // distinct tiles a thread goes around
};
absl::StatusOr<Report> RunAbsTopK(const AbsTopKSizes& sizes, const Common& common);

// The mask of a weight matrix, from the threshold of the step before (warm) and without (cold), and how k entries
// divide among four quarters of its rows under one threshold (shared). Baselines: reading the matrix, and
// std::nth_element.
struct SelectSizes {
  int rows = 2048, cols = 2048;
  double density = 1.0 / 64;
  int min_alive = 4;
  std::string unit = "row";  // row, column or none
};
absl::StatusOr<Report> RunSelect(const SelectSizes& sizes, const Common& common);

// The mask of a matrix that exists on candidates, a matrix a thread, from the threshold of the step before (warm) and
// without (cold), and a refresh of the candidates. Baseline: the same mask of the dense matrix.
struct CandidateSelectSizes {
  SelectSizes matrix = {.rows = 4096, .cols = 1024};
  double candidates = 4;  // per entry that is kept
};
absl::StatusOr<Report> RunCandidateSelect(const CandidateSelectSizes& sizes, const Common& common);

// Adam on dense state. Baselines: moving as many bytes, and plain loops.
struct AdamSizes {
  int64_t elements = 1 << 24;
};
absl::StatusOr<Report> RunAdam(const AdamSizes& sizes, const Common& common);

// What a rank says of its state: digests of a matrix on candidates (weights, moments, membership, mask) and of a whole
// one (weights, moments). Baseline: reading as many values.
struct DigestSizes {
  int rows = 4096, cols = 1024;
  double density = 1.0 / 16;  // of candidates
};
absl::StatusOr<Report> RunDigest(const DigestSizes& sizes, const Common& common);

}  // namespace filigree::bench

#endif  // FILIGREE_WORKER_BENCH_BENCH_H_
