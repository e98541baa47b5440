#include "kernels/attention/attention.h"

#include "worker/bench/bench.h"
#include "worker/bench/inputs.h"
#include "worker/bench/limits.h"

namespace filigree::bench {
namespace {

// One layer's attention over all sequences: the tiles of sequence s follow each other, its heads are rows of them.
struct AttentionData {
  AttentionData(const AttentionSizes& s, int kept, kernels::ThreadPool& pool)
      : sizes(s),
        tiles(kernels::TilesOf(s.context)),
        q(RandomActivations(s.heads * s.d_head, tiles * s.sequences, kept, 1, pool)),
        k(RandomActivations(s.heads * s.d_head, tiles * s.sequences, kept, 2, pool)),
        v(RandomActivations(s.heads * s.d_head, tiles * s.sequences, kept, 3, pool)),
        dy(RandomActivations(s.heads * s.d_head, tiles * s.sequences, s.heads * s.d_head, 4, pool)),
        y(q.values.size()),
        dq(q.values.size()),
        dk(q.values.size()),
        dv(q.values.size()),
        stats(static_cast<size_t>(s.sequences) * s.heads * stats_of_head()) {}

  size_t stats_of_head() const { return static_cast<size_t>(2) * kernels::kTileTokens * tiles; }
  size_t offset(int sequence, int head) const {
    return sequence * tiles * q.stride() + static_cast<size_t>(head) * sizes.d_head * kernels::kTileTokens;
  }
  const uint64_t* kept_of(const Activations& a, int sequence, int head) const {
    return a.kept.empty() ? nullptr : a.kept_of(sequence * tiles) + static_cast<size_t>(head) * sizes.d_head;
  }

  const AttentionSizes sizes;
  const int tiles;  // of one sequence
  Activations q, k, v, dy;
  kernels::Buffer<float> y, dq, dk, dv, stats;
};

kernels::AttentionForwardArgs ForwardArgs(AttentionData& d, int sequence, int head) {
  const auto series = [&](kernels::Buffer<float>& values) {
    return kernels::TileSeries{values.data() + d.offset(sequence, head), d.sizes.d_head, d.q.stride()};
  };
  kernels::AttentionForwardArgs args;
  args.tokens = d.sizes.context;
  args.q = series(d.q.values);
  args.k = series(d.k.values);
  args.v = series(d.v.values);
  args.kept_k = d.kept_of(d.k, sequence, head);
  args.kept_v = d.kept_of(d.v, sequence, head);
  args.kept_stride = d.q.channels;
  args.y = series(d.y);
  args.stats = d.stats.data() + (static_cast<size_t>(sequence) * d.sizes.heads + head) * d.stats_of_head();
  return args;
}

kernels::AttentionBackwardArgs BackwardArgs(AttentionData& d, int sequence, int head) {
  const auto series = [&](kernels::Buffer<float>& values) {
    return kernels::TileSeries{values.data() + d.offset(sequence, head), d.sizes.d_head, d.q.stride()};
  };
  const kernels::AttentionForwardArgs forward = ForwardArgs(d, sequence, head);
  kernels::AttentionBackwardArgs args;
  args.tokens = d.sizes.context;
  args.q = forward.q;
  args.k = forward.k;
  args.v = forward.v;
  args.y = forward.y;
  args.dy = series(d.dy.values);
  args.kept_q = d.kept_of(d.q, sequence, head);
  args.kept_k = forward.kept_k;
  args.kept_v = forward.kept_v;
  args.kept_stride = forward.kept_stride;
  args.stats = forward.stats;
  args.dq = series(d.dq);
  args.dk = series(d.dk);
  args.dv = series(d.dv);
  return args;
}

absl::Status Check(const AttentionSizes& s) {
  for (const absl::Status& status :
       {CheckWhole("--heads", s.heads, 1, 4096), CheckWhole("--d-head", s.d_head, 1, 256),
        CheckWhole("--context", s.context, 1, 1 << 16), CheckWhole("--sequences", s.sequences, 1, 1 << 16),
        CheckWhole("--heads times --d-head", static_cast<int64_t>(s.heads) * s.d_head, 1, 32768)}) {
    if (!status.ok()) return status;
  }
  const double tokens = static_cast<double>(s.sequences) * kernels::TilesOf(s.context) * kernels::kTileTokens;
  return CheckMemory(4 * tokens * s.heads * (8.5 * s.d_head + 2));
}

using Forward = void (*)(const kernels::AttentionForwardArgs&);
using Backward = void (*)(const kernels::AttentionBackwardArgs&);

void RunForward(Forward forward, AttentionData& d, int sequences, kernels::ThreadPool& pool) {
  pool.Run(static_cast<int64_t>(sequences) * d.sizes.heads, [&](int64_t i, int) {
    forward(ForwardArgs(d, static_cast<int>(i / d.sizes.heads), static_cast<int>(i % d.sizes.heads)));
  });
}

void RunBackward(Backward backward, AttentionData& d, int sequences, kernels::ThreadPool& pool) {
  pool.Run(static_cast<int64_t>(sequences) * d.sizes.heads, [&](int64_t i, int) {
    backward(BackwardArgs(d, static_cast<int>(i / d.sizes.heads), static_cast<int>(i % d.sizes.heads)));
  });
}

// Arithmetic is counted as of a kernel that skips the future and what k and v do not keep: two products forward, five
// backward (the scores once more), over T (T + 1) / 2 pairs. The loops do one sequence only, so slow are they.
std::vector<Case> Cases(const AttentionSizes& s, int kept, AttentionData& sparse, AttentionData& dense,
                        kernels::ThreadPool& pool) {
  const double heads = static_cast<double>(s.heads) * s.sequences;
  const double product = heads * s.context * (s.context + 1.0) * s.d_head;
  const double kept_product = product * kept / sparse.q.channels;
  const double array = 4 * static_cast<double>(sparse.q.values.size());
  const double forward_bytes = 4 * array, backward_bytes = 8 * array, part = 1.0 / s.sequences;
  const auto forward = [&pool](Forward f, AttentionData& d, int n) {
    return [f, n, &d, &pool] { RunForward(f, d, n, pool); };
  };
  const auto backward = [&pool](Backward f, AttentionData& d, int n) {
    return [f, n, &d, &pool] { RunBackward(f, d, n, pool); };
  };
  const Level memory = Level::kMemory;
  return {
      {"forward", forward(kernels::AttentionForward, sparse, s.sequences), 2 * kept_product, forward_bytes, memory,
       "forward_all_kept"},
      {"backward", backward(kernels::AttentionBackward, sparse, s.sequences), 5 * kept_product, backward_bytes, memory,
       "backward_all_kept"},
      {"forward_all_kept", forward(kernels::AttentionForward, dense, s.sequences), 2 * product, forward_bytes, memory,
       "forward_loops"},
      {"backward_all_kept", backward(kernels::AttentionBackward, dense, s.sequences), 5 * product, backward_bytes,
       memory, "backward_loops"},
      {"forward_loops", forward(kernels::ref::AttentionForward, dense, 1), 2 * product, forward_bytes, memory, "",
       part},
      {"backward_loops", backward(kernels::ref::AttentionBackward, dense, 1), 5 * product, backward_bytes, memory, "",
       part},
  };
}

}  // namespace

absl::StatusOr<Report> RunAttention(const AttentionSizes& sizes, const Common& common) {
  absl::StatusOr<Common> checked = CheckCommon(common);
  if (!checked.ok()) return checked.status();
  if (absl::Status status = Check(sizes); !status.ok()) return status;
  const absl::StatusOr<int> kept = KeptChannels(sizes.afrac, sizes.heads * sizes.d_head);
  if (!kept.ok()) return kept.status();

  Bench bench(checked->threads);
  AttentionData sparse(sizes, *kept, bench.pool), dense(sizes, sizes.heads * sizes.d_head, bench.pool);
  Report report{.bench = "attention", .machine = bench.machine, .repeats = checked->repeats};
  report.sizes = {{"heads", sizes.heads},
                  {"d_head", sizes.d_head},
                  {"context", sizes.context},
                  {"sequences", sizes.sequences},
                  {"afrac", sizes.afrac}};
  report.results = Measure(Cases(sizes, *kept, sparse, dense, bench.pool), checked->repeats, bench.machine);
  return report;
}

}  // namespace filigree::bench
