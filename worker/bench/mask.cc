#include <fmt/format.h>

#include <memory>

#include "worker/bench/inputs.h"
#include "worker/bench/limits.h"
#include "worker/bench/ranks.h"
#include "worker/bench/select.h"
#include "worker/exchange/distributed_select.h"

namespace filigree::bench {
namespace {

// A matrix of normals of which every rank holds a run of rows, and both ways to its mask.
class MaskCase {
 public:
  MaskCase(const kernels::WeightSelection& selection, kernels::ThreadPool& pool, comm::Communicator& ranks)
      : ranks_(ranks),
        pool_(pool),
        selection_(selection),
        w_(RandomNormals(static_cast<size_t>(selection.rows * selection.cols), 5, pool)),
        all_(w_.size()),
        kept_((w_.size() + 63) / 64),
        cold_(ranks, exchange::SelectScope::kMatrix, pool),
        warm_(ranks, exchange::SelectScope::kMatrix, pool) {
    for (int r = 0; r < ranks.size(); ++r) counts_.push_back((RowBegin(r + 1) - RowBegin(r)) * selection.cols);
    const int64_t begin = RowBegin(ranks.rank()), end = RowBegin(ranks.rank() + 1);
    part_ = {{begin, end, 0, selection.cols}, w_.data() + begin * selection.cols, selection.cols};
  }

  absl::Status SelectCold() {
    cold_.Forget();
    return SelectBy(cold_);
  }
  // From what the last call found, and how far it had moved then.
  absl::Status SelectWarm() { return SelectBy(warm_); }

  // Weights move as in a step of training: by about a thousandth, together and each on its own.
  absl::Status Move() {
    const float grow = 1 + 1e-3f * (static_cast<float>(step_ % 3) - 1);
    for (size_t i = 0; i < w_.size(); ++i) w_[i] *= grow + 1e-3f * static_cast<float>((i * 7 + step_) % 5) / 5;
    ++step_;
    return absl::OkStatus();
  }

  absl::Status GatherAndSelect() {
    const std::span<const float> mine(part_.w, static_cast<size_t>(counts_[ranks_.rank()]));
    absl::Status status = ranks_.AllGather(comm::ArrayOf(mine), counts_, comm::ArrayOf(all_.span()));
    if (status.ok()) kernels::SelectWeights(all_.data(), selection_, &threshold_, pool_, kept_.data());
    return status;
  }

 private:
  absl::Status SelectBy(exchange::DistributedSelect& select) {
    const exchange::ShardedMatrix matrix{selection_, {&part_, 1}, kept_.data()};
    return select.Select({&matrix, 1});
  }
  int64_t RowBegin(int rank) const { return selection_.rows * rank / ranks_.size(); }

  comm::Communicator& ranks_;
  kernels::ThreadPool& pool_;
  const kernels::WeightSelection selection_;
  kernels::Buffer<float> w_, all_;
  kernels::Buffer<uint64_t> kept_;
  std::vector<int64_t> counts_;
  exchange::MatrixPart part_;
  exchange::DistributedSelect cold_, warm_;
  kernels::WeightThreshold threshold_;
  size_t step_ = 0;
};

}  // namespace

absl::StatusOr<RankReport> RunMask(const MaskSizes& sizes, const Common& common, comm::Communicator& ranks) {
  const absl::StatusOr<Common> checked = CheckCommon(common);
  if (!checked.ok()) return checked.status();
  if (absl::Status status = CheckWhole("--halvings", sizes.halvings, 0, 20); !status.ok()) return status;
  if (absl::Status status = CheckMemory(16.0 * sizes.rows * sizes.cols * ranks.size()); !status.ok()) return status;
  Bench bench(checked->threads);
  std::vector<std::unique_ptr<MaskCase>> matrices;
  std::vector<RankCase> cases;
  for (int halving = 0; halving <= sizes.halvings; ++halving) {
    SelectSizes select{
        .rows = sizes.rows >> halving, .cols = sizes.cols, .density = sizes.density, .min_alive = sizes.min_alive};
    const absl::StatusOr<kernels::WeightSelection> selection = SelectionOf(select);
    if (!selection.ok()) return selection.status();
    if (select.rows < ranks.size()) {
      return absl::InvalidArgumentError("--rows leaves a rank without a row; give more, or fewer --halvings");
    }
    MaskCase& matrix = *matrices.emplace_back(std::make_unique<MaskCase>(*selection, bench.pool, ranks));
    const std::string size = fmt::format("_{}x{}", select.rows, select.cols);
    // One step of training between two calls of a case.
    const auto move = [&matrix] { return matrix.Move(); };
    cases.push_back({"gather_and_select" + size, move, [&matrix] { return matrix.GatherAndSelect(); }});
    cases.push_back({"cold" + size, {}, [&matrix] { return matrix.SelectCold(); }});
    cases.push_back({"warm" + size, {}, [&matrix] { return matrix.SelectWarm(); }});
  }
  constexpr int kWarm = 4;
  absl::StatusOr<std::vector<RankResult>> results = MeasureRanks(ranks, cases, kWarm, checked->repeats);
  if (!results.ok()) return results.status();
  RankReport report = ReportOf("mask", ranks, bench.machine, checked->repeats, *std::move(results));
  report.sizes = {{"density", sizes.density}, {"min_alive", sizes.min_alive}};
  return report;
}

}  // namespace filigree::bench
