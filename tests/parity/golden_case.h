#ifndef FILIGREE_TESTS_PARITY_GOLDEN_CASE_H_
#define FILIGREE_TESTS_PARITY_GOLDEN_CASE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/checkpoint/safetensors.h"
#include "worker/model/arena.h"
#include "worker/model/spec.h"

// One golden case: NAME.json and NAME.safetensors, what the authors' own code computes on a small model.
//
// Everything comes from the files; nothing about sizes, places or schedules is assumed.

namespace filigree::parity {

// Of a training case.
struct TrainingPlan {
  int64_t steps = 0;
  double lr = 0, weight_decay = 0, eps = 0;
  double pfrac = 0, ef = 0;  // f_w = pfrac / ef^2, f_e = pfrac / ef, both at most 1
  double start = 0, stop = 0, warmup = 0;
  int64_t min_alive = 0;

  double weight_density() const;
  double embedding_density() const;
};

struct StepRecord {
  double lr = 0, pfrac = 0, loss = 0, grad_rms = 0;
  std::map<std::string, int64_t> nonzeros;  // by matrix, after the step
};

struct GoldenCase {
  std::string name;
  model::ModelSpec spec;
  int batch = 0, positions = 0;
  std::optional<TrainingPlan> training;  // none: a forward case
  std::vector<StepRecord> steps;         // one a step of a training case
  std::map<std::string, double> fp32_distance;
  std::vector<int32_t> tokens;  // [steps,] [batch][positions]
  checkpoint::SafetensorsFile tensors;
  std::vector<std::string> unknown_keys;  // of the configuration; whether they matter, the comparison will show
};

// Names of the cases of a folder, ascending: every NAME.json or NAME.safetensors. NotFound where there is none.
absl::StatusOr<std::vector<std::string>> FindCases(const std::string& folder);

// InvalidArgument, NotFound or DataLoss name file and key or tensor.
absl::StatusOr<GoldenCase> ReadCase(const std::string& folder, const std::string& name);

// One floating-point tensor of exactly this shape.
absl::StatusOr<std::vector<float>> ReadTensor(const GoldenCase& golden, const std::string& name,
                                              const checkpoint::Shape& shape);

// Every `in.*`: each parameter of the model must be there. A tensor the model does not have is refused, unless it is
// all zeros and so says nothing (a table of positions that no one reads).
absl::Status ReadWeights(const GoldenCase& golden, const model::Registry& registry, model::Arena& weights);

}  // namespace filigree::parity

#endif  // FILIGREE_TESTS_PARITY_GOLDEN_CASE_H_
