#ifndef FILIGREE_WORKER_METRICS_FAMILIES_H_
#define FILIGREE_WORKER_METRICS_FAMILIES_H_

#include "proto/http/metrics_page.h"

// Every family that a rank's process shows, beside filigree_build_info: name, type, help. docs/operate/metrics.md lists
// the same with labels; a test compares the two.

namespace filigree::metrics {

using http::FamilyInfo;
using enum prometheus::MetricType;

// Of every rank. Labels: run_id, rank, and what stands behind the name.
inline constexpr FamilyInfo kStepDuration = {"filigree_step_duration_seconds", Histogram,
                                             "Seconds a training step took, with the checkpoint before it"};
inline constexpr FamilyInfo kStepPhase = {"filigree_step_phase_seconds_total", Counter,
                                          "Seconds spent in the phases of training steps"};  // phase
inline constexpr FamilyInfo kCommBytes = {
    "filigree_comm_bytes_total", Counter,
    "Bytes this rank exchanged with others in training steps, without headers"};  // op, direction
inline constexpr FamilyInfo kCommDense = {
    "filigree_comm_dense_equivalent_bytes_total", Counter,
    "Bytes an fp32 ring all-reduce of the whole dense gradient would have exchanged"};  // op, direction
inline constexpr FamilyInfo kLastStep = {"filigree_last_step_timestamp_seconds", Gauge,
                                         "When the last step was complete; before the first one: when the rank began"};

// Of the whole run: the first rank shows them where no coordinator does. Label: run_id, and what stands behind.
inline constexpr FamilyInfo kRunInfo = {
    "filigree_run_info", Gauge,
    "Name of the run, SHA-256 of its config.toml, data and tensor ranks; is 1"};  // run_name, config_sha256, dp, tp
inline constexpr FamilyInfo kStep = {"filigree_step", Gauge, "Steps complete"};
inline constexpr FamilyInfo kTargetSteps = {"filigree_target_steps", Gauge, "Steps of the whole run"};
inline constexpr FamilyInfo kLearningRate = {"filigree_learning_rate", Gauge, "Learning rate of the last step"};
inline constexpr FamilyInfo kGradientNorm = {"filigree_gradient_norm", Gauge,
                                             "L2 norm of the last step's gradient, before it is normalised"};
inline constexpr FamilyInfo kTrainLoss = {"filigree_train_loss_nats", Gauge,
                                          "Training loss of the last step, in nats a token"};
inline constexpr FamilyInfo kValLoss = {"filigree_val_loss_nats", Gauge,
                                        "Validation loss of the last evaluation, in nats a token"};
inline constexpr FamilyInfo kTokens = {"filigree_tokens_total", Counter,
                                       "Tokens trained on by this process, those of repeated steps again"};
inline constexpr FamilyInfo kDensity = {"filigree_weight_density_ratio", Gauge, "Density f_w of the last step's masks"};
inline constexpr FamilyInfo kTargetDensity = {"filigree_target_weight_density_ratio", Gauge,
                                              "Density f_w at the end of the run"};
inline constexpr FamilyInfo kLayerDensity = {
    "filigree_layer_weight_density_ratio", Gauge,
    "Share of nonzero weights of a matrix at the last evaluation"};  // layer (empty: none), matrix
inline constexpr FamilyInfo kMaskThreshold = {
    "filigree_mask_threshold", Gauge,
    "Smallest nonzero magnitude among the matrices of a kind at the last evaluation"};  // matrix
inline constexpr FamilyInfo kMaskMismatch = {"filigree_mask_mismatch_total", Counter,
                                             "Times that ranks held different states and went back to a checkpoint"};
inline constexpr FamilyInfo kSkippedSteps = {"filigree_skipped_steps_total", Counter,
                                             "Steps that changed nothing"};  // reason
inline constexpr FamilyInfo kLastCheckpoint = {"filigree_last_checkpoint_timestamp_seconds", Gauge,
                                               "When the last checkpoint was complete; 0: none in this process"};
inline constexpr FamilyInfo kCheckpointFailures = {"filigree_checkpoint_failures_total", Counter,
                                                   "Checkpoints that could not be written"};

}  // namespace filigree::metrics

#endif  // FILIGREE_WORKER_METRICS_FAMILIES_H_
