#ifndef FILIGREE_TESTS_PARITY_ACTIVATION_RECORDER_H_
#define FILIGREE_TESTS_PARITY_ACTIVATION_RECORDER_H_

#include <span>
#include <string>
#include <vector>

#include "worker/model/tap.h"

// A tap that writes down every activation as the golden files hold them: [sequence][position][channel]. What was never
// seen stays NaN, so that a place the model passes over does not look right.

namespace filigree::parity {

class ActivationRecorder : public model::Tap {
 public:
  ActivationRecorder(const model::ModelSpec& spec, int sequences, int positions);

  // Sequences of the next calls are counted from here: the first of a shard.
  void SetFirstSequence(int first) { first_sequence_ = first; }

  void Forward(const model::TapPoint& point, kernels::Tile values) override;

  // One place of one layer; kFinalResid is at layer n_layer.
  struct Record {
    std::string name;  // of the golden tensor: act.0.attn.q
    model::Place place;
    int channels = 0;
    std::vector<float> values;
  };
  const std::vector<Record>& records() const { return records_; }

 private:
  // Records of a layer stand in the order of kPlaces, without the last; that of kFinalResid ends the list.
  Record& At(model::Place place, int layer) {
    return place == model::Place::kFinalResid ? records_.back()
                                              : records_[layer * (model::kPlaces - 1) + static_cast<int>(place)];
  }
  void Add(const model::ModelSpec& spec, model::Place place, const std::string& name, int sequences);

  int positions_, first_sequence_ = 0;
  std::vector<Record> records_;
};

}  // namespace filigree::parity

#endif  // FILIGREE_TESTS_PARITY_ACTIVATION_RECORDER_H_
