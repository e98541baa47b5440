#ifndef FILIGREE_COORDINATOR_JOURNAL_JOURNAL_H_
#define FILIGREE_COORDINATOR_JOURNAL_JOURNAL_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/tables/rows.h"
#include "coordinator/tables/tables.h"

// The coordinator's memory on disk: the rows of every decision, in one SQLite file (docs/coordinator.md says what is in
// it and how to copy it). Write-ahead log, synchronous=FULL, one transaction a decision: what Write said OK to is there
// after SIGKILL, and after a loss of power as far as the disk keeps what fsync promised.
//
//     auto journal = Journal::Open("/var/lib/filigree/journal.db");
//     Core core(options, (*journal)->tables(), now);
//     kept = decision.outcome.rows.empty() || (*journal)->Write(decision.outcome.rows).ok();
//
// Beside PATH lie PATH-wal and PATH-shm (SQLite's) and PATH.lock, which names the process that has it open.
//
// Threads: none; one caller at a time. Open, Write and the destructor block on the disk.

namespace filigree::coordinator {

struct JournalOptions {
  // A VFS registered with SQLite, null: its default. Tests let its writes fail.
  const char* vfs = nullptr;
};

class Journal {
 public:
  // Opens the journal or makes an empty one; its folder must exist. Everything in the file is checked: SQLite's own
  // structure, a digest of every row and of all of them together, types and ranges, Tables::Check.
  // FailedPrecondition: a live process holds it (named), or it was written by a newer version.
  // DataLoss: it is damaged, or no journal; nothing was changed. NotFound: the folder. PermissionDenied: it or the file
  // cannot be written. ResourceExhausted: the disk is full. Unavailable: the disk failed, or another program keeps the
  // file locked.
  static absl::StatusOr<std::unique_ptr<Journal>> Open(const std::string& path, const JournalOptions& options = {});

  // Gives the lock back; rows that still stand in the write-ahead log are moved into the file, where that is possible.
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // Keeps all rows of one decision. Not OK: none of them is kept as long as this journal lives, and the call can be
  // repeated when the cause is gone; only a crash straight after it may leave that one decision in the file.
  // ResourceExhausted: the disk is full. Unavailable: the disk failed (EIO), or another program keeps the file locked.
  // Internal: a row that Open would refuse; the file is as it was.
  absl::Status Write(const Changes& changes);

  // What Open read and Write kept.
  const Tables& tables() const;
  const std::string& path() const;

 private:
  class File;
  explicit Journal(std::unique_ptr<File> file);

  const std::unique_ptr<File> file_;
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_JOURNAL_JOURNAL_H_
