#ifndef FILIGREE_WORKER_TELEMETRY_RECORDS_H_
#define FILIGREE_WORKER_TELEMETRY_RECORDS_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

// What a run tells about itself, one struct a kind of record. Every record is one line of JSON in steps.jsonl with its
// "kind"; docs/formats/run-folder.md gives the keys.
//
// `step` of a StepRecord is the index s of the step, 0 to S-1. `step` of every other record is the number of steps that
// were complete when it was made, so what follows step s carries s + 1. Numbers that are not finite become null in the
// file.

namespace filigree::telemetry {

// Where the time of a step goes; the order is that of StepRecord::phase_seconds.
enum class Phase { kData, kForward, kBackward, kCompress, kExchange, kOptimizer, kTopk, kCheckpoint };
inline constexpr int kPhases = 8;
inline constexpr std::array<const char*, kPhases> kPhaseNames = {"data",     "forward",   "backward", "compress",
                                                                 "exchange", "optimizer", "topk",     "checkpoint"};

struct NamedValue {
  std::string name;
  double value = 0;
};

struct NamedText {
  std::string name;
  std::string text;
};

struct NamedCount {
  std::string name;
  int64_t count = 0;
};

// "run": written at every start, resumed ones included.
struct RunRecord {
  int64_t step = 0;   // steps complete at this start
  int64_t steps = 0;  // S
  int64_t tokens_per_step = 0;
  double started = 0;  // seconds since 1970; StepLog fills it in
  std::string name;
  std::vector<NamedValue>
      baselines;                 // validation loss in nats per token of what needs no model: uniform, unigram, bigram
  std::vector<NamedText> facts;  // for people, in order: parameters, nonzeros, threads, processor, revision, corpus ...
};

// Bytes that the rank which writes the log exchanged with others in a step.
struct WireBytes {
  int64_t sent = 0, received = 0;
  int64_t dense_equivalent =
      0;  // sent, had the whole dense gradient gone through a ring all-reduce in fp32 among data ranks
  // Of sent and received: what ranks that share a model told each other. For metrics; the file has the sums alone.
  int64_t activations_sent = 0, activations_received = 0;
};

// "step"
struct StepRecord {
  int64_t step = 0;
  double loss = 0;     // nats per token, before the update
  double z_score = 0;  // of this loss against the 128 before it; StepLog fills it in
  double lr = 0;
  double density = 0;            // f_w of this step
  double embedding_density = 0;  // f_e of this step
  double gradient_norm = 0;      // L2, before the division
  double gradient_rms = 0;       // gradient_norm / sqrt(trained elements)
  double ms = 0;
  double tokens_per_second = 0;
  double percent_of_peak = 0;  // share of the machine's measured speed of light, 0..100
  double bits_per_byte = 0;    // of the training loss
  double epochs = 0;           // passes over the training part so far, this step included
  std::array<double, kPhases> phase_seconds{};
  WireBytes wire;               // all 0: a rank alone
  std::vector<NamedCount> nnz;  // nonzeros a matrix after the step; empty: not counted at this step
};

// "eval"
struct EvalRecord {
  int64_t step = 0;
  double loss = 0;  // validation, nats per token
  double bits_per_byte = 0;
  int64_t tokens = 0;  // predicted tokens behind the mean
  double seconds = 0;
  std::vector<NamedValue> baselines;  // of the same data
};

// "sample"
struct SampleRecord {
  int64_t step = 0;
  std::string prompt;
  std::string text;  // the continuation; any bytes
};

// "checkpoint"
struct CheckpointRecord {
  int64_t step = 0;
  double seconds = 0;  // training stood still for
  int64_t bytes = 0;
  std::string path;
};

// Counts of nonzero |w| in bins of half an octave: bin 0 is below 2^-20, then [2^e, 1.5 * 2^e) and [1.5 * 2^e, 2^(e+1))
// for e = -20 .. 3, the last bin is 2^4 and above.
inline constexpr int kMagnitudeBins = 50;
inline constexpr int kMagnitudeLowExponent = -20;
int MagnitudeBin(float w);

// The lower edge of a bin, 0 for bin 0.
double MagnitudeBinEdge(int bin);

struct MatrixSnapshot {
  std::string name;    // of the tensor
  int64_t layer = -1;  // -1: belongs to no layer
  std::string kind;    // the same in every layer: c_attn, attn.c_proj, c_fc, mlp.c_proj, wte, lm_head ...
  int64_t numel = 0;
  int64_t nnz = 0;
  int64_t units = 0;        // rows or columns of the min alive rule; rows where there is none
  int64_t alive_units = 0;  // units with at least one nonzero
  double threshold = 0;     // smallest nonzero magnitude
  std::array<int64_t, kMagnitudeBins> magnitudes{};
};

// "snapshot"
struct SnapshotRecord {
  int64_t step = 0;
  std::vector<MatrixSnapshot> matrices;
};

// "note": a warning or event in words.
struct NoteRecord {
  int64_t step = 0;
  std::string text;
};

// "end"
struct EndRecord {
  int64_t step = 0;
  double seconds = 0;  // of this start
  std::string reason;  // "done", "stopped", or what failed
};

}  // namespace filigree::telemetry

#endif  // FILIGREE_WORKER_TELEMETRY_RECORDS_H_
