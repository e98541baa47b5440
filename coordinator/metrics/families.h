#ifndef FILIGREE_COORDINATOR_METRICS_FAMILIES_H_
#define FILIGREE_COORDINATOR_METRICS_FAMILIES_H_

#include "proto/http/metrics_page.h"

// Every family that a coordinator shows, beside filigree_build_info: name, type, help. docs/operate/metrics.md lists
// the same with labels; a test compares the two. Label of all: run_id, the job's id, and what stands behind the name.

namespace filigree::coordinator {

using http::FamilyInfo;
using enum prometheus::MetricType;

// Of every job that has not ended.
inline constexpr FamilyInfo kRunInfo = {
    "filigree_run_info", Gauge,
    "Name of the run, SHA-256 of its resolved settings, data and tensor ranks; is 1"};  // run_name, config_sha256, dp,
                                                                                        // tp
inline constexpr FamilyInfo kWorkers = {
    "filigree_workers", Gauge,
    "Workers by state; those with run_id hold ranks of the run, those without are all there are"};  // state
inline constexpr FamilyInfo kRestarts = {"filigree_restarts_total", Counter,
                                         "Generations that were ended by a fault"};  // reason
inline constexpr FamilyInfo kMaskSync = {"filigree_mask_sync_total", Counter,
                                         "Mask updates after which all ranks held the same state"};
inline constexpr FamilyInfo kMaskMismatch = {"filigree_mask_mismatch_total", Counter,
                                             "Mask updates after which ranks held different states"};
inline constexpr FamilyInfo kLastCheckpoint = {"filigree_last_checkpoint_timestamp_seconds", Gauge,
                                               "When the last checkpoint was committed; 0: none"};
inline constexpr FamilyInfo kStraggler = {
    "filigree_straggler_ratio", Gauge,
    "Own work of a rank that the others wait for, over the median of all ranks; no series: nobody is slow"};  // rank,
                                                                                                              // phase
inline constexpr FamilyInfo kStep = {"filigree_step", Gauge, "Steps that every rank has completed"};

// Of jobs that have ended.
inline constexpr FamilyInfo kJobEnd = {
    "filigree_job_end_timestamp_seconds", Gauge,
    "When a job ended, for an hour from then on"};  // run_name, state: done, failed, cancelled

// As the first rank of the run tells, while its generation runs.
inline constexpr FamilyInfo kTargetSteps = {"filigree_target_steps", Gauge, "Steps of the whole run"};
inline constexpr FamilyInfo kLearningRate = {"filigree_learning_rate", Gauge, "Learning rate of the last step"};
inline constexpr FamilyInfo kGradientNorm = {"filigree_gradient_norm", Gauge,
                                             "L2 norm of the last step's gradient, before it is normalised"};
inline constexpr FamilyInfo kTrainLoss = {"filigree_train_loss_nats", Gauge,
                                          "Training loss of the last step, in nats a token"};
inline constexpr FamilyInfo kValLoss = {"filigree_val_loss_nats", Gauge,
                                        "Validation loss of the last evaluation, in nats a token"};
inline constexpr FamilyInfo kTokens = {"filigree_tokens_total", Counter,
                                       "Tokens trained on by this generation of ranks"};
inline constexpr FamilyInfo kDensity = {"filigree_weight_density_ratio", Gauge, "Density f_w of the last step's masks"};
inline constexpr FamilyInfo kTargetDensity = {"filigree_target_weight_density_ratio", Gauge,
                                              "Density f_w at the end of the run"};
inline constexpr FamilyInfo kLayerDensity = {
    "filigree_layer_weight_density_ratio", Gauge,
    "Share of nonzero weights of a matrix at the last evaluation"};  // layer (empty: none), matrix
inline constexpr FamilyInfo kMaskThreshold = {
    "filigree_mask_threshold", Gauge,
    "Smallest nonzero magnitude among the matrices of a kind at the last evaluation"};  // matrix
inline constexpr FamilyInfo kMaskChurn = {
    "filigree_mask_churn_ratio", Gauge,
    "Share of the mask that the last update replaced, mean over the matrices of a kind"};  // matrix
inline constexpr FamilyInfo kSkippedSteps = {"filigree_skipped_steps_total", Counter,
                                             "Steps that changed nothing"};  // reason
inline constexpr FamilyInfo kCheckpointFailures = {"filigree_checkpoint_failures_total", Counter,
                                                   "Checkpoints that could not be written"};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_METRICS_FAMILIES_H_
