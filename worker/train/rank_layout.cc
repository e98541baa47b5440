#include "worker/train/rank_layout.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "worker/model/gradient_stages.h"
#include "worker/train/candidates.h"

namespace filigree::train {

RankLayout::RankLayout(const model::Registry& whole, const config::Settings& settings, const model::Registry& part,
                       int64_t s) {
  constexpr int64_t kAlignment = 16;  // floats, as model::Layout
  for (const model::TensorInfo& info : part.tensors()) {
    const int64_t of_whole = CandidatesBefore(settings, whole[info.index], s);
    const double share = static_cast<double>(info.numel()) / static_cast<double>(whole[info.index].numel());
    candidates_.push_back(std::llround(static_cast<double>(of_whole) * share));
    stored_.push_back(of_whole > 0 ? candidates_.back() : info.numel());
    offsets_.push_back(floats_);
    floats_ += (stored_.back() + kAlignment - 1) / kAlignment * kAlignment;
  }
}

int64_t RankLayout::elements() const { return std::accumulate(stored_.begin(), stored_.end(), int64_t{0}); }

exchange::GradientShape GradientShapeOf(const RankLayout& layout, const model::Registry& part,
                                        const config::Settings& settings, int64_t positions) {
  exchange::GradientShape shape;
  shape.floats = layout.floats();
  shape.bigram = part.bigram();
  if (part.bigram() >= 0) {
    shape.bigram_begin = layout.offset(part.bigram());
    shape.bigram_rows = part[part.bigram()].rows;
    shape.bigram_cols = part[part.bigram()].cols;
  }
  for (int tensor = 0; tensor < part.size(); ++tensor) {
    if (tensor != part.bigram()) shape.arrays.push_back(layout.stored(tensor));
  }
  for (const std::vector<int>& stage : model::GradientStages(part)) {
    int64_t& values = shape.stages.emplace_back();
    for (const int tensor : stage) values += tensor == part.bigram() ? 0 : layout.stored(tensor);
  }
  for (int64_t leaf = 0; leaf < settings.train.shards; ++leaf) {
    shape.tokens.push_back(SequencesOf(settings, leaf) * positions);
  }
  return shape;
}

GroupGradient GroupGradientOf(const model::ModelSpec& spec, const config::Settings& settings, const model::Shard& shard,
                              const std::vector<int>& owners, int64_t s) {
  const model::Registry whole(spec);
  const auto zeros = std::vector<int64_t>(shard.size);
  GroupGradient gradient = {zeros, zeros, zeros};
  for (int rank = 0; rank < shard.size; ++rank) {
    const model::Registry part(spec, {rank, shard.size});
    const RankLayout layout(whole, settings, part, s);
    for (const model::TensorInfo& info : part.tensors()) {
      if (!info.shared) continue;
      const int owner = owners.empty() ? -1 : owners[info.index];
      const int64_t values = layout.stored(info.index);
      if (owner < 0) gradient.for_all[rank] += values;
      if (owner >= 0 && rank == shard.rank) gradient.to_owners[owner] += values;
      if (owner == shard.rank) gradient.from[rank] += values;
    }
  }
  return gradient;
}

int64_t SequencesOf(const config::Settings& settings, int64_t leaf) {
  const int64_t batch = settings.train.batch, shards = settings.train.shards;
  return batch * (leaf + 1) / shards - batch * leaf / shards;
}

int64_t LargestShard(const config::Settings& settings, const parallel::LeafRange& leaves) {
  int64_t most = 0;
  for (int64_t leaf = leaves.begin; leaf < leaves.end; ++leaf) most = std::max(most, SequencesOf(settings, leaf));
  return most;
}

}  // namespace filigree::train
