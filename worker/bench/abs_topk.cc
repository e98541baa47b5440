#include "kernels/abs_topk/abs_topk.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "worker/bench/bench.h"
#include "worker/bench/inputs.h"
#include "worker/bench/limits.h"

namespace filigree::bench {
namespace {

using kernels::kTileTokens;

// Each thread goes around its own few tiles and writes one result, so that all of it stays in its L2.
struct AbsTopKData {
  AbsTopKData(const AbsTopKSizes& s, kernels::ThreadPool& pool) : channels(s.channels), tiles(s.tiles) {
    for (int i = 0; i < pool.threads(); ++i) {
      in.push_back(RandomNormals(stride() * tiles, i + 1, pool, s.zeros));
      out.emplace_back(stride());
      kept.emplace_back(channels);
      guess.push_back(0);
    }
  }
  size_t stride() const { return static_cast<size_t>(channels) * kTileTokens; }
  kernels::ConstTile tile(int thread, int i) const { return {in[thread].data() + i * stride(), channels}; }
  kernels::Tile result(int thread) { return {out[thread].data(), channels}; }

  int channels, tiles;
  std::vector<kernels::Buffer<float>> in, out;
  std::vector<kernels::Buffer<uint64_t>> kept;
  std::vector<float> guess;
};

// One token, as a user of the standard library would do it: a copy of the column, the k-th magnitude, a pass that
// keeps.
void SelectByNthElement(kernels::ConstTile x, int k, int t, kernels::Tile y, std::vector<float>& column) {
  column.resize(x.channels);
  for (int c = 0; c < x.channels; ++c) column[c] = std::abs(x.at(c, t));
  std::nth_element(column.begin(), column.begin() + (k - 1), column.end(), std::greater<>());
  const float threshold = column[k - 1];
  for (int c = 0; c < x.channels; ++c) y.at(c, t) = std::abs(x.at(c, t)) >= threshold ? x.at(c, t) : 0;
}

absl::Status Check(const AbsTopKSizes& s, int threads) {
  for (const absl::Status& status :
       {CheckWhole("--channels", s.channels, 1, 32768), CheckWhole("--tiles", s.tiles, 1, 1 << 16),
        CheckShare("--zeros", s.zeros, Zero::kYes)}) {
    if (!status.ok()) return status;
  }
  return CheckMemory(4.0 * s.channels * kTileTokens * (s.tiles + 2) * threads);
}

// Bytes are the input's.
std::vector<Case> Cases(AbsTopKData& d, int k, kernels::ThreadPool& pool) {
  const auto each_tile = [&d, &pool](auto visit) {
    return [&d, &pool, visit] {
      pool.Run(pool.threads(), [&](int64_t thread, int) {
        for (int i = 0; i < d.tiles; ++i) visit(static_cast<int>(thread), i);
      });
    };
  };
  const double bytes = 4.0 * static_cast<double>(d.stride()) * d.tiles * pool.threads();
  const auto select = [&d, k](int thread, int i, float* guess) {
    kernels::AbsTopK(d.tile(thread, i), k, d.result(thread), d.kept[thread].data(), guess);
  };
  return {
      {"warm", each_tile([&d, select](int thread, int i) { select(thread, i, &d.guess[thread]); }), 0, bytes,
       Level::kL2, "copy"},
      {"cold", each_tile([select](int thread, int i) { select(thread, i, nullptr); }), 0, bytes, Level::kL2,
       "nth_element"},
      {"backward", each_tile([&d](int thread, int i) {
         kernels::AbsTopKBackward(d.tile(thread, i), d.kept[thread].data(), d.result(thread));
       }),
       0, bytes, Level::kL2, "copy"},
      {"copy", each_tile([&d](int thread, int i) {
         std::memcpy(d.result(thread).data, d.tile(thread, i).data, d.stride() * sizeof(float));
       }),
       0, bytes, Level::kL2},
      {"nth_element", each_tile([&d, k](int thread, int i) {
         std::vector<float> column;
         for (int t = 0; t < 4; ++t) SelectByNthElement(d.tile(thread, i), k, t, d.result(thread), column);
       }),
       0, bytes, Level::kL2, "", 4.0 / kTileTokens},
  };
}

}  // namespace

absl::StatusOr<Report> RunAbsTopK(const AbsTopKSizes& sizes, const Common& common) {
  absl::StatusOr<Common> checked = CheckCommon(common);
  if (!checked.ok()) return checked.status();
  if (absl::Status status = Check(sizes, checked->threads); !status.ok()) return status;
  const absl::StatusOr<int> k = KeptChannels(sizes.afrac, sizes.channels);
  if (!k.ok()) return k.status();

  Bench bench(checked->threads);
  AbsTopKData data(sizes, bench.pool);
  Report report{.bench = "abstopk", .machine = bench.machine, .repeats = checked->repeats};
  report.sizes = {{"channels", sizes.channels}, {"k", *k}, {"zeros", sizes.zeros}, {"tiles", sizes.tiles}};
  report.results = Measure(Cases(data, *k, bench.pool), checked->repeats, bench.machine);
  return report;
}

}  // namespace filigree::bench
