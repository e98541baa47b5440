#include "tests/parity/activation_recorder.h"

#include <algorithm>
#include <limits>

#include "fmt/format.h"

namespace filigree::parity {

using kernels::kTileTokens;

ActivationRecorder::ActivationRecorder(const model::ModelSpec& spec, int sequences, int positions)
    : positions_(positions) {
  for (int layer = 0; layer < spec.n_layer; ++layer) {
    for (int place = 0; place < model::kPlaces - 1; ++place) {
      Add(spec, static_cast<model::Place>(place), fmt::format("act.{}.{}", layer, model::kPlaceNames[place]),
          sequences);
    }
  }
  Add(spec, model::Place::kFinalResid, "act.final_resid", sequences);
}

void ActivationRecorder::Add(const model::ModelSpec& spec, model::Place place, const std::string& name, int sequences) {
  const int channels = spec.channels(place);
  const size_t size = static_cast<size_t>(sequences) * positions_ * channels;
  records_.push_back({name, place, channels, std::vector<float>(size, std::numeric_limits<float>::quiet_NaN())});
}

void ActivationRecorder::Forward(const model::TapPoint& point, kernels::Tile values) {
  Record& record = At(point.place, point.layer);
  const int first = point.tile * kTileTokens, count = std::min(kTileTokens, positions_ - first);
  const size_t row = static_cast<size_t>(first_sequence_ + point.sequence) * positions_ + first;
  float* to = record.values.data() + row * record.channels;
  for (int t = 0; t < count; ++t) {
    for (int c = 0; c < record.channels; ++c) to[static_cast<size_t>(t) * record.channels + c] = values.at(c, t);
  }
}

}  // namespace filigree::parity
