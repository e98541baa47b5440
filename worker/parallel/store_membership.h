#ifndef FILIGREE_WORKER_PARALLEL_STORE_MEMBERSHIP_H_
#define FILIGREE_WORKER_PARALLEL_STORE_MEMBERSHIP_H_

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "worker/comm/key_value.h"
#include "worker/config/settings.h"
#include "worker/parallel/launch.h"
#include "worker/parallel/membership.h"

// Processes that decide among themselves, through a store they share: whoever is left announces itself; when all but
// one have, or none comes any more, each proposes who goes on, and since a key is written once, one proposal counts for
// all. It takes as many of the announced as the largest grid with the tensor size of the settings holds, groups that
// share a model and lost nobody first, then the lowest numbers; the others idle until somebody is lost again or the job
// is over. Who comes too late for a generation idles too: never are there two generations at once.
//
// Where those who were chosen do not all reach each other, as when the network between two hosts is cut and the store
// is not, the group does not come together. Everybody then says whom it missed, and the next generation leaves out as
// few as make the others complete: whoever is in most of the pairs that failed first.

namespace filigree::parallel {

struct StoreMembershipOptions {
  std::chrono::milliseconds grace{11'000};          // for announcements, from one's own
  std::chrono::milliseconds settle{500};            // of it, once all but one are there
  std::chrono::milliseconds meeting{90'000};        // for the first group to come together
  std::chrono::milliseconds meeting_again{30'000};  // for a later one, all of whom have said that they are there
  std::function<bool()> stop_requested;  // asked while this process idles; then it is over, with kStoppedExitCode
  std::function<void(const std::string&)> idles;  // said when this process begins to
};
constexpr int kStoppedExitCode = 75;

// `settings`: the grid that is wanted.
std::unique_ptr<Membership> StoreMembership(const Launch& launch, const config::Settings& settings,
                                            std::shared_ptr<comm::KeyValueStore> store, StoreMembershipOptions options);

// The same of what the environment says and a folder. Errors: those of ReadLaunch and of FolderStore. Settings that
// could not be read are as good as any: the ranks meet to tell each other.
absl::StatusOr<std::unique_ptr<Membership>> OpenStoreMembership(const absl::StatusOr<config::Settings>& settings,
                                                                StoreMembershipOptions options);

}  // namespace filigree::parallel

#endif  // FILIGREE_WORKER_PARALLEL_STORE_MEMBERSHIP_H_
