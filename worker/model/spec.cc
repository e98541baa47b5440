#include "worker/model/spec.h"

#include <cmath>

#include "absl/status/status.h"
#include "fmt/format.h"

namespace filigree::model {

int ModelSpec::channels(Place place) const {
  switch (place) {
    case Place::kAttnIn:
    case Place::kMlpIn:
      return input_width();
    case Place::kQ:
    case Place::kK:
    case Place::kV:
    case Place::kAttnY:
      return attention_width();
    case Place::kMlpNeuron:
      return d_mlp;
    default:
      return d_model;
  }
}

int ModelSpec::kept(Place place) const {
  const int all = channels(place);
  if (!topk[static_cast<int>(place)] || afrac >= 1) return all;
  return static_cast<int>(std::floor(afrac * all));
}

ModelSpec ModelSpec::Local(const Shard& shard) const {
  const int first = FirstGroup(shard), end = FirstGroup({shard.rank + 1, shard.size});
  const auto cut = [&](int n) { return GroupBegin(n, end) - GroupBegin(n, first); };
  ModelSpec local = *this;
  local.n_head = cut(n_head);
  local.d_mlp = cut(d_mlp);
  local.vocab = cut(vocab);
  local.tensor_groups = end - first;
  return local;
}

int PlaceOfTopKName(const std::string& name) {
  for (int place = 0; place < kPlaces; ++place) {
    if (kTopKPlaceNames[place] != nullptr && name == kTopKPlaceNames[place]) return place;
  }
  return kPlaces;
}

absl::StatusOr<ModelSpec> MakeSpec(const config::ModelSettings& settings, int vocab) {
  if (vocab < 2 || vocab > 65535) {
    return absl::InvalidArgumentError(fmt::format("a vocabulary of {} tokens: expected 2 to 65535", vocab));
  }
  ModelSpec spec;
  spec.d_model = static_cast<int>(settings.d_model);
  spec.n_layer = static_cast<int>(settings.n_layer);
  spec.d_head = static_cast<int>(settings.d_head);
  spec.n_head = spec.d_model / spec.d_head;
  spec.d_mlp = static_cast<int>(settings.d_mlp);
  spec.n_ctx = static_cast<int>(settings.n_ctx);
  spec.vocab = vocab;
  spec.d_pos_emb = static_cast<int>(settings.d_pos_emb);
  spec.activation = settings.activation;
  spec.afrac = settings.afrac;
  spec.sink = settings.sink;
  spec.bigram = settings.bigram;
  spec.tensor_groups = static_cast<int>(settings.tensor_groups);
  spec.activation_storage = settings.activation_storage;
  if (spec.tensor_groups > vocab) {
    return absl::InvalidArgumentError(
        fmt::format("model.tensor_groups {} is more than the {} tokens of the vocabulary: every group needs one",
                    spec.tensor_groups, vocab));
  }
  for (const std::string& name : settings.topk_places) {
    const int place = PlaceOfTopKName(name);
    if (place == kPlaces) {
      return absl::InvalidArgumentError(fmt::format("model.topk_places: '{}' is no place of AbsTopK", name));
    }
    spec.topk[place] = true;
  }
  return spec;
}

}  // namespace filigree::model
