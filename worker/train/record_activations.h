#ifndef FILIGREE_WORKER_TRAIN_RECORD_ACTIVATIONS_H_
#define FILIGREE_WORKER_TRAIN_RECORD_ACTIVATIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "worker/model/network.h"
#include "worker/model/spec.h"
#include "worker/model/tap.h"

namespace filigree::train {

// The activations of one place, token by token: values [sequences][positions][channels].
struct RecordedPlace {
  std::string name;  // "0.attn.act_in", "final_resid"
  model::Place place = model::Place::kResidIn;
  int layer = 0;
  int channels = 0;
  std::vector<float> values;
};

// A tap that copies what it sees at the wanted places.
class ActivationRecorder : public model::Tap {
 public:
  // `wanted` names places as RecordedPlace does.
  ActivationRecorder(const model::ModelSpec& spec, const std::vector<std::string>& wanted, int sequences,
                     int positions);

  void Forward(const model::TapPoint& point, kernels::Tile values) override;
  const std::vector<RecordedPlace>& places() const { return places_; }

 private:
  int positions_;
  std::vector<RecordedPlace> places_;
};

// Every place of a model, in the order of the forward pass.
std::vector<std::string> PlaceNames(const model::ModelSpec& spec);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_RECORD_ACTIVATIONS_H_
