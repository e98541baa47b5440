#include "worker/train/record_activations.h"

#include <algorithm>

#include "fmt/format.h"

namespace filigree::train {
namespace {

std::string NameOf(model::Place place, int layer) {
  const char* name = model::kPlaceNames[static_cast<int>(place)];
  return place == model::Place::kFinalResid ? name : fmt::format("{}.{}", layer, name);
}

}  // namespace

std::vector<std::string> PlaceNames(const model::ModelSpec& spec) {
  std::vector<std::string> names;
  for (int l = 0; l < spec.n_layer; ++l) {
    for (int place = 0; place + 1 < model::kPlaces; ++place) names.push_back(NameOf(model::Place(place), l));
  }
  names.push_back(NameOf(model::Place::kFinalResid, spec.n_layer));
  return names;
}

ActivationRecorder::ActivationRecorder(const model::ModelSpec& spec, const std::vector<std::string>& wanted,
                                       int sequences, int positions)
    : positions_(positions) {
  for (int l = 0; l <= spec.n_layer; ++l) {
    for (int i = 0; i < model::kPlaces; ++i) {
      const auto place = model::Place(i);
      if ((place == model::Place::kFinalResid) != (l == spec.n_layer)) continue;
      const std::string name = NameOf(place, l);
      if (std::find(wanted.begin(), wanted.end(), name) == wanted.end()) continue;
      const int channels = spec.channels(place);
      const size_t size = static_cast<size_t>(sequences) * positions * channels;
      places_.push_back({name, place, l, channels, std::vector<float>(size)});
    }
  }
}

void ActivationRecorder::Forward(const model::TapPoint& point, kernels::Tile values) {
  for (RecordedPlace& recorded : places_) {
    if (recorded.place != point.place || recorded.layer != point.layer) continue;
    const int begin = point.tile * kernels::kTileTokens, end = std::min(begin + kernels::kTileTokens, positions_);
    float* out = recorded.values.data() + static_cast<size_t>(point.sequence) * positions_ * recorded.channels;
    for (int t = begin; t < end; ++t) {
      for (int c = 0; c < recorded.channels; ++c) {
        out[static_cast<size_t>(t) * recorded.channels + c] = values.at(c, t - begin);
      }
    }
  }
}

}  // namespace filigree::train
