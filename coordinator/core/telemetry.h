#ifndef FILIGREE_COORDINATOR_CORE_TELEMETRY_H_
#define FILIGREE_COORDINATOR_CORE_TELEMETRY_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

// What the ranks of one generation last said of themselves. Lost with the process; heartbeats bring it back.

namespace filigree::coordinator {

enum class RankState : uint8_t {
  kStarting,
  kRunning,
  kStopped,   // ended on request
  kFinished,  // all steps done
  kFailed
};

const char* Name(RankState state);

enum class Phase : uint8_t { kData, kForward, kBackward, kCompress, kExchange, kOptimizer, kTopk, kCheckpoint };
inline constexpr int kPhases = 8;
const char* Name(Phase phase);

using PhaseSeconds = std::array<double, kPhases>;

// Sums since the rank's generation began, but for `step`. Sums survive lost heartbeats.
struct RankProgress {
  int64_t step = 0;  // last one completed
  PhaseSeconds seconds = {};
  uint64_t sent_bytes = 0, received_bytes = 0, dense_equivalent_bytes = 0;
};

// Of one matrix of the model at the last evaluation.
struct MatrixFigures {
  int32_t layer = -1;  // -1: belongs to none
  std::string matrix;  // an id
  double density = 0, threshold = 0;
  std::optional<double> churn;  // share of the mask that the last update replaced
};
inline constexpr size_t kMaxMatrices = 4096;

// What belongs to the whole run: the first rank tells it. Absent: not known yet.
struct RunFigures {
  int64_t target_steps = 0;
  std::optional<double> learning_rate, gradient_norm, train_loss, val_loss, density;
  double target_density = 0;
  uint64_t tokens = 0, skipped_steps = 0, checkpoint_failures = 0;  // since the generation began
  std::string config_sha256;                                        // or empty
  std::vector<MatrixFigures> matrices;
};

class RankTelemetry {
 public:
  // Takes what is newer than what is known; keeps a history long enough for `window` steps.
  void Take(RankState state, const std::string& reason, const RankProgress& progress, int64_t window);

  // What is only shown to others. An address of a rank that has ended is none any more; figures stay until new ones
  // come.
  void Show(const std::string& metrics_address, std::shared_ptr<const RunFigures> figures);
  const std::string& metrics_address() const { return metrics_address_; }  // HOST:PORT, or empty
  const RunFigures* figures() const { return figures_.get(); }             // null: none

  bool heard() const { return heard_; }
  RankState state() const { return state_; }
  const std::string& reason() const { return reason_; }
  const RankProgress& last() const { return last_; }

  // Mean seconds a step and phase over the last `window` steps or somewhat more; false: not that many are known.
  bool MeanOver(int64_t window, PhaseSeconds& mean) const;

 private:
  bool heard_ = false;
  RankState state_ = RankState::kStarting;
  std::string reason_;
  RankProgress last_;
  std::string metrics_address_;
  std::shared_ptr<const RunFigures> figures_;
  std::deque<RankProgress> history_;  // ascending steps; at most one of them is `window` or more steps old
};

// Whether processes of a rank in this state exist.
bool Alive(RankState state);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_CORE_TELEMETRY_H_
