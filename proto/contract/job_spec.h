#ifndef FILIGREE_PROTO_CONTRACT_JOB_SPEC_H_
#define FILIGREE_PROTO_CONTRACT_JOB_SPEC_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// What somebody asks for who submits a job. The settings of the training itself are text here: only the ranks, which
// read them, know what they mean.

namespace filigree::contract {

inline constexpr int32_t kMaxRanks = 65536;         // data x tensor
inline constexpr size_t kMaxConfigBytes = 1 << 20;  // as worker/config takes
inline constexpr size_t kMaxArguments = 256;
inline constexpr size_t kMaxArgumentBytes = 4096;
inline constexpr size_t kMaxEncodedSpecBytes = 16u << 20;  // all of the above, escaped at its worst
inline constexpr int32_t kMaxPriority = 1000;
inline constexpr int32_t kMaxRestartLimit = 1000;
inline constexpr int32_t kNoRestart = -1;
inline constexpr int64_t kMaxDeadlineSeconds = int64_t{366} * 24 * 3600;

// How the ranks of a job reach each other. local: threads of one process; gloo: processes that survive the loss of a
// peer and go on as the next generation; mpi, nccl: every generation starts new processes.
enum class Backend : uint8_t { kLocal, kGloo, kMpi, kNccl };

const char* Name(Backend backend);
bool KeepsProcesses(Backend backend);  // whether survivors of a generation go on in the next one
bool OnOneWorker(Backend backend);     // whether one worker starts all ranks at once: others could not join them

// Seconds of the coordinator's own clock; 0: for ever.
struct Deadlines {
  int64_t queue = 0;   // from submission until the first generation is placed; after it the job fails
  int64_t start = 60;  // from the placing of a generation until all its ranks run; after it, it is restarted
  int64_t drain =
      120;  // for the checkpoint before a generation is ended on request; after it, ranks are stopped without

  bool operator==(const Deadlines&) const = default;
};

struct JobSpec {
  std::string name;                    // an id of at most kMaxJobNameBytes
  std::string config;                  // TOML, UTF-8
  std::vector<std::string> arguments;  // overrides, "--section.key=value"
  int32_t data = 1;                    // grid: replicas ...
  int32_t tensor = 1;                  // ... of groups of this many ranks, each on one host
  int32_t min_data = 1;                // the fewest replicas the job may run with; equal to data: not elastic
  int32_t priority = 0;                // -kMaxPriority..kMaxPriority, the higher the sooner
  std::string idempotency_key;         // empty: none; else an id: a second submission with it is the first one
  Backend backend = Backend::kGloo;
  int32_t restart_limit =
      3;  // restarts in a row that may pass without progress; kNoRestart: the first fault ends the job
  Deadlines deadlines;

  bool operator==(const JobSpec&) const = default;
};

// InvalidArgument: the first field that is out of its range, with the range.
absl::Status Validate(const JobSpec& spec);

// One line of JSON, fields in a fixed order: equal specs have equal text, so it also serves for comparison.
std::string EncodeJobSpec(const JobSpec& spec);

// Fields left out have their defaults; an unknown field is refused. The result is valid. InvalidArgument: `where`
// begins the message.
absl::StatusOr<JobSpec> DecodeJobSpec(std::string_view text, std::string_view where);

// The fields in which two specs differ, as in "config, data"; empty: equal.
std::string DifferingFields(const JobSpec& a, const JobSpec& b);

}  // namespace filigree::contract

#endif  // FILIGREE_PROTO_CONTRACT_JOB_SPEC_H_
