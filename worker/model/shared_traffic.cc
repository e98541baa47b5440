#include "worker/model/shared_traffic.h"

#include <initializer_list>
#include <vector>

#include "kernels/base/sum_tree.h"
#include "kernels/base/tile.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "worker/model/backward.h"
#include "worker/model/registry.h"

namespace filigree::model {
namespace {

constexpr int64_t kFloat = sizeof(float), kWord = sizeof(uint64_t), kTokens = kernels::kTileTokens;

// Counts the movements of TileExchange, by the names they have there.
class Movements {
 public:
  Movements(const ModelSpec& whole, const Shard& shard, int tiles) : whole_(whole), shard_(shard), tiles_(tiles) {}

  const SharedTraffic& total() const { return total_; }

  void GatherBytes(int64_t bytes) { Count((shard_.size - 1) * bytes * own(), bytes * (tiles_ - own())); }

  // place: where AbsTopK has chosen among the channels of the tiles; kPlaces: nowhere.
  void Gather(int channels, Place place) {
    const int64_t kept = Kept(place);
    GatherBytes(kept == 0 ? kFloat * channels * kTokens : kWord * channels + kFloat * kept * kTokens);
  }
  void Gather(int channels) { GatherBytes(kFloat * channels * kTokens); }

  // Each rank's run as long as this one's.
  void GatherRuns(int64_t bytes) { Count((shard_.size - 1) * bytes, (shard_.size - 1) * bytes); }

  void Sum(int64_t entries) {
    const int64_t piece = kFloat * entries * kTokens;
    int64_t others = 0;
    for (int r = 0; r < shard_.size; ++r) others += r == shard_.rank ? 0 : Pieces(r);
    Count(piece * Pieces(shard_.rank) * (tiles_ - own()), piece * others * own());
  }
  void Sum(int channels, Place place) {
    const int64_t kept = Kept(place);
    Sum(kept == 0 ? channels : kept);
  }

  // here, all: channels on this rank and on all of them.
  void Select(int64_t here, int64_t all) {
    const int64_t values = kFloat * kTokens, others = all - here;
    Count(values * here * (tiles_ - own()), values * others * own());
    Count(kWord * others * own(), kWord * here * (tiles_ - own()));
  }

 private:
  void Count(int64_t sent, int64_t received) { total_ += {sent, received}; }
  int64_t own() const {
    return int64_t{tiles_} * (shard_.rank + 1) / shard_.size - int64_t{tiles_} * shard_.rank / shard_.size;
  }
  int64_t Pieces(int rank) const {
    return static_cast<int64_t>(
        kernels::SubtreesOf(whole_.FirstGroup({rank, shard_.size}), whole_.FirstGroup({rank + 1, shard_.size})).size());
  }
  // Entries of a token that AbsTopK has left there; 0: it does not act.
  int64_t Kept(Place place) const { return whole_.has_topk(place) ? whole_.kept(place) : 0; }

  const ModelSpec& whole_;
  const Shard shard_;
  const int tiles_;
  SharedTraffic total_;
};

void Layer(const ModelSpec& whole, const ModelSpec& here, Movements& moves) {
  const int D = whole.d_model, X = whole.input_width();
  moves.Gather(X, Place::kAttnIn);
  int64_t selected_here = 0, selected = 0;
  for (const Place place : {Place::kQ, Place::kK, Place::kV}) {
    if (!whole.has_topk(place)) continue;
    selected_here += here.attention_width();
    selected += whole.attention_width();
  }
  moves.Select(selected_here, selected);
  moves.Sum(D);
  moves.Gather(X, Place::kMlpIn);
  if (whole.has_topk(Place::kMlpNeuron)) moves.Select(here.d_mlp, whole.d_mlp);
  moves.Sum(D);
  // Backward.
  moves.Gather(D, Place::kMlpOut);
  moves.Sum(X, Place::kMlpIn);
  moves.Gather(D, Place::kAttnOut);
  moves.Sum(X, Place::kAttnIn);
}

}  // namespace

SharedTraffic TrafficOfLossAndGradient(const ModelSpec& whole, const Shard& shard, int sequences, int positions) {
  const int tiles = sequences * kernels::TilesOf(positions);
  const ModelSpec here = whole.Local(shard);
  Movements moves(whole, shard, tiles);
  for (int l = 0; l < whole.n_layer; ++l) Layer(whole, here, moves);
  moves.Gather(whole.d_model);  // inputs of lm_head
  moves.GatherRuns(static_cast<int64_t>(sizeof(kernels::SoftmaxPart)) * here.tensor_groups * tiles);
  moves.Sum(whole.d_model);
  // What tensors that every rank holds whole need of all tiles.
  const SmallGradients gains(Registry(whole, shard), 0, SmallGradients::Of::kNotShared);
  moves.GatherBytes(kFloat * gains.floats());
  moves.Gather(whole.d_model);
  if (whole.d_pos_emb > 0) moves.Gather(whole.d_pos_emb);
  return moves.total();
}

}  // namespace filigree::model
