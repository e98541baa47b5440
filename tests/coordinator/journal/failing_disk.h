#ifndef FILIGREE_TESTS_COORDINATOR_JOURNAL_FAILING_DISK_H_
#define FILIGREE_TESTS_COORDINATOR_JOURNAL_FAILING_DISK_H_

#include <sqlite3.h>

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

// A layer of SQLite's under which the disk fails when a test says so, and which remembers what was written and what was
// synced, so that a test can take the power away: what was not synced is there in parts.

namespace filigree::coordinator {

class FailingDisk {
 public:
  FailingDisk();
  ~FailingDisk();
  FailingDisk(const FailingDisk&) = delete;
  FailingDisk& operator=(const FailingDisk&) = delete;

  const char* vfs() const { return "failing_disk"; }

  // The n-th operation from now (1: the next) and all after it answer with `code`: SQLITE_FULL of writes,
  // SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC of syncs, ...
  enum class Kind : uint8_t { kWrite, kSync };
  void FailFrom(Kind kind, int64_t n, int code);
  void Heal();
  bool failed() const { return failed_; }  // since the last FailFrom

  // How many operations there were.
  int64_t operations() const { return static_cast<int64_t>(log_.size()); }

  // Writes into `folder` what the disk holds if the power goes after the first `operations` of them: all that was
  // synced by then, and of everything later every 512 bytes or none of them, as the dice fall.
  void PowerLoss(int64_t operations, const std::string& folder, std::mt19937_64& dice) const;

 private:
  friend struct DiskFile;
  enum class Act : uint8_t { kWrite, kTruncate, kSync, kDelete };
  struct Operation {
    Act act;
    std::string file;
    int64_t offset = 0;  // or the new size
    std::string bytes;
  };

  // What an operation of that kind is to answer; SQLITE_OK: go on.
  int Verdict(Kind kind);

  std::vector<Operation> log_;
  Kind kind_ = Kind::kWrite;
  int64_t left_ = 0;  // 0: nothing fails
  int code_ = SQLITE_OK;
  bool failed_ = false;
  sqlite3_vfs vfs_ = {};
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_TESTS_COORDINATOR_JOURNAL_FAILING_DISK_H_
