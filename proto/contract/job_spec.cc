#include "proto/contract/job_spec.h"

#include <fmt/format.h>

#include "proto/contract/ids.h"

namespace filigree::contract {
namespace {

absl::Status CheckRange(const char* field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("{}: {} is outside {}..{}", field, value, low, high));
}

absl::Status CheckName(const std::string& name) {
  if (absl::Status status = CheckId("name", name); !status.ok()) return status;
  if (name.size() <= kMaxJobNameBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("name: {} has {} bytes; at most {} leave room for the number of the job", Shown(name), name.size(),
                  kMaxJobNameBytes));
}

// Length of the well-formed UTF-8 character that begins `text`; 0: none does.
size_t CharacterBytes(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  const unsigned char second = byte(1);
  const bool overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
  const bool surrogate = first == 0xed && second > 0x9f;
  const bool beyond = first == 0xf4 && second > 0x8f;
  return overlong || surrogate || beyond ? 0 : length;
}

// Text that can be stored, compared and printed: UTF-8 without NUL, and without line breaks where it is one line.
absl::Status CheckText(const std::string& field, std::string_view text, size_t most, bool one_line) {
  if (text.size() > most)
    return absl::InvalidArgumentError(fmt::format("{}: has {} bytes; at most {} are taken", field, text.size(), most));
  for (size_t at = 0; at < text.size();) {
    const size_t length = CharacterBytes(text.substr(at));
    if (length == 0) return absl::InvalidArgumentError(fmt::format("{}: is not UTF-8 at byte {}", field, at));
    if (text[at] == '\0' || (one_line && length == 1 && (text[at] < ' ' || text[at] == 0x7f)))
      return absl::InvalidArgumentError(fmt::format("{}: has a control character at byte {}", field, at));
    at += length;
  }
  return absl::OkStatus();
}

absl::Status CheckTexts(const JobSpec& spec) {
  if (absl::Status status = CheckText("config", spec.config, kMaxConfigBytes, false); !status.ok()) return status;
  if (spec.arguments.size() > kMaxArguments)
    return absl::InvalidArgumentError(fmt::format(
        "arguments: {} of them; at most {} are taken, the rest fits the config", spec.arguments.size(), kMaxArguments));
  for (size_t i = 0; i < spec.arguments.size(); ++i) {
    const std::string& argument = spec.arguments[i];
    if (absl::Status status = CheckText(fmt::format("arguments[{}]", i), argument, kMaxArgumentBytes, true);
        !status.ok())
      return status;
    if (argument.substr(0, 2) != "--" || argument.find('=') == std::string::npos)
      return absl::InvalidArgumentError(
          fmt::format("arguments[{}]: {} is no override; write --section.key=value", i, Shown(argument)));
  }
  return absl::OkStatus();
}

absl::Status CheckGrid(const JobSpec& spec) {
  for (const absl::Status& status :
       {CheckRange("data", spec.data, 1, kMaxRanks), CheckRange("tensor", spec.tensor, 1, kMaxRanks),
        CheckRange("min_data", spec.min_data, 1, spec.data)})
    if (!status.ok()) return status;
  const int64_t ranks = int64_t{spec.data} * spec.tensor;
  if (ranks > kMaxRanks)
    return absl::InvalidArgumentError(fmt::format("data x tensor: {} x {} are {} ranks; at most {} are taken",
                                                  spec.data, spec.tensor, ranks, kMaxRanks));
  return absl::OkStatus();
}

}  // namespace

const char* Name(Backend backend) {
  switch (backend) {
    case Backend::kLocal:
      return "local";
    case Backend::kGloo:
      return "gloo";
    case Backend::kMpi:
      return "mpi";
    case Backend::kNccl:
      return "nccl";
  }
  return "unknown";
}

bool KeepsProcesses(Backend backend) { return backend == Backend::kGloo; }
bool OnOneWorker(Backend backend) { return backend == Backend::kLocal || backend == Backend::kMpi; }

absl::Status Validate(const JobSpec& spec) {
  if (absl::Status status = CheckName(spec.name); !status.ok()) return status;
  if (absl::Status status = CheckTexts(spec); !status.ok()) return status;
  if (absl::Status status = CheckGrid(spec); !status.ok()) return status;
  if (!spec.idempotency_key.empty())
    if (absl::Status status = CheckId("idempotency_key", spec.idempotency_key); !status.ok()) return status;
  for (const absl::Status& status : {CheckRange("priority", spec.priority, -kMaxPriority, kMaxPriority),
                                     CheckRange("restart_limit", spec.restart_limit, kNoRestart, kMaxRestartLimit),
                                     CheckRange("deadlines.queue", spec.deadlines.queue, 0, kMaxDeadlineSeconds),
                                     CheckRange("deadlines.start", spec.deadlines.start, 0, kMaxDeadlineSeconds),
                                     CheckRange("deadlines.drain", spec.deadlines.drain, 0, kMaxDeadlineSeconds)})
    if (!status.ok()) return status;
  return absl::OkStatus();
}

std::string DifferingFields(const JobSpec& a, const JobSpec& b) {
  std::string fields;
  const auto add = [&](const char* name, bool differs) {
    if (!differs) return;
    if (!fields.empty()) fields += ", ";
    fields += name;
  };
  add("name", a.name != b.name);
  add("config", a.config != b.config);
  add("arguments", a.arguments != b.arguments);
  add("data", a.data != b.data);
  add("tensor", a.tensor != b.tensor);
  add("min_data", a.min_data != b.min_data);
  add("priority", a.priority != b.priority);
  add("idempotency_key", a.idempotency_key != b.idempotency_key);
  add("backend", a.backend != b.backend);
  add("restart_limit", a.restart_limit != b.restart_limit);
  add("deadlines", a.deadlines != b.deadlines);
  return fields;
}

}  // namespace filigree::contract
