#ifndef FILIGREE_WORKER_DATA_OUTPUT_FOLDER_H_
#define FILIGREE_WORKER_DATA_OUTPUT_FOLDER_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace filigree::data {

// The folder of a corpus while it is being made. New files are written into the subfolder staging() and take their
// places at Commit, the manifest last; until then an older corpus in the folder stays whole. Without Commit the
// destructor removes what was staged, and the folder too if Claim made it.
//
// A process that dies in Commit leaves a folder without a manifest, which Corpus::Open refuses and the next Claim takes
// over.
class OutputFolder {
 public:
  // Makes the folder, or takes one that is empty or that `prepare` made. Only one process at a time holds a folder.
  //
  // FailedPrecondition: something else lies in it (names it), or another process is preparing it; PermissionDenied,
  // ResourceExhausted, Unavailable: the system refuses.
  static absl::StatusOr<std::unique_ptr<OutputFolder>> Claim(const std::string& dir);

  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  const std::string& staging() const { return staging_; }

  // Replaces the corpus by the staged files and `manifest`, the text of manifest.json. Shards of the older corpus that
  // have no successor are removed; files of others stay.
  absl::Status Commit(const std::string& manifest);

 private:
  OutputFolder(std::string dir, int lock, bool created);
  absl::Status SyncFolder() const;

  std::string dir_, staging_;
  int lock_;           // descriptor of the folder; closing it gives up the claim
  bool created_;       // by this claim
  bool torn_ = false;  // there is no manifest, by a Commit that has not come to its end
};

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_OUTPUT_FOLDER_H_
