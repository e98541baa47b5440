#ifndef FILIGREE_WORKER_CONFIG_LOAD_H_
#define FILIGREE_WORKER_CONFIG_LOAD_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/config/settings.h"

// From a TOML file and overrides to valid settings, and back.
//
// Files      TOML 1.0, at most kMaxFileBytes; hostile input ends in a Status. Every key of keys.h may stand in a file
//            or not; a key or section it does not describe is refused with the nearest name.
// Overrides  "--section.key=value" or "section.key=value", applied in order after the file. Text is taken as it stands,
//            lists are separated by commas. Numbers may be fractions as in 1/64 (in a file: "1/64").
// Errors     InvalidArgument: "FILE:LINE:COLUMN: section.key ...", or "--section.key=value: ..." for an override: what
//            is wrong, what was expected, what would work. NotFound: no such file.
// Threads    Pure functions but for Load, which reads one file.

namespace filigree::config {

inline constexpr int64_t kMaxFileBytes = 1 << 20;

// Resolved, valid settings. With an empty path: defaults and overrides only.
// `going_on`: the settings of a run that goes on. What is "auto" then (in the section `sparsity`) is what it is there.
absl::StatusOr<Settings> Load(const std::string& path, const std::vector<std::string>& overrides = {},
                              const Settings* going_on = nullptr);

// The same from memory; `name` stands for the file in messages.
absl::StatusOr<Settings> Parse(std::string_view text, const std::string& name,
                               const std::vector<std::string>& overrides = {}, const Settings* going_on = nullptr);

// run.dir as Load would have it, of settings that need not be valid: where a run may be that goes on.
absl::StatusOr<std::string> RunDirOf(const std::string& path, const std::vector<std::string>& overrides);

// Fills in what is left open: d_mlp, run.name, and of sparsity what auto_policy.h chooses or `going_on` has.
void Resolve(Settings& settings, const Settings* going_on = nullptr);

// Every range and every rule that joins several keys; the first one broken is named. run.dir and data.dir may be empty:
// a command that needs them says so itself with RequirePaths.
absl::Status Validate(const Settings& settings);

// InvalidArgument where run.dir or data.dir is not set.
absl::Status RequirePaths(const Settings& settings);

// Every key in the order of keys.h, one section after the other; Parse reads it back to equal settings.
std::string ToToml(const Settings& settings);

// May a run that was started with `stored` go on with `wanted`? FailedPrecondition names every changed key that must
// stay as it was, with both values. Free are the keys that only say where and how (run.dir, run.threads, eval.*, ...),
// and those of the regime (sparsity.regime, candidates, refresh_every, ...), which a run may change where it stands:
// what it computes from there on is then another thing.
absl::Status CheckResume(const Settings& stored, const Settings& wanted);

}  // namespace filigree::config

#endif  // FILIGREE_WORKER_CONFIG_LOAD_H_
