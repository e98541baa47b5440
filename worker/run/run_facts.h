#ifndef FILIGREE_WORKER_RUN_RUN_FACTS_H_
#define FILIGREE_WORKER_RUN_RUN_FACTS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/file_system.h"
#include "worker/config/settings.h"
#include "worker/data/manifest.h"
#include "worker/machine/machine.h"
#include "worker/parallel/world.h"
#include "worker/run/open_run.h"
#include "worker/telemetry/records.h"

// What a run says of itself at its start.

namespace filigree::train {

telemetry::RunRecord DescribeRun(const OpenedRun& run, const machine::Machine& machine, const std::string& revision,
                                 const parallel::World* world = nullptr);

// Validation losses of models that need no training, in nats a token.
std::vector<telemetry::NamedValue> BaselinesOf(const data::Manifest& manifest);

// A view of the run's state with all that a checkpoint says of the run; valid while the state lives and does not
// change.
checkpoint::State SavedView(const OpenedRun& run);

// What RUN/config.toml says: the resolved settings. Of a coordinator's job, what that decided (ranks, backend, job) is
// left out.
std::string StoredSettingsText(const config::Settings& settings);

// Writes that, whole or not at all; nothing where the file says so already, so that a full disk keeps no run from going
// on.
absl::Status StoreSettings(checkpoint::FileSystem& files, const config::Settings& settings);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_RUN_RUN_FACTS_H_
