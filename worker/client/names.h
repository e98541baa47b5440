#ifndef FILIGREE_WORKER_CLIENT_NAMES_H_
#define FILIGREE_WORKER_CLIENT_NAMES_H_

#include <string>

#include "filigree/v1/coordinator.pb.h"

// Values of the wire as people and scripts read them: "running", "backward", "worker_lost"; "unknown" for what a newer
// coordinator may say.

namespace filigree::client {

std::string NameOf(v1::JobState state);
std::string NameOf(v1::RankState state);
std::string NameOf(v1::Presence presence);
std::string NameOf(v1::Phase phase);
std::string NameOf(v1::EventKind kind);
std::string NameOf(v1::Backend backend);

bool Ended(v1::JobState state);

// Steps the job's settings ask for; 0: they are not readable here.
int64_t TargetSteps(const v1::JobSpec& spec);

}  // namespace filigree::client

#endif  // FILIGREE_WORKER_CLIENT_NAMES_H_
